"""A file system that forgets as much as POSIX lets it: what may be on the disk after a power cut. Pure.

The model, which is harder than ext4 and xfs are:

- Nothing lasts before it is synced: each sector that was written, each file's size, each mode, and each name in a
  folder may reach the disk, or not, by itself and in any order.
- fsync of a file makes its content, size and mode last, not its name. fdatasync: content and size, not the mode.
  fsync of a folder makes the names in it last, not what they lead to.
- A write may be torn between sectors: 512 bytes where it is a small one (a record of the journal), 4 KiB else.
  A sector is old or new.
- rename is atomic: after it a name leads to the old or to the new, also from one folder to another. It lasts once one
  of its two folders was synced (both names are one change: neither can last without the other).
- A link's text lasts with its name; there is no way to sync it.
- Content that could not be synced (a failed fsync) never lasts by a later fsync: the kernel has forgotten that it was
  dirty. Names and modes are tried again: a file system whose own journal fails takes no writes any more.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TOP = 0
SMALL, SECTOR, PAGE = 16384, 512, 4096


class Kind(StrEnum):
    """What a node is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True)
class Node:
    """An inode as it lay on the disk before anything was recorded; what changes it is a Change."""

    kind: Kind
    data: bytes = b""
    mode: int = 0o755
    text: str = ""


class Part(StrEnum):
    """What of a node a sync makes last."""

    DATA = "data"
    MODE = "mode"
    NAMES = "names"


Key = tuple[int, Part]


@dataclass(frozen=True)
class Name:
    """A name in a folder; node None: it is gone."""

    folder: int
    name: str
    node: int | None


@dataclass(frozen=True)
class Change:
    """What reaches the disk as a whole or not at all. keys: any of these being synced makes it last."""

    keys: frozenset[Key]
    names: tuple[Name, ...] = ()
    node: int = -1
    offset: int = 0
    data: bytes = b""
    size: int = -1
    mode: int = -1


@dataclass
class File:
    """A file's content, grown by changes."""

    data: bytearray
    size: int
    mode: int

    def apply(self, change: Change) -> None:
        if change.data:
            end = change.offset + len(change.data)
            if len(self.data) < end:
                self.data.extend(bytes(end - len(self.data)))
            self.data[change.offset : end] = change.data
        if change.size >= 0:
            if change.size < self.size:
                del self.data[change.size :]
            self.size = change.size
        if change.mode >= 0:
            self.mode = change.mode

    def render(self) -> bytes:
        if len(self.data) == self.size:
            return bytes(self.data)
        return bytes(self.data[: self.size].ljust(self.size, b"\0"))


@dataclass(frozen=True)
class Leaf:
    """A file or a link at a path. node: two paths with the same one are one file. full: bytes before the last zeros."""

    node: int
    kind: Kind
    data: bytes = b""
    mode: int = 0
    text: str = ""
    full: int = 0


# path below the top -> what is there; None is a folder. Parents come before their children.
Image = Mapping[str, Leaf | None]


@dataclass
class Base:
    """All nodes that there ever were, and the names as they lay on the disk at first."""

    nodes: dict[int, Node] = field(default_factory=lambda: {TOP: Node(Kind.FOLDER)})
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {TOP: {}})
    # (node, changes that reached it) -> content: the journal is big, and mostly the same.
    known: dict[tuple[int, tuple[int, ...]], Leaf] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """A new node's number; it has no name yet."""
        number = len(self.nodes)
        self.nodes[number] = node
        if node.kind is Kind.FOLDER:
            self.names[number] = {}
        return number

    def render(self, changes: Mapping[int, Change], chosen: Collection[int]) -> Image:
        """What lies on the disk when of all changes only the chosen ones reached it."""
        names = {folder: dict(held) for folder, held in self.names.items()}
        touched: dict[int, list[int]] = {}
        for number in sorted(chosen):
            change = changes[number]
            for one in change.names:
                if one.node is None:
                    names[one.folder].pop(one.name, None)
                else:
                    names[one.folder][one.name] = one.node
            if change.node >= 0:
                touched.setdefault(change.node, []).append(number)
        image: dict[str, Leaf | None] = {}
        self._walk("", TOP, names, touched=touched, changes=changes, image=image)
        return image

    def _walk(
        self,
        path: str,
        folder: int,
        names: Mapping[int, Mapping[str, int]],
        *,
        touched: Mapping[int, list[int]],
        changes: Mapping[int, Change],
        image: dict[str, Leaf | None],
    ) -> None:
        for name, number in sorted(names[folder].items()):
            below = f"{path}{name}"
            if self.nodes[number].kind is Kind.FOLDER:
                image[below] = None
                self._walk(f"{below}/", number, names, touched=touched, changes=changes, image=image)
            else:
                image[below] = self._render_leaf(number, tuple(touched.get(number, ())), changes)

    def _render_leaf(self, number: int, touched: tuple[int, ...], changes: Mapping[int, Change]) -> Leaf:
        if (number, touched) not in self.known:
            node = self.nodes[number]
            file = File(bytearray(node.data), len(node.data), node.mode)
            for one in touched:
                file.apply(changes[one])
            data = file.render()
            self.known[number, touched] = Leaf(number, node.kind, data, file.mode, node.text, len(data.rstrip(b"\0")))
        return self.known[number, touched]


def cut_write(node: int, data: bytes, *, offset: int, before: bytes) -> Iterator[Change]:
    """The sectors of a write that differ from what was there, and the size when it grows. before: all of the file."""
    end = offset + len(data)
    keys = frozenset({(node, Part.DATA)})
    if end > len(before):
        yield Change(keys, node=node, size=end)
    step = SECTOR if len(data) <= SMALL else PAGE
    place = offset
    while place < end:
        stop = min(end, place - place % step + step)
        piece = data[place - offset : stop - offset]
        if piece != before[place:stop].ljust(len(piece), b"\0"):
            yield Change(keys, node=node, offset=place, data=piece)
        place = stop
