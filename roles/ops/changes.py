"""What operations would change, told at a dry run: a line of JSON each, in the file that `dsops plan` names.

pyinfra itself only says that an operation has something to do. A secret is never told: of a file that not everybody
on the server may read, old or new, nothing is told but that it changes.
"""

import base64
import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase

# Given to pyinfra as --data; with its underscore it is no key of an inventory.
KEY = "_dsops_changes"
LINES = 200  # of one diff
BYTES = 1 << 16  # of a file that is worth a diff

# server -> paths that would be other ones, for the operations after: a unit that reads them would be restarted.
_touched: dict[tuple[str, str], set[str]] = defaultdict(set)


def find_book() -> str:
    """The file to tell it to; empty when nobody asks, or when things are done in earnest."""
    data = getattr(host, "data", None)
    if data is None or host.state.is_executing:
        return ""
    return str(data.get(KEY, ""))


def tell(kind: str, target: str, says: str = "", *, diff: Sequence[str] = (), secret: bool = False) -> None:
    """Writes down what the operation at hand would do on this server; nothing to do unless it is asked.

    kind: file, folder, link, unit ...; target: the path or name that it is about; says: the rest, in a few words
    """
    if not find_book():
        return
    arguments: Any = host.current_op_global_arguments or {}
    said = {"kind": kind, "target": target, "says": says, "diff": list(diff), "secret": secret}
    _write({"op": host.current_op_hash, "name": arguments.get("name") or "", **said})


def tell_looked(*, is_whole: bool) -> None:
    """Writes down that this server was looked at: what is not told of it is as wanted."""
    if find_book():
        _write({"kind": "looked" if is_whole else "lost"})


def touch(*paths: str) -> None:
    """Remembers that the operation at hand would change these paths, or what lies below them."""
    if book := find_book():
        _touched[book, host.name].update(paths)


def is_touched(paths: Iterable[str]) -> bool:
    """Whether an earlier operation of this dry run would change one of these paths, or a folder around it."""
    book = find_book()
    changed = _touched[book, host.name] if book else set()
    return any(_is_same(path, other) for path in paths for other in changed)


def _is_same(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


class OldText(FactBase[bytes | None]):
    """What is in a file that everybody may read; None of any other, and of one that is too big."""

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        readable = f'[ -n "$(find {quoted} -maxdepth 0 -type f -perm -o=r -size -{BYTES}c 2>/dev/null)" ]'
        return f"! {readable} || {{ echo text; base64 -w0 < {quoted}; }}"

    def process(self, output: list[str]) -> bytes | None:
        return base64.b64decode("".join(output[1:])) if output else None


def is_public(mode: str) -> bool:
    """Whether everybody on the server may read a file of this mode (octal text)."""
    return bool(int(mode[-1]) & 4)


def tell_file(path: str, new: bytes, *, found: str, owner: str, secret: bool = False) -> None:
    """Tells how a file would differ.

    found: `sha256 mode user group` as it is, empty where there is none; owner: `mode user group` as wanted
    """
    touch(path)
    if not find_book():
        return
    says = render_owner(found, owner)
    was_secret = bool(found) and not is_public(found.split()[1])
    if secret or was_secret or not is_public(owner.split()[0]):
        tell("file", path, says, secret=True)
        return
    old = host.get_fact(OldText, path=path) if found else b""
    tell("file", path, says, diff=render_diff(old, new) if old != new else ())


def render_owner(found: str, owner: str) -> str:
    """What happens to the file as a whole, in words."""
    if not found:
        return f"new, {owner}"
    _, was = found.split(" ", 1)
    return "" if was == owner else f"{was} -> {owner}"


def render_diff(old: bytes | None, new: bytes) -> list[str]:
    """Unified, one line around each change, without a head; what is no text, or too long, is said in words."""
    try:
        before, after = (old or b"").decode(), new.decode()
    except UnicodeDecodeError:
        return []
    if old is None or len(new) > BYTES or "\0" in before + after:
        return []
    lines = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]
    more = [f"... {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    return lines[:LINES] + more


def _write(said: dict[str, Any]) -> None:
    with Path(find_book()).open("a") as book:
        book.write(json.dumps({"host": host.name, **said}) + "\n")
