"""This server's audit chain as it lies in files: reads and verifies it, and says what it lacks of the journal."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dsops.core.audit import Act, Entry, Head, Kind, Line, Report, parse_line, split_lines, verify
from dsops.core.errors import DsopsError
from dsops.core.state import Move, NodeState
from dsops.core.status import Blame, Condition, Finding, Verdict
from dsops.node.store.disk import tell_os_error
from dsops.node.store.journal import Record

T = TypeVar("T")
NAME = re.compile(r"\d{12}\.jsonl")
# Whoever reads while a line is written sees half of it: it is looked at again.
LOOKS, LOOK_SECONDS = 4, 0.02
# The audit is written beside the act; what it lacks after so long it does not get.
LATE_SECONDS = 60.0
TAIL_BYTES = 1 << 18

Key = tuple[int, float]


def audit_folder(root: Path) -> Path:
    """Where a store keeps its audit chain."""
    return root / "audit"


def file_of(folder: Path, number: int) -> Path:
    """The file whose first entry has this number."""
    return folder / f"{number:012}.jsonl"


def find_files(folder: Path) -> list[Path]:
    """The chain's files, oldest first; none when there is no chain. Raises OSError."""
    try:
        return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def read_lines(root: Path) -> list[Line]:
    """Every line, oldest first. Raises DsopsError when they cannot be read."""
    return _settle(root, _read_all, is_torn=lambda lines: bool(lines) and lines[-1].is_torn)


def _read_all(folder: Path) -> list[Line]:
    return [line for path in find_files(folder) for line in split_lines(path.read_bytes(), name=path.name)]


def verify_chain(root: Path, *, anchors: Sequence[Head] = ()) -> Report:
    """What this server's chain shows. Raises DsopsError when it cannot be read."""
    return verify(read_lines(root), anchors=anchors)


def read_tail(root: Path, *, count: int, after: int = 0) -> list[Line]:
    """The last whole lines that are entries above `after`, oldest first. Raises DsopsError."""
    found: list[Line] = []
    for line, entry in _settle(root, lambda folder: _take(_read_back(folder), count), is_torn=lambda _: False):
        if entry.number <= after:
            break
        found.append(line)
    return found[::-1]


def _take(lines: Iterator[tuple[Line, Entry]], count: int) -> list[tuple[Line, Entry]]:
    return [pair for pair, _ in zip(lines, range(count), strict=False)]


def _read_back(folder: Path) -> Iterator[tuple[Line, Entry]]:
    """Entries from the newest to the oldest; what is none is passed over."""
    for path in reversed(find_files(folder)):
        for line in reversed(split_lines(path.read_bytes(), name=path.name)):
            with suppress(DsopsError):
                yield line, parse_line(line.data)


def read_head(root: Path) -> Head:
    """The newest entry. Raises DsopsError."""
    last = read_tail(root, count=1)
    return parse_line(last[0].data).head if last else Head()


