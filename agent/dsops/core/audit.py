"""The audit chain: who did what, why, and from what to what; each line is bound to the one before by its hash. Pure.

A line is one JSON object whose last key is its own hash: sha256(hash of the line before + the line without that key).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.state import Epoch, clip

START = "0" * 64
NO_EPOCH = Epoch()
# Bytes of JSON that a reason or an evidence may have; names have fewer.
SAYING = 1000
# The chain's own words: an old file went; the end was cut off under the eyes of the writer.
REMOVE, CUT = "remove", "cut"
# A control host's: a node's chain was begun anew, and a person knows why.
ACCEPT = "accept"
# Verbs of `dsops node` that change nothing, or nothing yet (content that comes in does nothing until it is admitted).
READS = (
    ("audit",),
    ("checks",),
    ("history",),
    ("logs",),
    ("release", "have"),
    ("release", "list"),
    ("release", "receive"),
    ("status",),
    ("why",),
)
# How a server tells the control host where its chain ends: the last line of a changing verb's standard error.
RECEIPT = "audit: "
HEX = re.compile(r"[0-9a-f]{64}")
SEAL = re.compile(rb',"hash":"([0-9a-f]{64})"\}$')
SEAL_BYTES = len(b',"hash":""}') + 64
KEYS = (
    "at",
    "epoch",
    "evidence",
    "fleet",
    "from",
    "head",
    "holder",
    "kind",
    "node",
    "number",
    "previous",
    "seq",
    "to",
    "verb",
    "who",
    "why",
)


class Kind(StrEnum):
    """What an entry is about."""

    STEP = "step"  # a transition that the node's journal got
    LATE = "late"  # the same, brought later from the journal, since it could not be written when it happened
    DONE = "done"  # somebody asked for it, and it was done
    REFUSED = "refused"  # somebody asked for it, and was told no
    UNKNOWN = "unknown"  # somebody asked for it, and nobody heard how it ended
    CHAIN = "chain"  # the chain about itself: begun, repaired, lines lost, an old file removed
    HEAD = "head"  # a node's chain was seen to end there


@dataclass(frozen=True)
class Head:
    """Where a chain ends: the number and the hash of its last entry."""

    number: int = 0
    hash: str = START

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True)
class Act:
    """What an entry tells. at: Unix seconds. leaves, to: releases, "" = none.

    epoch: the fleet command's, or the highest that the node knew. seq: the number in the node's journal, 0 = it is not
    from there. head: where another chain ended, or the last entry of a file that was removed. fleet: the inventory, on
    a control host.
    """

    at: float
    kind: Kind
    verb: str
    who: str = ""
    why: str = ""
    node: str = ""
    leaves: str = ""
    to: str = ""
    evidence: str = ""
    epoch: Epoch = NO_EPOCH
    seq: int = 0
    head: Head | None = None
    fleet: str = ""


@dataclass(frozen=True)
class Entry:
    """A line of the chain. hash: what the line itself says that it is."""

    number: int
    previous: str
    hash: str
    act: Act

    @property
    def head(self) -> Head:
        return Head(self.number, self.hash)


@dataclass(frozen=True)
class Line:
    """One line as it lies on a disk, and where. is_torn: it has no end."""

    where: str
    data: bytes
    is_torn: bool = False


@dataclass(frozen=True)
class Flaw:
    """Where a chain is not as it was written, and what is wrong there."""

    where: str
    what: str


@dataclass(frozen=True)
class Report:
    """What a chain showed. first: its first number; since, until: Unix seconds. flaws: none = it is whole."""

    entries: int = 0
    first: int = 0
    head: Head = Head()
    since: float | None = None
    until: float | None = None
    flaws: tuple[Flaw, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.flaws


def render_line(act: Act, *, after: Head) -> tuple[bytes, Head]:
    """The line that follows `after`, with its newline, and where the chain ends with it. Raises ValueError on NaN."""
    number = after.number + 1
    data = {
        "at": act.at,
        "epoch": act.epoch.number,
        "evidence": clip(act.evidence, SAYING),
        "fleet": clip(act.fleet, SAYING),
        "from": clip(act.leaves),
        "head": str(act.head) if act.head else "",
        "holder": clip(act.epoch.holder),
        "kind": act.kind.value,
        "node": clip(act.node),
        "number": number,
        "previous": after.hash,
        "seq": act.seq,
        "to": clip(act.to),
        "verb": clip(act.verb),
        "who": clip(act.who),
        "why": clip(act.why, SAYING),
    }
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    seal = seal_of(after.hash, body)
    return b'%b,"hash":"%b"}\n' % (body[:-1], seal.encode()), Head(number, seal)


def seal_of(previous: str, body: bytes) -> str:
    """The hash of a line without its own."""
    return hashlib.sha256(previous.encode() + body).hexdigest()


def parse_line(data: bytes, *, where: str = "") -> Entry:
    """A whole line, without its newline. Raises DsopsError on what no chain would have; the hash is not looked at."""
    seal = SEAL.search(data)
    if not seal:
        raise DsopsError("is no entry of an audit chain", where=where)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DsopsError("is no entry of an audit chain: not JSON", where=where) from error
    try:
        if tuple(found) != (*KEYS, "hash"):
            raise ValueError("its keys are others")
        return Entry(_number(found["number"]), _hash(found["previous"]), seal[1].decode(), _parse_act(found))
    except (ValueError, TypeError, AttributeError) as error:
        raise DsopsError(f"is no entry of an audit chain: {error}", where=where) from error


def _parse_act(found: dict[str, Any]) -> Act:
    at = found["at"]
    if type(at) not in (int, float):
        raise ValueError(f"at is {at!r}")
    text = {key: _text(found[key]) for key in ("verb", "who", "why", "node", "to", "evidence", "fleet")}
    epoch = Epoch(_number(found["epoch"]), _text(found["holder"]))
    head = parse_head(_text(found["head"])) if found["head"] else None
    leaves, seq = _text(found["from"]), _number(found["seq"])
    return Act(at=at, kind=Kind(found["kind"]), leaves=leaves, epoch=epoch, seq=seq, head=head, **text)


def parse_head(text: str) -> Head:
    """From `NUMBER:HASH`. Raises ValueError."""
    number, _, seal = text.partition(":")
    if not number.isdecimal():
        raise ValueError(f"{text[:80]!r} is no NUMBER:HASH")
    return Head(int(number), _hash(seal))


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number from 0 on")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _hash(value: object) -> str:
    if not isinstance(value, str) or not HEX.fullmatch(value):
        raise ValueError(f"{value!r} is no hash")
    return value


def split_lines(data: bytes, *, name: str = "") -> list[Line]:
    """The lines of one file, each with `name:line`. What follows the last newline is torn."""
    *whole, torn = data.split(b"\n")
    lines = [Line(f"{name}:{place}", text) for place, text in enumerate(whole, 1)]
    return [*lines, Line(f"{name}:{len(whole) + 1}", torn, is_torn=True)] if torn else lines


@dataclass(frozen=True)
class End:
    """Where a file's chain ends. head: None when no line of it is an entry; size: of its whole lines, in bytes."""

    head: Head | None
    size: int
    torn: bytes = b""


