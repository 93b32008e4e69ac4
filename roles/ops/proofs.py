"""What the roles' verify.py share: one command each on the server, parsed into what the tests compare."""

import base64
import json
import shlex
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

from roles.ops.listens import find_listens
from roles.ops.settings import read_settings

# testinfra's Host; the package carries no types.
Host = Any
T = TypeVar("T")
SECONDS = 10
DHCP = {68, 546}
# One look may meet a moment in which the server was busy; what is wrong is so at every look.
PATIENCE = 20.0


@dataclass(frozen=True)
class Listener:
    """A listening socket: protocol (tcp, udp), address, port and the program that holds it."""

    protocol: str
    address: str
    port: int
    program: str

    @property
    def is_local(self) -> bool:
        """Only programs of the same server reach it."""
        address = self.address.removeprefix("::ffff:").split("%")[0]
        return address.startswith("127.") or address == "::1"


def get_settings(kind: type[T], server: Server) -> T:
    """A role's settings as the inventory gives them to a server."""
    return read_settings(kind, server.data, where=server.name)


def parse_listeners(text: str) -> list[Listener]:
    """From the lines of `ss -Hltunp`."""
    found = []
    for line in text.splitlines():
        protocol, _, _, _, local, _, *users = line.split(None, 6)
        address, port = local.rsplit(":", 1)
        program = users[0].split('"')[1] if users and '"' in users[0] else "?"
        found.append(Listener(protocol, address.strip("[]"), int(port), program))
    return found


def get_listeners(host: Host) -> list[Listener]:
    """Every listening TCP and UDP socket of the server."""
    return parse_listeners(host.check_output("ss -Hltunp"))


def get_public(host: Host) -> dict[int, str]:
    """port -> program of what other machines can reach; a DHCP client's answers are left out."""
    listeners = get_listeners(host)
    return {one.port: one.program for one in listeners if not (one.is_local or one.port in DHCP)}


def get_public_ports(server: Server) -> dict[int, str]:
    """port -> what should listen there for other machines, by the server's groups."""
    listens = find_listens(server.groups)
    return {listen.get_port(server.data): listen.what for listen in listens if listen.protocol == "tcp"}


def get_unit(host: Host, unit: str) -> dict[str, str]:
    """systemd's properties of a unit, and `/proc` of its main process (NoNewPrivs, CapEff, Seccomp, Uid)."""
    keys = "ActiveState,UnitFileState,User,ProtectSystem,NoNewPrivileges,MainPID,NRestarts,ConditionResult"
    show = f"systemctl show -p {keys} {shlex.quote(unit)}"
    proc = f"/proc/$(systemctl show -p MainPID --value {shlex.quote(unit)})/status"
    text = host.check_output(f"{show}; sed -n 's/^\\([A-Za-z]*\\):[[:space:]]*/\\1=/p' {proc} 2>/dev/null || true")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def look_again(
    look: Callable[[], T],
    is_well: Callable[[T], bool],
    *,
    seconds: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The first look that is well, else the last one within so many seconds. A look may raise only in the last."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_well(seen := look()):
                return seen
        except (OSError, DsopsError):
            pass
        sleep(1)
    return look()


def check_runs(host: Host, unit: str) -> None:
    """Asserts that a unit runs and comes back after a reboot."""
    found = get_unit(host, unit)
    said = host.check_output(f"journalctl -u {shlex.quote(unit)} -n 5 -o cat --no-pager || true")
    assert found["ActiveState"] == "active", f"{unit} is {found['ActiveState']}: {said}"
    assert found["UnitFileState"] == "enabled", f"{unit} is {found['UnitFileState']}: it will not start at boot"


def check_sandboxed(host: Host, unit: str, *, user: str, capabilities: int = 0) -> None:
    """Asserts what holds for the running process, not what its file says: no root, no privileges, a filter.

    capabilities: the only ones that it may hold, as bits.
    """
    found = get_unit(host, unit)
    uid = host.check_output(f"id -u {shlex.quote(user)}").strip()
    assert found["User"] == user
    assert found["ProtectSystem"] == "strict"
    assert set(found["Uid"].split()) == {uid}, f"{unit} does not run as {user}"
    assert uid != "0"
    assert found["NoNewPrivs"] == "1", f"{unit} may gain privileges"
    assert int(found["CapEff"], 16) == capabilities, f"{unit} holds capabilities {found['CapEff']}"
    assert found["Seccomp"] == "2", f"{unit} runs without a filter for system calls"


def get_owners(host: Host, paths: Sequence[str]) -> dict[str, str]:
    """path -> `mode user group`, as `stat` prints it; a path that is not there is missing."""
    lines = host.check_output(f"stat -c '%n|%a %U %G' {shlex.join(paths)} 2>/dev/null || true").splitlines()
    return dict(line.split("|", 1) for line in lines)


def fetch(host: Host, url: str) -> tuple[int, str]:
    """(status, body) of an URL as the server itself sees it."""
    code = (
        "import sys,urllib.request as r,urllib.error as e\n"
        f"try: a=r.urlopen(sys.argv[1],timeout={SECONDS})\n"
        "except e.HTTPError as x: a=x\n"
        "print(a.status); print(a.read().decode())"
    )
    text = host.check_output(f"python3 -c {shlex.quote(code)} {shlex.quote(url)}")
    status, _, body = text.partition("\n")
    return int(status), body


def fetch_from_here(
    url: str, *, ca: Path | None = None, user: str = "", password: str = "", headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(status, body) of an URL as the control host sees it. ca: the only authority that is trusted."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(url)
    request = urllib.request.Request(url, headers=dict(headers or {}))
    if user:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    context = ssl.create_default_context(cafile=str(ca)) if ca else None
    # No proxy of this account: the servers are asked, nobody else.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def fetch_json(host: Host, url: str) -> Any:
    """The JSON that an URL answers on the server itself, whatever its status."""
    return json.loads(fetch(host, url)[1])


def get_ca(fleet: Fleet, server: Server) -> Path:
    """The CA file that vouches for the site's certificates."""
    return fleet.get_path(server, "dsops_ca_file")


def is_container(host: Host) -> bool:
    """Whether the server is no machine of its own, so that clock and limits are its host's."""
    return bool(host.run("systemd-detect-virt --container --quiet").rc == 0)
