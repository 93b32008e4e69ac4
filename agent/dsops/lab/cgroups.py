"""Control groups of a server where no systemd makes them, and the freezer in all its forms."""

import contextlib
import signal
from pathlib import Path

from dsops.lab.mounts import Mount, get_mounts
from dsops.lab.place import Lab, Server
from dsops.lab.processes import find_leader, find_parts, send
from dsops.lab.run import read

SKIPPED = {"cpuset", "devices"}  # would need values of their own before a process may enter


def has_systemd() -> bool:
    """Whether systemd runs this machine. Source: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def hierarchies(mounts: list[Mount]) -> list[Path]:
    """Roots of the control group hierarchies, v1 and v2, that a server gets a group in."""
    return [
        mount.point
        for mount in mounts
        if mount.kind in ("cgroup", "cgroup2")
        and mount.point.is_relative_to("/sys/fs/cgroup")
        and not SKIPPED & set(mount.options.split(","))
    ]


def branch(lab: Lab) -> str:
    return f"dsops-lab-{lab.bridge}"


def make_groups(lab: Lab, server: Server) -> list[Path]:
    groups = [root / branch(lab) / server.name for root in hierarchies(get_mounts())]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return groups


def remove_groups(lab: Lab, server: Server | None = None) -> int:
    """Remove the empty groups of one server, or of all; how many there were. systemd removes its own."""
    count = 0
    for root in hierarchies(get_mounts()):
        top = root / branch(lab) / (server.name if server else "")
        for folder in [*sorted(top.rglob("*/"), reverse=True), top] if top.is_dir() else []:
            with contextlib.suppress(OSError):
                folder.rmdir()
                count += 1
    return count


def _find_freezer(lab: Lab, server: Server) -> Path | None:
    """The file that freezes a whole server; None where this machine has no freezer for it."""
    if has_systemd():
        files = [Path("/sys/fs/cgroup/system.slice", lab.unit(server.name), "cgroup.freeze")]
    else:
        groups = [root / branch(lab) / server.name for root in hierarchies(get_mounts())]
        files = [group / name for name in ("freezer.state", "cgroup.freeze") for group in groups]
    return next((file for file in files if file.exists()), None)


def is_frozen(lab: Lab, server: Server) -> bool:
    file = _find_freezer(lab, server)
    if file is None:
        leader = find_leader(lab, server.name)
        return leader is not None and read(Path(f"/proc/{leader}/stat")).rpartition(")")[2].split()[:1] == ["T"]
    return read(file).strip() in ("FROZEN", "FREEZING", "1")


def freeze(lab: Lab, server: Server) -> None:
    """Stop every process of a server at once, without telling it."""
    _turn(lab, server, v1="FROZEN", v2="1", number=signal.SIGSTOP)


def thaw(lab: Lab, server: Server) -> None:
    _turn(lab, server, v1="THAWED", v2="0", number=signal.SIGCONT)


def _turn(lab: Lab, server: Server, *, v1: str, v2: str, number: signal.Signals) -> None:
    file = _find_freezer(lab, server)
    if file is None:
        send(lab, find_parts(lab, server.name), number)
    else:
        file.write_text(v1 if file.name == "freezer.state" else v2)


def thaw_all(lab: Lab) -> None:
    for server in lab.everyone:
        thaw(lab, server)
