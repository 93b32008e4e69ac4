"""What is wrong with a server that answered: every judge, with what it needs of the site and of the server."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dsops.control.doctor.clock import judge_skew, judge_sync
from dsops.control.doctor.drivers import judge_agents, judge_drivers
from dsops.control.doctor.egress import Target, judge_egress, judge_probe
from dsops.control.doctor.facts import Facts, Seen
from dsops.control.doctor.finding import Finding, Status, ok, problem, unknown, warning
from dsops.control.doctor.gpus import judge_cards, judge_count, judge_fabric, judge_kinds, judge_links
from dsops.control.doctor.iommu import judge_acs, judge_iommu
from dsops.control.doctor.kernel import judge_boot, judge_kernel, judge_reboot
from dsops.control.doctor.network import judge_nics, judge_rdma
from dsops.control.doctor.ports import find_ports, judge_ports
from dsops.control.doctor.processor import judge_mitigations, judge_numa
from dsops.control.doctor.room import judge_disks, judge_memory, judge_mounts, judge_swap, judge_swap_room
from dsops.control.doctor.site import Site
from dsops.control.fleet.inventory import Server
from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Patient:
    """One server with all that its judges need. egress: where the operator had it try to get out, if at all."""

    site: Site
    server: Server
    seen: Seen
    egress: Target | None = None

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def facts(self) -> Facts:
        return self.seen.facts

    @property
    def has_servers(self) -> bool:
        """Whether the inventory names time servers for it."""
        return bool(self.site.value(self.server, "base_ntp_servers"))


def judge_system(one: Patient) -> list[Finding]:
    """An operating system that the roles and the bundle were made for."""
    system = one.facts.system
    supported = one.site.systems.values()
    if system not in supported:
        mend = f"install one of {', '.join(supported)}"
        return [problem("system", one.name, f"{system} is not supported", mend=mend)]
    made_for = one.site.bundle.system if one.site.bundle else ""
    if made_for and made_for != system:
        mend = f"build the bundle on {system}, or install {made_for} there"
        return [problem("system", one.name, f"has {system}, and the bundle's packages are for {made_for}", mend=mend)]
    fits = ", as the bundle wants it" if made_for else "; the bundle does not say whether it fits"
    return [ok("system", one.name, system + fits)]


def judge_cpu(one: Patient) -> list[Finding]:
    """The wheels are x86_64; OpenVINO's kernels want AVX2."""
    if one.facts.arch != "x86_64":
        return [problem("cpu", one.name, f"is {one.facts.arch}; the bundle is x86_64", mend="use an x86_64 server")]
    engine = one.site.value(one.server, "engine_name") if one.site.has_role(one.server, "engine") else ""
    if engine == "openvino" and not one.facts.has_avx2:
        mend = "another engine, or a CPU with AVX2 (in a guest: pass the host's CPU through)"
        return [problem("cpu", one.name, "has no AVX2, which engine openvino needs", mend=mend)]
    return [ok("cpu", one.name, f"x86_64 {one.facts.processor.render()}".replace(" ;", ";").strip())]


def judge_login(one: Patient) -> list[Finding]:
    """Deploys need root, and so do the other checks: who listens is told to root only."""
    what = f"is user {one.facts.uid} there, not root"
    rest = unknown("server", one.name, "the other checks of this server were not made: they need root")
    return [problem("login", one.name, what, mend="write ssh_user = 'root' in group_data"), rest]


def judge_systemd(one: Patient) -> list[Finding]:
    """systemd runs the server. A failed unit is said, and is no hindrance; nor is a start that a model draws out."""
    state, failed = one.facts.systemd, ", ".join(one.facts.failed)
    if state in ("running", "degraded"):
        return [ok("systemd", one.name, f"running; failed: {failed}" if failed else "running")]
    if state in ("starting", "initializing"):
        mend = "wait until it has started (`systemctl list-jobs` there shows for what it waits)"
        return [warning("systemd", one.name, f"is still {state}", mend=mend)]
    mend = "boot it with systemd as init; one that hangs needs a reboot"
    return [problem("systemd", one.name, f"{state or 'does not answer'}, should be running", mend=mend)]


def measure_skew(seen: Seen) -> float:
    """Seconds that the server's clock is surely ahead (or behind, negative); 0 while it fits between our two."""
    if seen.facts.now > seen.ended:
        return seen.facts.now - seen.ended
    return min(0.0, seen.facts.now - seen.started)


def judge_packages(one: Patient) -> list[Finding]:
    """Somebody else installs, now or at night. A deploy waits for whoever is at work, and switches the others off."""
    found = []
    if one.facts.locks:
        who = ", ".join(f"{name or 'a process'} (pid {pid})" for pid, name in one.facts.locks)
        what = f"apt or dpkg is at work: {who} has its lock open"
        found.append(warning("apt", one.name, what, mend="a deploy waits for it; better wait until it ends"))
    if one.facts.has_upgrades:
        what = "unattended-upgrades is on: it changes packages under a running service, and holds apt's lock"
        mend = "systemctl disable --now unattended-upgrades apt-daily.timer apt-daily-upgrade.timer"
        found.append(warning("apt", one.name, what, mend=mend))
    return found or [ok("apt", one.name, "nobody holds apt's lock; unattended upgrades are off")]


