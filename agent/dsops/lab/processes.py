"""The lab's processes, found by what they really are, never by a name: by their mark or by their root."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.mounts import parse_mountinfo
from dsops.lab.place import MARK, Lab
from dsops.lab.run import read

PROC = Path("/proc")


@dataclass(frozen=True)
class Part:
    """A process of a lab. part: the server's name, "sink" or "build"; inside: runs in the server."""

    pid: int
    part: str
    inside: bool
    leader: bool  # the server's process 1


def find_parts(lab: Lab, part: str = "", *, proc: Path = PROC) -> list[Part]:
    """Every process of the lab (or of one part of it) but this one."""
    found = (_find_part(lab, entry, proc) for entry in proc.iterdir() if entry.name.isdigit())
    return [one for one in found if one and one.pid != os.getpid() and part in ("", one.part)]


def _find_part(lab: Lab, entry: Path, proc: Path) -> Part | None:
    if name := _find_inside(lab, entry, proc):
        ids = next((line.split()[1:] for line in read(entry / "status").splitlines() if line[:6] == "NSpid:"), [])
        return Part(int(entry.name), name, inside=True, leader=len(ids) == 2 and ids[-1] == "1")
    mark = f"{MARK}={lab.root}:"
    for word in read(entry / "environ").split("\0"):
        if word.startswith(mark):
            return Part(int(entry.name), word.removeprefix(mark), inside=False, leader=False)
    return None


def _find_inside(lab: Lab, entry: Path, proc: Path) -> str:
    """The server in which a process lives: its / is an overlay that writes into that server's folder."""
    try:
        if (entry / "ns/mnt").readlink() == (proc / "self/ns/mnt").readlink():
            return ""
    except OSError:
        return ""
    for mount in parse_mountinfo(read(entry / "mountinfo")):
        if mount.kind == "overlay" and mount.point == Path("/"):
            options = dict(option.partition("=")[::2] for option in mount.options.split(","))
            upper = Path(options.get("upperdir", "/"))
            if upper.is_relative_to(lab.hosts):
                return upper.relative_to(lab.hosts).parts[0]
    return ""


def is_gone(lab: Lab, part: str, *, find: Callable[[Lab, str], list[Part]] = find_parts, pause: float = 0.2) -> bool:
    """Nothing of that part runs, on two looks: a program that just begins shows an empty environment for a moment."""
    if find(lab, part):
        return False
    time.sleep(pause)
    return not find(lab, part)


def find_leader(lab: Lab, name: str) -> int | None:
    return next((part.pid for part in find_parts(lab, name) if part.leader), None)


def send(lab: Lab, parts: list[Part], number: signal.Signals) -> None:
    """Signal processes; each is looked at again behind a pidfd, so that a reused number is never hit."""
    for part in parts:
        with _open_pidfd(part.pid) as handle:
            if handle is not None and _find_part(lab, PROC / str(part.pid), PROC) is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)


@contextlib.contextmanager
def _open_pidfd(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def end_parts(lab: Lab, part: str = "", *, thaw: Callable[[], None], patience: float = 10) -> int:
    """kill -9 the lab's processes, or those of one part, until none is left; how many were seen.

    thaw: called after the signal, because a frozen process dies only when it runs again.
    """
    seen: set[int] = set()
    until = time.monotonic() + patience
    while parts := find_parts(lab, part):
        seen.update(one.pid for one in parts)
        send(lab, parts, signal.SIGKILL)
        thaw()
        if time.monotonic() > until:
            raise DsopsError(
                f"processes outlive kill -9: {sorted(one.pid for one in parts)}",
                mend="they hang in the kernel; look at /proc/PID/stack, or restart this machine",
            )
        time.sleep(0.02)
    return len(seen)


def started_at(pid: int, *, proc: Path = PROC) -> float | None:
    """When a process began, in seconds since the epoch."""
    fields = read(proc / str(pid) / "stat").rpartition(")")[2].split()
    boot = next((line.split()[1] for line in read(proc / "stat").splitlines() if line[:5] == "btime"), "")
    if len(fields) < 20 or not boot:
        return None
    return float(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
