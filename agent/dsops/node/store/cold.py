"""The cold tier: a second store on a slow disk, by the rules of the hot one. Without it the node goes on."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.state import NodeState
from dsops.node.store.blobs import Blobs, forget_time
from dsops.node.store.disk import Disk, on_disk
from dsops.node.store.releases import Releases

FOLDERS = ("blobs", "releases", "passports", "staging")
# Lies at the root of a cold tier that is no file system of its own, such as in a rehearsal.
STAMP = ".dsops-cold"
GOOD = "known-good.json"
MOUNT = "mount it: `findmnt`, `dmesg`; `dsops deploy` mounts what the inventory names"


class Cold:
    """One node's cold tier."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        *,
        seen: Path | None = None,
        timed: Callable[[int, float], None] = forget_time,
    ) -> None:
        self.root = root
        self.blobs = Blobs(root, disk, seen=seen, timed=timed)
        self.releases = Releases(root, self.blobs, disk)
        self._disk = disk
        self._is_clean = False

    def find_absence(self) -> str:
        """Why it cannot be used, "" when it can."""
        try:
            own, above = self.root.stat(), self.root.parent.stat()
        except OSError as error:
            return f"{self.root} cannot be reached ({error.strerror})"
        # What was written below a mount point would be hidden by the next mount, and fill the wrong disk until then.
        if own.st_dev == above.st_dev and not (self.root / STAMP).is_file():
            return f"no disk is mounted at {self.root}"
        return ""

    def check(self) -> None:
        """Raises DsopsError when it cannot be used."""
        if absence := self.find_absence():
            raise DsopsError(f"the cold tier is not there: {absence}", where=str(self.root), mend=MOUNT)

    def open(self, *, at: float) -> None:
        """Makes its folders, and ends what a kill left there. Raises DsopsError."""
        self.check()
        with on_disk(self.root):
            missing = [name for name in FOLDERS if not (self.root / name).is_dir()]
            for name in missing:
                self._disk.mkdir(self.root / name)
            if missing or not self._is_clean:  # a kill may have come before the sync
                self._disk.sync_folder(self.root)
            if not self._is_clean:
                self.releases.clean_staging(at=at)
                self._is_clean = True
        self.releases.settle()

    def is_whole(self, release: str) -> bool:
        """Whether all of it is there, as far as can be seen without reading its content."""
        return self.releases.has(release) and not self.releases.find_damage(release)

    def keep_good(self, state: NodeState, *, at: float) -> None:
        """Writes down which releases are good here: when the hot tier is lost, its journal is lost with it."""
        if state.active is None:
            return  # a store that was begun anew knows nothing yet
        good = [name for name in state.known_good if not state.find_bad(name, at=at)]
        data = json.dumps({"active": state.active.release, "known_good": good}).encode()
        path = self.root / GOOD
        with suppress(OSError):
            if path.read_bytes() == data:
                return
        new = path.with_name(f".{GOOD}.new")
        with on_disk(path):
            with suppress(FileNotFoundError):
                self._disk.unlink(new)
            self._disk.write_file(new, data, mode=0o644)
            self._disk.rename(new, path)
            self._disk.sync_folder(self.root)

    def find_good(self) -> tuple[str, ...]:
        """Known-good releases that lie here whole, the best first; the active one of then where none was known good."""
        try:
            data = json.loads((self.root / GOOD).read_bytes())
            names = [str(name) for name in (*data["known_good"], data["active"]) if name]
        except (OSError, ValueError, LookupError, TypeError):
            return ()
        return tuple(name for name in dict.fromkeys(names) if self.is_whole(name))


def count_reserve(path: Path, share: float) -> int:
    """Bytes that may still be written before less than the share of the file system is free; negative when it is."""
    with on_disk(path):
        room = os.statvfs(path)
    return int((room.f_bavail - share * room.f_blocks) * room.f_frsize)
