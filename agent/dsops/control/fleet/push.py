"""Brings a release to a node: only what it lacks, from where the last try stopped, and whole or not at all."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.control.bundle.held import Held
from dsops.control.fleet.ssh import Session
from dsops.control.progress import render_bytes
from dsops.core.errors import DsopsError
from dsops.core.tiers import SPARE

CHUNK = 1 << 18
# The node reads back and hashes what it got, and its disk may be slow: seconds, and bytes in a second.
PATIENCE = 120.0
SLOWEST = 20e6


@dataclass(frozen=True)
class Signed:
    """A passport as it travels: its text and the signature over it."""

    text: str
    signature: str


@dataclass(frozen=True)
class Lacking:
    """Content that the node has not, or not wholly: `held` of `size` bytes are there from an earlier try."""

    sha256: str
    size: int
    held: int


@dataclass(frozen=True)
class Lack:
    """All that the node lacks, the small ones first: they soon say whether the way is good.

    free: bytes on its disk; room: with what old releases leave that can go cold. None: an older dsops does not say.
    """

    missing: tuple[Lacking, ...]
    free: int | None = None
    room: int | None = None

    @property
    def size(self) -> int:
        """Bytes that must still come."""
        return sum(one.size - one.held for one in self.missing)


@dataclass(frozen=True)
class Pushed:
    """sent, there: bytes that went, and bytes that were there already. new: whether the node had not the release."""

    sent: int
    there: int
    new: bool


def push(
    session: Session,
    held: Held,
    *,
    passports: Sequence[Signed] = (),
    begin: Callable[[int], None] = lambda _: None,
    tick: Callable[[int], None] = lambda _: None,
) -> Pushed:
    """Brings `held` to the node of the session. begin hears the bytes to send, tick those that went.

    Raises DsopsError. What was sent until then is kept by the node, and a second push goes on there.
    """
    total = sum({entry.sha256: entry.size for entry in held.release.files.values()}.values())
    lack = find_lack(session, held)
    check_room(lack, where=session.server.name)
    begin(lack.size)
    for one in lack.missing:
        _send(session, held.file_of(one.sha256), one, tick=tick)
    return Pushed(sent=lack.size, there=total - lack.size, new=admit(session, held, passports=passports))


def check_room(lack: Lack, *, where: str) -> None:
    """Raises DsopsError when what is missing does not fit there: before the first byte goes, not at the last."""
    need = lack.size * SPARE
    if lack.room is None or lack.free is None or need <= lack.room:
        return
    cold = f", {render_bytes(lack.room)} once old releases went cold" if lack.room > lack.free else ""
    what = f"it does not fit: {render_bytes(lack.size)} are missing there, with a tenth to spare {render_bytes(need)}"
    mend = f"`dsops release list {where}`, then `dsops node release remove ID --reason ...` there; or a larger disk"
    raise DsopsError(f"{what}; {render_bytes(lack.free)} are free{cold}", where=where, mend=mend)


def find_lack(session: Session, held: Held) -> Lack:
    """What the node has not yet, and what it has room for. Raises DsopsError."""
    sizes = {entry.sha256: entry.size for entry in held.release.files.values()}
    answer = _ask(session, ["release", "have"], json.dumps(sorted(sizes)), timeout=PATIENCE)
    try:
        found = [(str(one["sha256"]), int(one["held"])) for one in answer["missing"]]
        missing = [Lacking(sha256, sizes[sha256], min(held, sizes[sha256])) for sha256, held in found]
        free, room = (int(answer[key]) if key in answer else None for key in ("free", "room"))
    except (LookupError, TypeError, ValueError) as error:
        raise _unreadable(session, answer) from error
    return Lack(tuple(sorted(missing, key=lambda one: (one.size, one.sha256))), free, room)


def admit(session: Session, held: Held, *, passports: Sequence[Signed]) -> bool:
    """The node proves the release and makes it its own; False when it had it. Raises DsopsError."""
    said: dict[str, Any] = {"manifest": held.manifest.decode(), "signature": held.signature.decode()}
    if passports:
        said |= {"passports": [{"text": one.text, "signature": one.signature} for one in passports]}
    size = sum(entry.size for entry in held.release.files.values())
    return bool(_ask(session, ["release", "admit"], json.dumps(said), timeout=PATIENCE + size / SLOWEST).get("new"))


def read_chunks(file: Path, *, offset: int, tick: Callable[[int], None]) -> Iterator[bytes]:
    """The file from `offset` on. Raises DsopsError when it cannot be read."""
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(CHUNK):
                yield chunk
                tick(len(chunk))
    except OSError as error:
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(file)) from error


def _send(session: Session, file: Path, one: Lacking, *, tick: Callable[[int], None]) -> None:
    words = ["release", "receive", one.sha256, "--size", str(one.size), "--offset", str(one.held)]
    went = [one.held]

    def count(size: int) -> None:
        went[0] += size
        tick(size)

    chunks = read_chunks(file, offset=one.held, tick=count)
    try:
        answer = _load(session, session.ask(words, chunks=chunks, timeout=PATIENCE + one.size / SLOWEST))
    except DsopsError as error:
        what = f"{error.what}; {went[0]} of {one.size} bytes of {file.name} went"
        raise DsopsError(what, where=error.where, mend=error.mend or "push again: it goes on there") from error
    if answer.get("whole") is not True:
        what = f"holds {answer.get('held')} of {one.size} bytes of {file.name} though all went"
        raise DsopsError(what, where=session.server.name, mend="push again: it goes on there")


def _ask(session: Session, words: list[str], content: str, *, timeout: float) -> dict[str, Any]:
    return _load(session, session.ask(words, chunks=[content.encode()], timeout=timeout))


def _load(session: Session, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise _unreadable(session, text) from error
    if not isinstance(data, dict):
        raise _unreadable(session, data)
    return data


def _unreadable(session: Session, answer: object) -> DsopsError:
    mend = "run the same dsops version here and on the node (`dsops deploy`)"
    return DsopsError(
        f"an answer that this dsops does not understand: {str(answer)[:200]!r}", where=session.server.name, mend=mend
    )
