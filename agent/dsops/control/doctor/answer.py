"""The lines that probe.sh printed, and the kernel's files among them; pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Path -> text of one of the kernel's files (several lines keep their breaks), or where a link of it leads.
Tree = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """key -> its values in order, and the tree of the lines `sys=PATH<tab>TEXT`."""

    lines: Mapping[str, tuple[str, ...]]
    tree: Tree

    def get(self, key: str) -> str:
        """The first value. Raises KeyError."""
        return self.lines[key][0]

    def find(self, key: str, default: str = "") -> str:
        """The first value, or the default."""
        return self.lines.get(key, (default,))[0]

    def all(self, key: str) -> tuple[str, ...]:
        """Every value, none when the key was not said."""
        return self.lines.get(key, ())

    def leaf(self, path: str, default: str = "") -> str:
        """The text of one file."""
        return self.tree.get(path, default)

    def below(self, folder: str) -> Iterator[tuple[str, str]]:
        """(rest of the path, text) of everything below a folder."""
        start = folder.rstrip("/") + "/"
        return ((path.removeprefix(start), text) for path, text in self.tree.items() if path.startswith(start))

    def names(self, folder: str) -> list[str]:
        """The children of a folder of which anything is known, in order."""
        return sorted({rest.split("/")[0] for rest, _ in self.below(folder)})


def read_answer(text: str) -> Answer:
    """Whatever is said, also when it was cut short."""
    lines: dict[str, list[str]] = defaultdict(list)
    tree: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "sys":
            path, _, said = value.partition("\t")
            tree[path] = f"{tree[path]}\n{said.strip()}" if path in tree else said.strip()
        else:
            lines[key].append(value.strip())
    return Answer({key: tuple(values) for key, values in lines.items()}, tree)


def to_int(text: str, default: int = 0) -> int:
    """A number that the kernel prints, decimal or 0x; the default for anything else, such as `Unknown`."""
    try:
        return int(text.split()[0], 0) if text else default
    except ValueError:
        return default
