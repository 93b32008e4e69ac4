"""Reads what the kernel has little of: open files, tracked connections, cool cores; and who waits in it for ever."""

import re
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, is_there, list_names, read_int, read_text

# Their processes and threads; a kernel's own threads of a driver among them.
_WATCHED = re.compile(r"nvidia|nv_|triton", re.IGNORECASE)
_STAT = re.compile(r"^\d+ \((?P<name>.*)\) (?P<state>\S)", re.DOTALL)


@dataclass(frozen=True)
class Quota:
    """How many of how many at most."""

    used: int
    most: int


def read_files_open(root: Path) -> Quota | Unread:
    """Of the whole system."""
    path = root / "proc/sys/fs/file-nr"
    text = read_text(path)
    return text if isinstance(text, Unread) else attempt(lambda: _parse_files(text, path))


def _parse_files(text: str, path: Path) -> Quota:
    numbers = [int(word) for word in text.split()]
    if len(numbers) != 3:
        raise ValueError(f"{path}: {text.strip()[:40]!r} are not three numbers")
    return Quota(numbers[0], numbers[2])


def read_connections(root: Path) -> Quota | Unread:
    """What the firewall follows."""
    folder = root / "proc/sys/net/netfilter"
    used, most = (read_int(folder / f"nf_conntrack_{key}") for key in ("count", "max"))
    if isinstance(used, Unread):
        return used
    return most if isinstance(most, Unread) else Quota(used, most)


def read_stuck(root: Path) -> tuple[str, ...] | Unread:
    """Names of what of the GPUs' driver or of Triton waits in the kernel and cannot be ended (state D)."""
    proc = root / "proc"
    if not is_there(proc / "1/stat"):
        return Unread("other users' processes are hidden from the agent", is_denied=True)
    return attempt(lambda: _list_stuck(proc))


def _list_stuck(proc: Path) -> tuple[str, ...]:
    pids = [name for name in list_names(proc) if name.isdecimal()]
    return tuple(sorted({name for pid in pids for name in _find_stuck(proc / pid)}))


def _find_stuck(process: Path) -> list[str]:
    """Of its threads; one that ends meanwhile is not stuck."""
    found = _parse_stat(process)
    if not found or not _WATCHED.search(found["name"]):
        return []
    threads = [_parse_stat(process / "task" / name) for name in list_names(process / "task")]
    return [one["name"] for one in threads if one and one["state"] == "D"]


def _parse_stat(folder: Path) -> re.Match[str] | None:
    """None of one that is gone. Raises ValueError when nobody can say."""
    text = read_text(folder / "stat")
    if isinstance(text, str) and (found := _STAT.match(text)):
        return found
    if isinstance(text, Unread) and text.is_missing:
        return None
    raise ValueError(text.reason if isinstance(text, Unread) else f"{folder}/stat: {text[:40]!r}")


def count_throttles(root: Path) -> dict[str, int | Unread]:
    """Counter `throttle/N`: how often a CPU package was slowed down because it was hot, as its first core tells."""
    folder = root / "sys/devices/system/cpu"
    found: dict[str, int | Unread] = {}
    for name in _list_cpus(folder):
        package = read_int(folder / name / "topology/physical_package_id")
        key, path = f"throttle/{package}", folder / name / "thermal_throttle/package_throttle_count"
        if not isinstance(package, Unread) and key not in found and is_there(path):
            found[key] = read_int(path)
    return found


def _list_cpus(folder: Path) -> list[str]:
    """The CPUs, first things first."""
    names = attempt(lambda: list_names(folder))
    found = [] if isinstance(names, Unread) else [name for name in names if re.fullmatch(r"cpu\d+", name)]
    return sorted(found, key=lambda name: int(name[3:]))