def _settle(root: Path, read: Callable[[Path], T], *, is_torn: Callable[[T], bool]) -> T:
    """Reads again while the writer is in the middle of a line, or an old file just went."""
    folder = audit_folder(root)
    for look in range(LOOKS):
        try:
            found = read(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise tell_os_error(error, where=folder) from error
        if look + 1 == LOOKS or not is_torn(found):
            return found
        time.sleep(LOOK_SECONDS)
    raise DsopsError("its files come and go", where=str(folder), mend="try again")


# --- what the journal tells --------------------------------------------------------------------------------------


def tell_step(record: Record, *, before: NodeState | None, why: str = "", kind: Kind, node: str) -> Act:
    """A transition of the journal. before: the state that it came from, None when nobody knows that any more."""
    return Act(
        at=record.at,
        kind=kind,
        verb=record.event,
        who=record.who,
        why=why,
        node=node,
        leaves=_find_active(before),
        to=_find_aim(record.state) or record.release,
        evidence=record.says,
        epoch=record.state.epoch,
        seq=record.seq,
    )


def _find_active(state: NodeState | None) -> str:
    return state.active.release if state and state.active else ""


def _find_aim(state: NodeState) -> str:
    """The release that a move brings, else the one that has the traffic."""
    move: Move | None = state.move
    return move.release if move and not move.refuted else _find_active(state)


def key_of(act: Act) -> Key:
    """What tells a transition from all others, also after a journal was begun anew."""
    return act.seq, act.at


def order_of(key: Key) -> tuple[float, int]:
    """Later transitions sort after earlier ones, also after a journal was begun anew."""
    seq, at = key
    return at, seq


def find_missing(records: Sequence[Record], held: set[Key]) -> list[tuple[Record, Record | None]]:
    """(record, the one before it) of what the journal holds and the chain does not. Pure."""
    before: list[Record | None] = [None, *records]
    return [pair for pair in zip(records, before, strict=False) if (pair[0].seq, pair[0].at) not in held]


@dataclass(frozen=True)
class Reach:
    """How far the chain goes. step: the newest transition in it, None when there is none. reason: it cannot be read.

    is_there: the store keeps an audit.
    """

    number: int = 0
    step: Key | None = None
    reason: str = ""
    is_there: bool = True


def read_reach(root: Path) -> Reach:
    """Never raises: what cannot be read is a reading too. Blocking; for the agent, which reads beside its loop."""
    try:
        return _settle(root, _find_reach, is_torn=lambda _: False)
    except DsopsError as error:
        return Reach(reason=f"the audit cannot be read: {error.what}")


def _find_reach(folder: Path) -> Reach:
    if not folder.exists():
        return Reach(is_there=False)
    number, step = 0, None
    for _, entry in _read_ends(folder):
        number = max(number, entry.number)
        if not entry.act.seq:
            continue
        key = key_of(entry.act)
        step = max(step or key, key, key=order_of)
        # What was brought late may be older than what came before it in the chain.
        if entry.act.kind is not Kind.LATE:
            break
    return Reach(number, step)


def _read_ends(folder: Path) -> Iterator[tuple[Line, Entry]]:
    """As _read_back, but only the last part of the newest file first."""
    for path in find_files(folder)[-1:]:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
            for line in reversed(split_lines(stream.read())):
                with suppress(DsopsError):
                    yield line, parse_line(line.data)
    yield from _read_back(folder)


def find_lag(reach: Reach, records: Sequence[Record], *, at: float) -> str:
    """What the audit lacks of the journal, in words; "" when it lacks nothing that it should have by now. Pure."""
    if reach.reason or not reach.is_there:
        return reach.reason
    due = [record for record in records if at - record.at > LATE_SECONDS]
    if not due or reach.step is None:
        return f"nothing is written to the audit: the journal is at {due[-1].seq}" if due else ""
    newest = due[-1]
    behind = [record for record in due if (record.at, record.seq) > order_of(reach.step)]
    if not behind:
        return ""
    return (
        f"the audit cannot be written: it lacks the last {len(behind)} of the journal's transitions, up to {newest.seq}"
    )


def check_audit(reach: Reach, records: Sequence[Record], *, at: float) -> tuple[Finding, ...]:
    """The finding for the agent: a chain that falls behind stops nobody, but somebody must know. Pure."""
    reason = find_lag(reach, records, at=at)
    if not reason:
        return ()
    mend = "make room, or look at the disk: `dsops node logs dsops-helper`; what the journal holds is brought later"
    # Never the storage's: that would excuse a release that fails meanwhile, and keep a rollback back.
    return (Finding("audit", "audit.behind", Verdict.BAD, Blame.DSOPS, Condition.DEGRADED, reason, mend),)


class ReachReader:
    """Reads again only when the newest file was written; for whoever looks every second. Blocking."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: object = None
        self._last = Reach(is_there=False)

    def read(self) -> Reach:
        """Never raises."""
        try:
            files = find_files(audit_folder(self._root))
            stat = files[-1].stat() if files else None
        except OSError:
            stat = None
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else None
        if seen is None or seen != self._seen:
            self._last, self._seen = read_reach(self._root), seen
        return self._last
