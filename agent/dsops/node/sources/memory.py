"""Reads how much memory is left, how hard processes wait for it, and whether any of it is broken."""

import re
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, list_names, read_int, read_text

_NOTHING = Unread("not read yet", is_missing=True)
_LAST_MINUTE = re.compile(r"^(some|full) .*\bavg60=([\d.]+)", re.MULTILINE)
_WANTED = ("pswpin", "pswpout", "oom_kill")


@dataclass(frozen=True)
class Memory:
    """In bytes. stalled: percent of the last minute in which nothing went on since all waited for memory."""

    total: int | Unread = _NOTHING
    available: int | Unread = _NOTHING
    swap: int | Unread = _NOTHING
    stalled: float | Unread = _NOTHING


def read_memory(root: Path) -> Memory:
    text = read_text(root / "proc/meminfo")
    if isinstance(text, Unread):
        return Memory(text, text, text, read_pressure(root, "memory", "full"))
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    total, available, swap = (_find_bytes(found, key) for key in ("MemTotal", "MemAvailable", "SwapTotal"))
    return Memory(total, available, swap, read_pressure(root, "memory", "full"))


def read_pressure(root: Path, what: str, whom: str) -> float | Unread:
    """Percent of the last minute in which somebody (`some`), or everybody (`full`), waited for it.

    A kernel without PSI has no such file, or refuses to read it.
    """
    path = root / "proc/pressure" / what
    text = read_text(path)
    if isinstance(text, Unread):
        return text
    found = dict(_LAST_MINUTE.findall(text))
    return attempt(lambda: float(found[whom])) if whom in found else Unread(f"{path}: no line of `{whom}`")


def count_memory(root: Path) -> dict[str, int | Unread]:
    """Counters: pages swapped, processes killed for memory, and errors of the memory itself (`edac/mc0/ue`)."""
    return count_vmstat(root) | count_edac(root)


def count_vmstat(root: Path) -> dict[str, int | Unread]:
    text = read_text(root / "proc/vmstat")
    if isinstance(text, Unread):
        return dict.fromkeys(_WANTED, text)
    found = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    return {key: attempt(lambda key=key: int(found[key])) for key in _WANTED if key in found}  # type: ignore[misc]


def count_edac(root: Path) -> dict[str, int | Unread]:
    folder = root / "sys/devices/system/edac/mc"
    names = attempt(lambda: list_names(folder))
    if isinstance(names, Unread):
        return {"edac/mc/ue": names}
    found = [name for name in names if re.fullmatch(r"mc\d+", name)]
    return {f"edac/{name}/{kind}": read_int(folder / name / f"{kind}_count") for name in found for kind in ("ue", "ce")}


def _find_bytes(found: dict[str, str], key: str) -> int | Unread:
    if key not in found:
        return Unread(f"/proc/meminfo: no line of {key}")
    return attempt(lambda: int(found[key].split()[0]) * 1024)
