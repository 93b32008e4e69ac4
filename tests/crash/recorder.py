"""Records every system call that the store makes through its door to the disk, while it makes it."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.node.store.disk import Disk

from tests.crash.model import TOP, Base, Change, File, Image, Kind, Leaf, Name, Node, Part, cut_write

# What does not go through the door, since nothing rests on it: it may be lost or wrong after a cut, or lies in /run.
BESIDE = frozenset({"lock", "cold-rate.json", "cold-rate.new", "meminfo", "machine-id"})
PASSING = ("seen.json", "seen-cold.json")  # in /run on a node, which a power cut empties


@dataclass(frozen=True)
class Call:
    """One system call. made: numbers of its changes; lasts: of all changes that last since it returned."""

    name: str
    path: str
    made: tuple[int, ...] = ()
    lasts: frozenset[int] = frozenset()


@dataclass
class Trace:
    """All calls since a moment at which everything lasted."""

    top: Path
    base: Base = field(default_factory=Base)
    changes: dict[int, Change] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    waiting: dict[int, Change] = field(default_factory=dict)
    # Lost for good by a failed fsync, and seen to be.
    void: set[int] = field(default_factory=set)
    # As the running system sees it: all changes applied.
    _names: dict[int, dict[str, int]] = field(default_factory=dict)
    _files: dict[int, File] = field(default_factory=dict)
    _opened: dict[int, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def begin(cls, top: Path) -> "Trace":
        """From what lies below `top` now."""
        trace = cls(top)
        _load(top, TOP, base=trace.base, known={})
        trace._names = {folder: dict(names) for folder, names in trace.base.names.items()}
        return trace

    def render(self, chosen: Collection[int] | None = None) -> Image:
        """What the disk holds when only the chosen changes reached it; as the running system sees it without."""
        return self.base.render(self.changes, self.changes.keys() - self.void if chosen is None else chosen)

    def find(self, path: Path) -> int | None:
        """The node at a path, as the running system sees it."""
        number: int | None = TOP
        for name in path.relative_to(self.top).parts:
            number = self._names.get(number, {}).get(name) if number is not None else None
        return number

    def opened(self, fd: int, path: Path, *, is_new: bool, mode: int) -> None:
        if is_new:
            number = self.base.add(Node(Kind.FILE, mode=mode))
            self._name("create", path, number)
        found = self.find(path)
        assert found is not None, path
        self._opened[fd] = (found, str(path.relative_to(self.top)))

    def write(self, fd: int, data: bytes, offset: int) -> None:
        number, path = self._opened[fd]
        made = list(cut_write(number, data, offset=offset, before=self._file(number).render()))
        self._made("write", path, made)

    def truncate(self, fd: int, size: int) -> None:
        number, path = self._opened[fd]
        self._made("truncate", path, [Change(frozenset({(number, Part.DATA)}), node=number, size=size)])

    def chmod(self, fd: int, mode: int) -> None:
        number, path = self._opened[fd]
        changed = [Change(frozenset({(number, Part.MODE)}), node=number, mode=mode)]
        self._made("chmod", path, changed if self._file(number).mode != mode else [])

    def sync(self, fd: int, name: str) -> None:
        """fsync or fdatasync came back without an error."""
        number, path = self._opened[fd]
        parts = {Part.DATA} if name == "fdatasync" else {Part.DATA, Part.MODE, Part.NAMES}
        synced = {(number, part) for part in parts}
        done = frozenset(one for one, change in self.waiting.items() if change.keys & synced)
        for one in done:
            del self.waiting[one]
        self.calls.append(Call(name, path, lasts=done))

    def forget(self, fd: int) -> None:
        """fsync failed: what was written to this file does not last by any later fsync.

        Names and modes are tried again: a file system whose own journal fails takes no writes any more.
        """
        number, _ = self._opened[fd]
        for one, change in self.waiting.items():
            if change.node == number and change.data:
                self.waiting[one] = replace(change, keys=frozenset())

    def drop_cache(self, fd: int) -> bytes | None:
        """What is read from now on, where that is less than what was written: what a failed fsync has lost is seen."""
        number, _ = self._opened[fd]
        void = {one for one, change in self.waiting.items() if change.node == number and not change.keys}
        if not void:
            return None
        self.void |= void
        for one in void:
            del self.waiting[one]
        node = self.base.nodes[number]
        file = self._files[number] = File(bytearray(node.data), len(node.data), node.mode)
        for one, change in self.changes.items():
            if change.node == number and one not in self.void:
                file.apply(change)
        return file.render()

    def mode(self, fd: int) -> int:
        """The mode of an open file."""
        return self._file(self._opened[fd][0]).mode

    def rename(self, source: Path, target: Path) -> None:
        number = self.find(source)
        assert number is not None, source
        gone, come = self._place(source, None), self._place(target, number)
        self._made("rename", str(target.relative_to(self.top)), [_names(gone, come)])

    def link(self, source: Path, target: Path) -> None:
        number = self.find(source)
        assert number is not None, source
        self._name("link", target, number)

    def symlink(self, path: Path, text: str) -> None:
        self._name("symlink", path, self.base.add(Node(Kind.LINK, text=text)))

    def mkdir(self, path: Path) -> None:
        number = self.base.add(Node(Kind.FOLDER))
        self._names[number] = {}
        self._name("mkdir", path, number)

    def remove(self, name: str, path: Path) -> None:
        self._name(name, path, None)

    def _name(self, call: str, path: Path, number: int | None) -> None:
        self._made(call, str(path.relative_to(self.top)), [_names(self._place(path, number))])

    def _place(self, path: Path, number: int | None) -> Name:
        folder = self.find(path.parent)
        assert folder is not None, path
        return Name(folder, path.name, number)

    def _made(self, call: str, path: str, made: list[Change]) -> None:
        first = len(self.changes)
        for number, change in enumerate(made, first):
            self.changes[number] = self.waiting[number] = change
            for one in change.names:
                if one.node is None:
                    self._names[one.folder].pop(one.name, None)
                else:
                    self._names[one.folder][one.name] = one.node
            if change.node >= 0:
                self._file(change.node).apply(change)
        self.calls.append(Call(call, path, made=tuple(range(first, first + len(made)))))

    def _file(self, number: int) -> File:
        if number not in self._files:
            node = self.base.nodes[number]
            self._files[number] = File(bytearray(node.data), len(node.data), node.mode)
        return self._files[number]


def _names(*names: Name) -> Change:
    return Change(frozenset((one.folder, Part.NAMES) for one in names), names)


def _load(path: Path, folder: int, *, base: Base, known: dict[int, int]) -> None:
    for child in sorted(path.iterdir()):
        if child.name in BESIDE or child.name in PASSING:
            continue
        seen = child.lstat()
        if child.is_symlink():
            base.names[folder][child.name] = base.add(Node(Kind.LINK, text=str(child.readlink())))
        elif child.is_dir():
            number = base.names[folder][child.name] = base.add(Node(Kind.FOLDER))
            _load(child, number, base=base, known=known)
        else:
            if seen.st_ino not in known:
                known[seen.st_ino] = base.add(Node(Kind.FILE, child.read_bytes(), seen.st_mode & 0o7777))
            base.names[folder][child.name] = known[seen.st_ino]


def read_image(top: Path) -> Image:
    """A real folder as an image."""
    base = Base()
    _load(top, TOP, base=base, known={})
    return base.render({}, ())


def same(one: Image, other: Image) -> bool:
    """Whether two images show the same: names, content, modes, and which names are one file."""
    return describe(one) == describe(other)


def describe(image: Image) -> tuple[tuple[object, ...], ...]:
    """An image without the numbers of its nodes."""
    first: dict[int, str] = {}
    said: list[tuple[object, ...]] = []
    for path, leaf in image.items():
        if leaf is None:
            said.append((path,))
        else:
            said.append((path, leaf.kind, leaf.data, leaf.mode, leaf.text, first.setdefault(leaf.node, path)))
    return tuple(said)


def make_real(image: Image, top: Path) -> None:
    """Puts an image into an empty folder."""
    first: dict[int, str] = {}
    for path, leaf in image.items():
        where = f"{top}/{path}"
        if leaf is None:
            os.mkdir(where)  # noqa: PTH102 - hundreds of thousands of these
        elif leaf.kind is Kind.LINK:
            os.symlink(leaf.text, where)  # noqa: PTH211
        elif leaf.node in first:
            os.link(first[leaf.node], where)
        else:
            first[leaf.node] = where
            _make_file(where, leaf)


def _make_file(where: str, leaf: Leaf) -> None:
    fd = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, leaf.mode)
    try:
        os.write(fd, memoryview(leaf.data)[: leaf.full])
        os.ftruncate(fd, len(leaf.data))
        os.fchmod(fd, leaf.mode)
    finally:
        os.close(fd)


class KilledError(BaseException):
    """The process is dead: nothing that it does any more reaches the disk."""


# Before each call: its name and the path it is about. It may raise: an OSError, or KilledError.
Before = Callable[[str, Path], None]


def let_be(name: str, path: Path) -> None:
    """No call fails."""


class RecordingDisk(Disk):
    """Does each call, and writes it down. before: is asked first. skips: calls that are left out, to try it so."""

    def __init__(
        self, trace: Trace, *, before: Before = let_be, skips: Callable[[str, Path], bool] = lambda name, path: False
    ) -> None:
        self.trace = trace
        self._before = before
        self._skips = skips
        self._paths: dict[int, Path] = {}

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        self._before("create" if is_new else "open", path)
        fd = super().open(path, flags, mode)
        self._paths[fd] = path
        self.trace.opened(fd, path, is_new=is_new, mode=mode)
        assert not flags & os.O_TRUNC, "the model has no O_TRUNC, since the store never does that"
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        try:
            self._before("write", self._paths[fd])
        except OSError:  # half of it was written until then
            self._write(fd, data[: len(data) // 2], offset)
            raise
        self._write(fd, data, offset)

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        super().write(fd, data, offset)
        self.trace.write(fd, data, offset)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        self._before("read", self._paths[fd])
        return super().read(fd, count, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._before("truncate", self._paths[fd])
        super().truncate(fd, size)
        self.trace.truncate(fd, size)

    def drop_cache(self, fd: int) -> None:
        left = self.trace.drop_cache(fd)
        if left is not None:
            path = self._paths[fd]
            path.chmod(0o600)
            path.write_bytes(left)
            path.chmod(self.trace.mode(fd))

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, name: str, fd: int) -> None:
        if self._skips(name, self._paths[fd]):
            return
        try:
            self._before(name, self._paths[fd])
        except OSError:
            self.trace.forget(fd)
            raise
        self.trace.sync(fd, name)  # the disk below is memory: nothing needs waiting for

    def chmod(self, fd: int, mode: int) -> None:
        self._before("chmod", self._paths[fd])
        super().chmod(fd, mode)
        self.trace.chmod(fd, mode)

    def chown_own(self, fd: int) -> None:
        self._before("chown_own", self._paths[fd])
        super().chown_own(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename", target)
        super().rename(source, target)
        self.trace.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._before("link", target)
        super().link(source, target)
        self.trace.link(source, target)

    def symlink(self, path: Path, target: str) -> None:
        self._before("symlink", path)
        super().symlink(path, target)
        self.trace.symlink(path, target)

    def unlink(self, path: Path) -> None:
        self._before("unlink", path)
        super().unlink(path)
        self.trace.remove("unlink", path)

    def mkdir(self, path: Path) -> None:
        self._before("mkdir", path)
        super().mkdir(path)
        self.trace.mkdir(path)

    def rmdir(self, path: Path) -> None:
        self._before("rmdir", path)
        super().rmdir(path)
        self.trace.remove("rmdir", path)
