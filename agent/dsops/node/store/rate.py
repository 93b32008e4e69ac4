"""How fast the cold tier is read on this node: measured whenever it is, and remembered."""

import json
import threading
from contextlib import suppress
from pathlib import Path

from dsops.core.tiers import COLD_BYTES_PER_SECOND

# Less says more about seeks than about the disk.
LEAST_BYTES = 16 << 20


class Rate:
    """Bytes per second, in a small file. Losing it costs a guess, so it is not made to last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._bytes = 0
        self._seconds = 0.0

    def add(self, count: int, seconds: float) -> None:
        """So much was read, in so long. Kept once there is enough of it to mean something."""
        with self._lock:
            self._bytes, self._seconds = self._bytes + count, self._seconds + seconds
            if self._bytes < LEAST_BYTES or self._seconds <= 0:
                return
            measured, self._bytes, self._seconds = self._bytes / self._seconds, 0, 0.0
        with suppress(OSError):
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps({"bytes_per_second": round(measured)}))
            new.rename(self._path)

    @property
    def is_measured(self) -> bool:
        return self._find() is not None

    @property
    def bytes_per_second(self) -> float:
        """As last measured here, else what such disks do."""
        return self._find() or COLD_BYTES_PER_SECOND

    def _find(self) -> float | None:
        try:
            found = json.loads(self._path.read_text())["bytes_per_second"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return float(found) if isinstance(found, int | float) and found > 0 else None
