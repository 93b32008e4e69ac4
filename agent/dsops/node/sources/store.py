"""Reads the store's state from its journal, without the helper; again only when the journal was written."""

import time
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.state import NodeState
from dsops.node.store.journal import Record, journal_path, scan_journal

# Two writes within one tick of the file system's clock have the same time.
SETTLED_SECONDS = 2.0


@dataclass(frozen=True)
class StoreReading:
    """state None: nobody could say, and `reason` why. seq 0: nothing was ever written."""

    state: NodeState | None
    seq: int = 0
    records: tuple[Record, ...] = ()
    spoiled: tuple[str, ...] = ()
    reason: str = ""


class StoreReader:
    """One store; blocking."""

    def __init__(self, root: Path) -> None:
        self._path = journal_path(root)
        self._stamp: tuple[int, int] | None = None
        self._last = StoreReading(NodeState())

    def read(self) -> StoreReading:
        """Never raises: what cannot be read is a reading too."""
        try:
            seen = self._path.stat()
        except FileNotFoundError:
            return StoreReading(NodeState())
        except OSError as error:
            return StoreReading(None, reason=f"the store's journal cannot be read ({error.strerror})")
        stamp = (seen.st_ino, seen.st_mtime_ns)
        if stamp == self._stamp and abs(time.time() - seen.st_mtime) > SETTLED_SECONDS:
            return self._last
        self._last, self._stamp = self._scan(), stamp
        return self._last

    def _scan(self) -> StoreReading:
        try:
            scan = scan_journal(self._path)
        except DsopsError as error:
            return StoreReading(None, reason=f"the store's journal {error.what}")
        if not scan.records and scan.spoiled:
            return StoreReading(None, spoiled=scan.spoiled, reason=f"the store's journal: {scan.spoiled[0]}")
        last = scan.records[-1] if scan.records else None
        return StoreReading(last.state if last else NodeState(), last.seq if last else 0, scan.records, scan.spoiled)