def find_end(data: bytes) -> End:
    """What the next line follows: the last line that is an entry, whatever was done to it."""
    size = data.rfind(b"\n") + 1
    end = size
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        try:
            return End(parse_line(data[start : end - 1]).head, size, data[size:])
        except DsopsError:
            end = start
    return End(None, size, data[size:])


@dataclass
class _Look:
    """What was seen so far. gaps: where, and the first and last number that are not there."""

    head: Head = Head()
    first: Entry | None = None
    until: float | None = None
    entries: int = 0
    seen: dict[int, str] = field(default_factory=dict)
    removed: set[Head] = field(default_factory=set)
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    where: str = ""

    def say(self, where: str, what: str) -> None:
        self.flaws.append(Flaw(where, what))


def verify(lines: Iterable[Line], *, anchors: Sequence[Head] = ()) -> Report:
    """Looks at every line from the oldest to the newest. anchors: entries that somebody else saw and kept.

    Without an anchor, whoever may write the files can write a whole new chain; and can cut its end.
    """
    look, kept = _Look(), _group(anchors)
    for line in lines:
        if line.is_torn:
            look.say(line.where, f"the last line has no end ({len(line.data)} bytes): a power cut, or it was cut")
            continue
        try:
            entry = parse_line(line.data, where=line.where)
        except DsopsError as error:
            look.say(line.where, error.what)
            continue
        _add(look, line, entry, kept=kept)
    _judge_gaps(look)
    _judge_beginning(look)
    _judge_end(look, anchors)
    first = look.first
    since = first.act.at if first else None
    return Report(look.entries, first.number if first else 0, look.head, since, look.until, tuple(look.flaws))


def _group(anchors: Iterable[Head]) -> dict[int, set[str]]:
    kept: dict[int, set[str]] = {}
    for head in anchors:
        kept.setdefault(head.number, set()).add(head.hash)
    return kept


