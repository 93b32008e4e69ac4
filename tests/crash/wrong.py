"""Protocols that are wrong on purpose, each by one line: the explorer must catch them all, or it proves nothing."""

from collections.abc import Callable
from pathlib import Path

from dsops.node.store.disk import Disk

from tests.crash.explore import Make
from tests.crash.recorder import Before, RecordingDisk, Trace

# Whether a call of this name about this path is left out.
Skip = Callable[[str, Path], bool]


def skipping(skip: Skip) -> Make:
    def make(trace: Trace, before: Before) -> Disk:
        return RecordingDisk(trace, before=before, skips=skip)

    return make


class UnlinkingDisk(RecordingDisk):
    """Takes a name away before it gives it to something else."""

    def rename(self, source: Path, target: Path) -> None:
        if target.is_symlink():
            self.unlink(target)
        super().rename(source, target)


class HastyDisk(RecordingDisk):
    """Writes over a small file in its place."""

    def write_file(self, path: Path, data: bytes, *, mode: int = 0o444) -> None:
        super().write_file(path, b"", mode=mode)
        path.chmod(0o600)
        with self.opened(path, 1) as fd:
            self.write(fd, data, 0)
            self.chmod(fd, mode)


def make_unlinking(trace: Trace, before: Before) -> Disk:
    return UnlinkingDisk(trace, before=before)


def make_hasty(trace: Trace, before: Before) -> Disk:
    return HastyDisk(trace, before=before)


def of_folder(name: str) -> Skip:
    return lambda call, path: path.name == name


# what is wrong -> (the operation that shows it, the disk that does it)
WRONG: dict[str, tuple[str, Make]] = {
    "a blob's content is not synced": ("receive a blob", skipping(lambda call, path: path.suffix == ".part")),
    "a blob's name is not synced": ("receive a blob", skipping(of_folder("blobs"))),
    "a release's folders are not synced": ("admit a release", skipping(lambda call, path: ".build-" in str(path))),
    "a release's name is not synced": ("admit a release", skipping(of_folder("releases"))),
    "a release's manifest is not synced": ("admit a release", make_hasty),
    "a mended file's folder is not synced": ("admit one again", skipping(of_folder("1"))),
    "a release's files go before its name has gone": ("remove", skipping(of_folder("releases"))),
    "a record is not synced": ("activate", skipping(lambda call, path: call == "fdatasync")),
    "the lanes are not synced": ("prove and switch", skipping(of_folder("lanes"))),
    "a slot is not synced": ("activate", skipping(of_folder("slots"))),
    "a lane is taken away before it is turned": ("prove and switch", make_unlinking),
    "a new journal's name is not synced": ("begin", skipping(of_folder("state"))),
}
