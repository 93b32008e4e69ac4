"""`dsops lab status`: what every server is doing, asked of the kernel and of the server itself."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.table import Table

from dsops.core.errors import DsopsError
from dsops.lab import cgroups, gpus, keys, owner, sink
from dsops.lab.attempts import Counts, read_counters
from dsops.lab.metal import guest
from dsops.lab.mounts import is_mounted
from dsops.lab.place import Lab, Server
from dsops.lab.processes import find_leader, find_parts, started_at
from dsops.lab.run import run


@dataclass(frozen=True)
class ServerStatus:
    name: str
    address: str
    state: str  # running, booting, frozen, off, none
    ssh: bool
    since: str  # start of its process 1, UTC; "" when off
    gpus: int
    disk_used: int  # bytes of /var/lib/dsops
    disk_total: int
    dns: int  # names it asked the outside for
    connections: int  # addresses beyond the lab that it tried


@dataclass(frozen=True)
class LabStatus:
    root: str
    owner: str
    sink: bool
    servers: list[ServerStatus]

    def render_json(self) -> dict[str, object]:
        return asdict(self)


def get_status(lab: Lab) -> LabStatus:
    whose, counters = owner.find_owner(lab), read_counters(lab)
    shown = [*lab.servers, *(one for one in lab.guests if lab.home(one).prepared.exists())]
    with ThreadPoolExecutor(len(shown)) as pool:
        servers = list(pool.map(lambda one: _look(lab, one, counters[one.name]), shown))
    return LabStatus(str(lab.root), whose.checkout if whose else "", sink.find_sink(lab) is not None, servers)


def _look(lab: Lab, one: Server, counts: Counts) -> ServerStatus:
    home, leader = lab.home(one), find_machine(lab, one)
    frozen = leader is not None and cgroups.is_frozen(lab, one)
    ssh = leader is not None and not frozen and _answers(lab, one)
    began = started_at(leader) if leader else None
    used, total = _disk(lab, one)
    return ServerStatus(
        name=one.name,
        address=str(lab.address(one)),
        state=judge_state(made=home.prepared.exists(), alive=leader is not None, frozen=frozen, ssh=ssh),
        ssh=ssh,
        since=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds") if began else "",
        gpus=gpus.count(home.gpus),
        disk_used=used,
        disk_total=total,
        dns=counts.dns,
        connections=counts.connections,
    )


def find_machine(lab: Lab, one: Server) -> int | None:
    """Process 1 of a server; qemu of a guest."""
    if one.is_metal:
        return next((part.pid for part in find_parts(lab, one.name)), None)
    return find_leader(lab, one.name)


def judge_state(*, made: bool, alive: bool, frozen: bool, ssh: bool) -> str:
    if not made:
        return "none"
    if not alive:
        return "off"
    return "frozen" if frozen else "running" if ssh else "booting"


def _answers(lab: Lab, one: Server) -> bool:
    try:
        return run(keys.ssh_argv(lab, one, "echo here", timeout=2), timeout=4).strip() == "here"
    except DsopsError:
        return False


def _disk(lab: Lab, one: Server) -> tuple[int, int]:
    """Used and total bytes of /var/lib/dsops, of a guest's disks all together; (0, 0) while it is not mounted."""
    if one.is_metal:
        return guest.disk_bytes(lab.home(one))
    data = lab.home(one).data
    if not is_mounted(data):
        return 0, 0
    stat = os.statvfs(data)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_blocks * stat.f_frsize


def render_table(status: LabStatus) -> Table:
    """Fits into 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=_caption(status), caption_justify="left")
    for title in ("node", "address", "state", "ssh", "since (UTC)", "GPUs", "disk GB", "reached for"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("GPUs", "disk GB") else "left")
    for one in status.servers:
        since = one.since[5:16].replace("T", " ") or "-"
        disk = f"{one.disk_used / 1e9:.1f}/{one.disk_total / 1e9:.1f}" if one.disk_total else "-"
        tried = f"{one.dns} names, {one.connections} hosts" if one.dns + one.connections else "nothing"
        ssh = "yes" if one.ssh else "no"
        table.add_row(one.name, one.address, one.state, ssh, since, str(one.gpus or "-"), disk, tried)
    return table


def _caption(status: LabStatus) -> str:
    whose = f"of {status.owner}" if status.owner else "of nobody"
    sink = "listens" if status.sink else "does NOT run: `dsops lab up` starts it"
    return f"lab in {status.root}, {whose}; the sink {sink}"