def _add(look: _Look, line: Line, entry: Entry, *, kept: Mapping[int, set[str]]) -> None:
    number, where = entry.number, line.where
    look.entries += 1
    if seal_of(entry.previous, line.data[:-SEAL_BYTES] + b"}") != entry.hash:
        look.say(where, f"entry {number} was altered after it was written")
    elif kept.get(number, {entry.hash}) != {entry.hash}:
        look.say(where, f"entry {number} is another one than the control host saw: it was written anew")
    if number <= look.head.number:
        look.say(where, _tell_back(look, entry))
    else:
        _judge_next(look, entry, where=where)
        look.head, look.until = entry.head, entry.act.at
    look.seen.setdefault(number, entry.hash)
    look.first = look.first or entry
    look.where = where
    _read_own(look, entry.act, where=where)


def _read_own(look: _Look, act: Act, *, where: str) -> None:
    """What the chain tells about itself."""
    if act.kind is Kind.CHAIN and act.verb == REMOVE and act.head:
        look.removed.add(act.head)
    if act.kind is Kind.CHAIN and act.verb == CUT:
        look.say(where, f"the end was cut off here before: {act.evidence}")


def _tell_back(look: _Look, entry: Entry) -> str:
    """What it is when a number does not go up."""
    known = look.seen.get(entry.number)
    if known is None:
        return f"entry {entry.number} stands after entry {look.head.number}: its place was changed"
    return f"entry {entry.number} is there a second time" + ("" if known == entry.hash else ", with other words")


def _judge_next(look: _Look, entry: Entry, *, where: str) -> None:
    last = look.head
    if look.first is None:
        if entry.number == 1 and entry.previous != START:
            look.say(where, "entry 1 is no beginning of a chain")
        return
    if entry.number > last.number + 1:
        look.gaps.append((where, last.number + 1, entry.number - 1))
    elif entry.previous != last.hash:
        look.say(where, f"entry {entry.number} follows another entry {last.number} than the one that is there")


def _judge_gaps(look: _Look) -> None:
    for where, first, last in look.gaps:
        is_elsewhere = all(number in look.seen for number in range(first, min(last, first + len(look.seen)) + 1))
        which = f"entry {first}" if first == last else f"entries {first} to {last}"
        missing = "stands elsewhere" if first == last else "stand elsewhere"
        gone = "is missing" if first == last else "are missing"
        look.say(where, f"{which} {missing if is_elsewhere else gone} before this line")


def _judge_beginning(look: _Look) -> None:
    """Old files go in time, and the chain says which. What went otherwise was cut off."""
    first = look.first
    if first and first.number > 1 and Head(first.number - 1, first.previous) not in look.removed:
        look.say("the beginning", f"entries 1 to {first.number - 1} are missing, and no entry tells that they went")


def _judge_end(look: _Look, anchors: Sequence[Head]) -> None:
    newest = max(anchors, key=lambda head: head.number, default=Head())
    if newest.number > look.head.number:
        ends = f"the chain ends at entry {look.head.number}" if look.entries else "there is no entry at all"
        what = f"the end was cut off: {ends}, and the control host saw entry {newest.number}"
        look.say(look.where or "the end", what)


def render_report(report: Report) -> str:
    """What is wrong, shortly; "whole" when nothing is."""
    if report.is_whole:
        return "whole" if report.entries else "empty"
    more = f" (and {len(report.flaws) - 1} more)" if len(report.flaws) > 1 else ""
    return f"{report.flaws[0].where}: {report.flaws[0].what}{more}"


def is_told(words: Sequence[str]) -> bool:
    """Whether `dsops node WORDS` goes into the audit; an unknown verb does."""
    return not any(tuple(words[: len(known)]) == known for known in READS)


def render_entry(entry: Entry, *, local: Callable[[float], str], place: str = "") -> str:
    """One line for a person. local: a time in their own zone. place: whose chain it is; else the node is named."""
    act = entry.act
    way = f" {act.leaves or 'nothing'} -> {act.to or 'nothing'}" if act.leaves != act.to and act.leaves else ""
    about = way or (f" {act.to}" if act.to else "")
    epoch = f" [epoch {act.epoch.number} of {act.epoch.holder}]" if act.epoch.number else ""
    why = f": {act.why}" if act.why else ""
    evidence = f" ({act.evidence})" if act.evidence else ""
    whose = f"{local(act.at)}  {place or act.node or '-'} {entry.number}"
    return f"{whose}  {act.kind} {act.verb}{about} by {act.who or 'nobody'}{why}{evidence}{epoch}"


def find_receipt(stderr: str) -> tuple[Head | None, str]:
    """Where the server says that its chain ends, and the rest of what it said. None: it does not say."""
    head, rest = None, []
    for line in stderr.splitlines(keepends=True):
        try:
            if not line.startswith(RECEIPT):
                raise ValueError(line)
            head = parse_head(line.removeprefix(RECEIPT).strip())
        except ValueError:
            rest.append(line)
    return head, "".join(rest)
