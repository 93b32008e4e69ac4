"""Reads what the kernel says of this boot."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """boot_id "" and uptime None when /proc does not say."""

    boot_id: str
    uptime_seconds: float | None


def read_host(root: Path) -> Host:
    """root = `/`, or a fake one in a test."""
    proc = root / "proc"
    return Host(_read(proc / "sys/kernel/random/boot_id").strip(), parse_uptime(_read(proc / "uptime")))


def parse_uptime(text: str) -> float | None:
    """First number of /proc/uptime, in seconds."""
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
