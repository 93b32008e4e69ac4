"""The ports that our roles listen on, who may hold them, and who does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dsops.control.doctor.finding import Finding, ok, problem, unknown
from dsops.control.doctor.site import Site
from dsops.control.fleet.inventory import Server

ANY = ("0.0.0.0", "::", "*")  # noqa: S104  # read, not bound
LOOPBACK = ("127.0.0.1", "::ffff:127.0.0.1")


@dataclass(frozen=True)
class Port:
    """One that we need. unit: whose it is once we run. is_local: on the loopback only."""

    number: int
    unit: str
    is_local: bool = False


@dataclass(frozen=True)
class Listener:
    """Who holds a port. unit: its systemd unit, empty when it has none."""

    address: str
    number: int
    process: str
    pid: str
    unit: str


# (role, key of the inventory, unit); a test finds every `*_port` of the roles here.
KEYS = (
    ("agent", "dsops_agent_port", "dsops-agent.service"),
    ("gateway", "gateway_port", "dsops-gateway.service"),
    ("gateway", "gateway_admin_port", "dsops-gateway.service"),
    ("nginx", "nginx_port", "nginx.service"),
    ("nginx", "nginx_balancer_port", "dsops-balancer.service"),
    ("monitoring", "monitoring_port", "prometheus.service"),
    ("monitoring", "monitoring_alertmanager_port", "prometheus-alertmanager.service"),
)
SLOTS = {"triton@a.service": range(8100, 8103), "triton@b.service": range(8200, 8203)}
# Debian's own units: ours only once our role wrote their configuration.
SHARED = ("nginx.service", "prometheus.service", "prometheus-alertmanager.service")


def find_ports(site: Site, server: Server) -> list[Port]:
    """What the roles of this server will listen on."""
    values = [(site.value(server, key), unit) for role, key, unit in KEYS if site.has_role(server, role)]
    ports = [Port(number, unit) for number, unit in values if isinstance(number, int)]
    if site.has_role(server, "triton"):
        ports += [Port(number, unit, is_local=True) for unit, numbers in SLOTS.items() for number in numbers]
    return ports


def check_clashes(site: Site) -> list[Finding]:
    """Two of our own on one port: said from the inventory alone."""
    found = []
    for server in site.fleet.servers:
        ports = [*find_ports(site, server), Port(server.ssh_port, "sshd")]
        for number in sorted({port.number for port in ports}):
            units = sorted({port.unit for port in ports if port.number == number})
            if len(units) > 1:
                what = f"port {number} is wanted by {' and by '.join(units)}"
                found.append(problem("ports", server.name, what, mend="give one of them another port in the inventory"))
    return found


def judge_ports(
    where: str, wanted: Iterable[Port], held: Sequence[Listener] | None, *, ours: Sequence[str]
) -> list[Finding]:
    """ours: the units of SHARED whose configuration a role of ours wrote. held is None when nobody could look."""
    wanted = list(wanted)
    if held is None:
        return [
            unknown("ports", where, "`ss` is missing there, so nobody can say who listens", mend="install iproute2")
        ]
    foreign = {
        listener: port
        for port in wanted
        for listener in held
        if is_in_the_way(listener, port) and not is_own(listener, port, ours=ours)
    }
    numbers = ", ".join(str(port.number) for port in wanted)
    found = [_explain(where, listener, port) for listener, port in foreign.items()]
    return found or [ok("ports", where, f"{numbers} are free or ours")]


def is_in_the_way(listener: Listener, port: Port) -> bool:
    """Whether both cannot be."""
    if listener.number != port.number:
        return False
    return not port.is_local or listener.address in (*ANY, *LOOPBACK)


def is_own(listener: Listener, port: Port, *, ours: Sequence[str]) -> bool:
    """Whether it is our unit that listens already."""
    return listener.unit == port.unit and (port.unit not in SHARED or port.unit in ours)


def _explain(where: str, listener: Listener, port: Port) -> Finding:
    who = f"{listener.process or 'a process'} (pid {listener.pid or '?'}, {listener.unit or 'no unit'})"
    what = f"port {listener.number}, which {port.unit} needs, is held by {who}"
    # Never a command that stops a unit: a process out of an SSH session can lie in ssh.service.
    see = f"`systemctl status {listener.pid or listener.number}` there shows whose it is; stop that"
    return problem("ports", where, what, mend=f"{see}, or give ours another port in the inventory")
