"""Where the driver's things lie on a server, and how what must not be forgotten is written."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dsops.core.drivers import lockset as names
from dsops.core.drivers.boots import State, parse_state
from dsops.core.drivers.lockset import Carried, Lockset, parse_carried
from dsops.core.errors import DsopsError
from dsops.node.store.disk import Disk


@dataclass(frozen=True)
class DriverSet:
    """A set as it lies here."""

    path: Path
    carried: Carried

    @property
    def lockset(self) -> Lockset:
        return self.carried.lockset


@dataclass(frozen=True)
class Place:
    """root: /, or another folder in tests."""

    root: Path = Path("/")

    def __truediv__(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def sets(self) -> Path:
        return self / names.SETS

    def get_set(self, name: str) -> DriverSet:
        """Raises DsopsError when it is not here whole."""
        path = self.sets / name
        try:
            text = (path / "set.json").read_text()
        except OSError as error:
            mend = "deploy again: the set comes from the bundle"
            raise DsopsError(f"the set cannot be read ({error.strerror})", where=str(path), mend=mend) from error
        return DriverSet(path, parse_carried(text, where=str(path / "set.json")))

    def find_state(self) -> State | None:
        """None before the first change. Raises DsopsError when it cannot be read."""
        path = self / names.STATE
        if not path.exists():
            return None
        try:
            return parse_state(path.read_text(), where=str(path))
        except OSError as error:
            mend = "remove it, and deploy again: the set is installed anew"
            raise DsopsError(f"the state cannot be read ({error})", where=str(path), mend=mend) from error

    def keep_state(self, state: State) -> State:
        """Durable when it returns."""
        write(self / names.STATE, json.dumps(asdict(state)) + "\n")
        return state

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time; waits for another."""
        path = self / names.FOLDER
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        with (path / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self, path: str) -> str:
        """A file's text without its end; "" when it is not there."""
        try:
            return (self / path).read_text(errors="replace").strip()
        except OSError:
            return ""


def write(path: Path, text: str) -> None:
    """By rename, everybody may read it; durable when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    new = path.with_name(f"{path.name}.dsops-new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(0o644)
    new.rename(path)
    Disk().sync_folder(path.parent)
