"""Looks at one server: one command over SSH, on the login that pyinfra uses, and its answer parsed."""

import getpass
import ipaddress
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dsops.control.doctor.ports import Listener
from dsops.control.fleet import ssh
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

SCRIPT = Path(__file__).with_name("probe.sh")
SECONDS = 15.0


@dataclass(frozen=True)
class Disk:
    """Free space for a path. mount: the filesystem that holds it, or will."""

    path: str
    mount: str
    total: int
    free: int


@dataclass(frozen=True)
class Facts:
    """What a server said of itself. Bytes; times in Unix seconds of the server's own clock."""

    now: float
    uid: int
    arch: str
    system: str
    systemd: str
    failed: tuple[str, ...]
    has_avx2: bool
    memory: int
    swap_total: int
    swap_free: int
    disks: tuple[Disk, ...]
    have: tuple[str, ...]
    mounts: Mapping[str, tuple[str, ...]]
    listeners: tuple[Listener, ...] | None
    ours: tuple[str, ...]
    locks: tuple[tuple[str, str], ...]
    has_upgrades: bool
    gpus_pci: int
    gpus_nvml: str
    route: str


@dataclass(frozen=True)
class Seen:
    """The facts, and when this machine's clock showed what before and after they were asked for."""

    facts: Facts
    started: float
    ended: float


def look(fleet: Fleet, server: Server) -> Seen:
    """Raises DsopsError when it cannot be reached, or does not answer as it should."""
    as_pyinfra = with_login(server)
    started = time.time()
    done = ssh.run(fleet, as_pyinfra, ["sh", "-c", SCRIPT.read_text()], timeout=SECONDS)
    ended = time.time()
    return Seen(parse(done.stdout, where=server.name), started, ended)


class AnswerError(DsopsError):
    """It answered, and the answer is of no use."""


def with_login(server: Server) -> Server:
    """The same server as pyinfra logs in to it: fleet.ssh otherwise uses the operators' door."""
    user = server.data.get("ssh_user") or getpass.getuser()
    data = {**server.data, "dsops_ssh_user": user, "dsops_ssh_key": server.data.get("ssh_key")}
    return replace(server, data=data)


def parse(text: str, *, where: str) -> Facts:
    """The facts out of the script's lines. Pure. Raises DsopsError when they are cut short or no such lines."""
    lines: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        key, _, value = line.partition("=")
        lines[key].append(value.strip())
    if "end" not in lines:
        raise AnswerError("its answer was cut short", where=where, mend="try again")
    one = {key: values[0] for key, values in lines.items()}
    try:
        return _build(one, lines)
    except (KeyError, ValueError, IndexError) as error:
        raise AnswerError(f"its answer is not understood ({error!r})", where=where, mend="a bug of dsops") from error


def _build(one: Mapping[str, str], lines: Mapping[str, list[str]]) -> Facts:
    return Facts(
        now=float(one["now"]),
        uid=int(one["uid"]),
        arch=one["arch"],
        system=f"{one['os.ID'] or 'unknown'} {one['os.VERSION_ID']}".strip(),
        systemd=one["systemd"],
        failed=tuple(one["failed"].split()),
        has_avx2=one["avx2"] == "yes",
        memory=int(one["kib.MemTotal"]) * 1024,
        swap_total=int(one["kib.SwapTotal"]) * 1024,
        swap_free=int(one["kib.SwapFree"]) * 1024,
        disks=tuple(_disk(line) for line in lines.get("disk", [])),
        have=tuple(lines.get("have", [])),
        mounts={line.split()[0]: tuple(line.split()[1].split(",")) for line in lines.get("mount", [])},
        listeners=tuple(_listener(line) for line in lines.get("listen", [])) if "listeners" in one else None,
        ours=tuple(lines.get("ours", [])),
        locks=tuple((line.split()[0], " ".join(line.split()[1:])) for line in lines.get("lock", [])),
        has_upgrades=one["upgrades"] == "yes",
        gpus_pci=int(one["gpus.pci"]),
        gpus_nvml=one.get("gpus.nvml", ""),
        route=one["route"],
    )


def _disk(line: str) -> Disk:
    path, mount, total, free = line.split()
    return Disk(path, mount, int(total) * 1024, int(free) * 1024)


def _listener(line: str) -> Listener:
    local, pid, unit, *name = line.split()
    address, _, number = local.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    if address != "*":
        ipaddress.ip_address(address)
    return Listener(address, int(number), " ".join(name), pid.strip("-"), unit.strip("-"))