def judge_kernels(one: Patient) -> list[Finding]:
    """Kernel, reboot, and what booted it."""
    kernel, facts = one.facts.kernel, one.facts
    return [
        *judge_kernel(one.name, kernel),
        *judge_reboot(one.name, kernel),
        *judge_boot(one.name, kernel, has_gpus=bool(facts.gpus), has_driver=bool(facts.drivers.module)),
        *judge_mitigations(one.name, facts.processor, command_line=kernel.command_line),
        *judge_numa(one.name, facts.processor),
    ]


def judge_clock(one: Patient) -> list[Finding]:
    """How far it is off, and who keeps it."""
    skew = judge_skew(one.name, measure_skew(one.seen), has_servers=one.has_servers)
    if one.facts.kernel.is_container:
        return skew  # its host's clock
    return [*skew, *judge_sync(one.name, one.facts.clock, has_servers=one.has_servers)]


def judge_gpus(one: Patient) -> list[Finding]:
    """Where the engine runs: as many as promised, each fit for work, and nobody else's."""
    if not one.site.has_role(one.server, "engine"):
        return []
    where, facts = one.name, one.facts
    wanted, kinds = one.site.value(one.server, "agent_gpus"), one.site.value(one.server, "preflight_gpu_kinds")
    found = judge_count(where, facts.gpus, by_driver=facts.gpus_nvml, wanted=wanted)
    if not facts.gpus:
        return found
    return [
        *found,
        *judge_kinds(where, facts.gpus, wanted=kinds if isinstance(kinds, list | tuple) else ()),
        *judge_cards(where, facts.gpus),
        *judge_links(where, facts.gpus),
        *judge_fabric(where, facts.gpus, facts.switches, manager=facts.drivers.manager),
        *judge_drivers(where, facts.drivers),
        *judge_agents(where, facts.drivers, facts.listeners or ()),
        *judge_iommu(where, facts.iommu, facts.gpus),
        *judge_acs(where, facts.iommu, facts.gpus),
    ]


def judge_network(one: Patient) -> list[Finding]:
    """Its cards, RDMA, and whether it may get out."""
    facts = one.facts
    return [
        *judge_nics(one.name, facts.nics, address=one.server.address),
        *judge_rdma(one.name, facts.rdma, is_wanted=len(facts.gpus) > 1),
        *judge_egress(one.name, routes=facts.routes, resolvers=facts.resolvers),
        *(judge_probe(one.name, facts.egress, target=one.egress) if one.egress else []),
    ]


def judge_listeners(one: Patient) -> list[Finding]:
    """Foreign holders of our ports."""
    wanted = find_ports(one.site, one.server)
    return judge_ports(one.name, wanted, one.facts.listeners, ours=one.facts.ours)


def judge_space(one: Patient) -> list[Finding]:
    """Room on its disks, in its memory, and where programs may run."""
    return [
        *judge_disks(one.site, one.server, one.facts),
        *judge_memory(one.site, one.server, one.facts),
        *judge_swap(one.name, one.facts),
        *judge_swap_room(one.site, one.server, one.facts),
        *judge_mounts(one.name, one.facts),
    ]


JUDGES: tuple[Callable[[Patient], list[Finding]], ...] = (
    judge_system,
    judge_cpu,
    judge_systemd,
    judge_kernels,
    judge_space,
    judge_clock,
    judge_listeners,
    judge_packages,
    judge_gpus,
    judge_network,
)


def accept(one: Patient, findings: list[Finding]) -> list[Finding]:
    """Problems that the inventory accepts for this server (preflight_accept) stay to be seen, and hinder nobody."""
    accepted = one.site.value(one.server, "preflight_accept")
    if not isinstance(accepted, list | tuple):
        return findings
    return [
        replace(found, status=Status.WARNING, what=f"{found.what} (accepted: preflight_accept)")
        if found.status is Status.PROBLEM and found.check in accepted
        else found
        for found in findings
    ]


def judge_patient(one: Patient) -> list[Finding]:
    """All judges of a server that answered."""
    if one.facts.uid:
        return judge_login(one)
    judged = [finding for judge in JUDGES for finding in attempt(judge.__name__, one.name, lambda j=judge: j(one))]  # type: ignore[misc]
    return accept(one, judged)


def attempt(check: str, where: str, judge: Callable[[], list[Finding]]) -> list[Finding]:
    """A check that fails is UNKNOWN, never a crash: the others still have their say."""
    try:
        return judge()
    except DsopsError as error:
        return [unknown(check, error.where or where, error.what, mend=error.mend)]
    except OSError as error:
        return [unknown(check, str(error.filename or where), (error.strerror or str(error)).lower())]
    except Exception as bug:
        return [unknown(check, where, f"the check itself failed ({bug!r}); this is a bug of dsops")]
