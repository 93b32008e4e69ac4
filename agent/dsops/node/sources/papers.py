"""Reads what people left on this node for its agent: the baseline, and a maintenance; again only when they change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from dsops.core.baseline import Baseline
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance, parse_maintenance

# Below the store's root; the helper writes them.
BASELINE, MAINTENANCE = "state/baseline.json", "state/maintenance.json"
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Parse(Protocol[T_co]):
    """Raises DsopsError."""

    def __call__(self, text: bytes, /, *, where: str) -> T_co: ...


@dataclass(frozen=True)
class Papers:
    """None: there is none. reason: why one that is there cannot be read, and counts as none."""

    baseline: Baseline | None = None
    maintenance: Maintenance | None = None
    reason: str = ""


class Paper(Generic[T]):
    """One file; blocking."""

    def __init__(self, path: Path, parse: Parse[T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, ...] = ()
        self.found: T | None = None
        self.reason = ""

    def read(self) -> T | None:
        """Never raises: see `reason`. A file that is replaced whole is another inode."""
        try:
            seen = self._path.stat()
            stamp = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
            if stamp != self._stamp:
                self.found, self.reason = None, ""
                self.found = self._parse(self._path.read_bytes(), where=str(self._path))
                self._stamp = stamp
        except FileNotFoundError:
            self.found, self.reason, self._stamp = None, "", ()
        except OSError as error:
            self.found, self.reason, self._stamp = None, f"{self._path} cannot be read ({error.strerror})", ()
        except DsopsError as error:
            self.reason, self._stamp = str(error), stamp
        return self.found


class PapersReader:
    """Both of one node."""

    def __init__(self, root: Path) -> None:
        self._baseline: Paper[Baseline] = Paper(root / BASELINE, Baseline.from_json)
        self._maintenance: Paper[Maintenance] = Paper(root / MAINTENANCE, parse_maintenance)

    def read(self) -> Papers:
        """Blocking."""
        baseline, maintenance = self._baseline.read(), self._maintenance.read()
        return Papers(baseline, maintenance, self._maintenance.reason or self._baseline.reason)
