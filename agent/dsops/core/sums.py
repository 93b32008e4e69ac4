"""The list of sha256 sums that names every file of a directory: the thing that a bundle's signature covers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from dsops.core.errors import DsopsError

LINE = re.compile(r"([0-9a-f]{64})  (.+)")
# What `sha256sum` would escape, a shell would trip over, or another file system could not hold.
SAFE_PATH = re.compile(r"[A-Za-z0-9_@%+=:,./() ~#\[\]{}!^-]+")


@dataclass(frozen=True)
class Sums:
    """path (relative, POSIX) -> sha256 in hex, in the form that `sha256sum -c` reads."""

    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The content address: the first 12 hex digits of the sha256 of the rendered list."""
        return sha256(self.render().encode()).hexdigest()[:12]

    def render(self) -> str:
        """The text of SHA256SUMS, sorted by path, so that equal content has equal text."""
        return "".join(f"{digest}  {path}\n" for path, digest in sorted(self.files.items()))

    def below(self, prefix: str) -> "Sums":
        """The files under the folder `prefix`, with paths relative to it."""
        head = prefix.rstrip("/") + "/"
        return make_sums((path.removeprefix(head), d) for path, d in self.files.items() if path.startswith(head))


def make_sums(files: Iterable[tuple[str, str]]) -> Sums:
    """Checks every path and returns the list. Raises DsopsError on a path that is not safe to write."""
    result: dict[str, str] = {}
    folded: dict[str, str] = {}
    for path, digest in files:
        check_path(path)
        if path in result:
            raise DsopsError("two entries for one file", where=path)
        for name in (path, *_folders(path)):
            other = folded.setdefault(name.rstrip("/").casefold(), name)
            if other != name:
                what = "two names that some file systems take for one"
                raise DsopsError(f"{what}: {other} and {name}", where=path, mend="rename one of them")
        result[path] = digest
    return Sums(MappingProxyType(result))


def parse_sums(text: str, *, where: str) -> Sums:
    """Reads the text of SHA256SUMS. Raises DsopsError with the line number on anything unexpected."""
    entries = []
    # Not splitlines(): it also cuts where sha256sum does not.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        match = LINE.fullmatch(line)
        if match is None:
            raise DsopsError("not a line of sha256 sums", where=f"{where}:{number}", mend="fetch the bundle again")
        entries.append((match[2], match[1]))
    return make_sums(entries)


def check_path(path: str) -> None:
    """Raises DsopsError on a path that is absolute, climbs out, or holds characters that tools disagree about."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts):
        raise DsopsError("a path must be relative and must not climb out", where=_show(path))
    if not SAFE_PATH.fullmatch(path) or any(part != part.strip() for part in parts):
        raise DsopsError("a path holds a character that cannot be carried safely", where=_show(path), mend="rename it")


def _folders(path: str) -> Iterable[str]:
    """The folders above a path, each with a slash behind, so that a folder is never taken for a file."""
    parts = path.split("/")
    return ("/".join(parts[:count]) + "/" for count in range(1, len(parts)))


def _show(path: str) -> str:
    """A path for a message: a terminal must not obey what is in it."""
    return path if path.isprintable() and path else ascii(path)


def compare(expected: Sums, found: Sums) -> list[str]:
    """What differs, one sentence a file, sorted by path; empty when nothing does."""
    problems = []
    for path in sorted(expected.files.keys() | found.files.keys()):
        if path not in found.files:
            problems.append(f"missing: {path}")
        elif path not in expected.files:
            problems.append(f"extra: {path}")
        elif expected.files[path] != found.files[path]:
            problems.append(f"changed: {path}")
    return problems
