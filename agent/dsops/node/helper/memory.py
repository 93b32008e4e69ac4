"""How much memory this server has, and how much of it something new may take."""

from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int

    @property
    def free_share(self) -> float:
        """0.0 to 1.0."""
        return self.available / self.total if self.total else 0.0


def read_memory(path: Path) -> Memory:
    """From /proc/meminfo. Raises DsopsError when it does not say."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return Memory(*(int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable")))
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DsopsError(f"the memory cannot be read ({error})", where=str(path)) from error
