"""The journal: a preallocated ring of whole records. The valid one with the highest number is the node's state."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.state import NodeState, clip, to_data
from dsops.node.store.disk import Disk, on_disk, tell_os_error

RECORDS = 128
SIZE = 16384
EMPTY = bytes(SIZE)
# A place that cannot be written costs a number, not the node: the next places are tried.
TRIES = 3
# Stands for what a disk does not give back.
UNREADABLE = b"?"
SEQ = re.compile(rb'\{"seq": (\d{1,18}),')
STATE_KEYS = {field.name for field in fields(NodeState)}


@dataclass(frozen=True)
class Record:
    """One transition. at: Unix seconds; event: its kind in one word; says: a sentence; state: what held after it."""

    seq: int
    at: float
    event: str
    release: str
    says: str
    who: str
    state: NodeState


@dataclass(frozen=True)
class Scan:
    """All that a journal holds. spoiled: one sentence for each record that cannot be read."""

    records: tuple[Record, ...] = ()
    spoiled: tuple[str, ...] = ()


def journal_path(root: Path) -> Path:
    """Where a store keeps its journal."""
    return root / "state/journal"


def read_state(root: Path) -> tuple[NodeState, int]:
    """The state and its number, without the helper; an empty store has NodeState() and 0."""
    records = scan_last(journal_path(root)).records
    return (records[-1].state, records[-1].seq) if records else (NodeState(), 0)


def read_history(path: Path) -> list[Record]:
    """The transitions that are still in the ring, oldest first. path: the journal itself."""
    return list(scan_journal(path).records)


def scan_journal(path: Path) -> Scan:
    """Reads the whole ring. A record that is torn, rotten or being written is told, never fatal."""
    records, spoiled = [], []
    for place, raw in _read_places(path):
        try:
            records.append(parse_record(raw, place=place))
        except DsopsError as error:
            spoiled.append(str(error))
    return Scan(tuple(sorted(records, key=lambda record: record.seq)), tuple(spoiled))


def scan_last(path: Path) -> Scan:
    """Only the newest good record, and what is spoilt of what seems newer; much quicker."""
    spoiled: list[str] = []
    for place, raw in sorted(_read_places(path), key=lambda one: _guess_seq(one[1]), reverse=True):
        try:
            return Scan((parse_record(raw, place=place),), tuple(spoiled))
        except DsopsError as error:
            spoiled.append(str(error))
    return Scan((), tuple(spoiled))


def _read_places(path: Path) -> list[tuple[int, bytes]]:
    """(place, bytes) of every place that was ever written."""
    try:
        with path.open("rb", buffering=0) as file:
            places = [(place, _read_place(file.fileno(), place)) for place in range(RECORDS)]
    except FileNotFoundError:
        return []
    except OSError as error:
        mend = "as root; `dsops deploy` mends owners and modes"
        raise DsopsError(f"cannot be read: {error.strerror}", where=str(path), mend=mend) from error
    return [(place, raw) for place, raw in places if raw]


def _read_place(fd: int, place: int) -> bytes:
    """What was written there. A place that the disk cannot read is spoilt, and no reason to lose the others (R15)."""
    try:
        data = os.pread(fd, SIZE, place * SIZE)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return UNREADABLE
    line, end, rest = data.partition(b"\n")
    if end and rest == EMPTY[: len(rest)]:
        return line
    return b"" if data == EMPTY else data.rstrip(b"\0")  # slow, and seldom needed


def _guess_seq(raw: bytes) -> int:
    """The number that a record claims; without a readable one it may be any, so it is looked at first."""
    found = SEQ.match(raw)
    return int(found[1]) if found else 1 << 62


def render_record(record: Record) -> bytes:
    """One place of the ring. Raises DsopsError when it does not fit, which the core's limits rule out."""
    data = {
        "seq": record.seq,
        "at": record.at,
        "event": record.event,
        "release": record.release,
        "says": clip(record.says, 1000),
        "who": clip(record.who),
        "state": to_data(record.state),
    }
    line = json.dumps(data | {"sum": _sum(data)}, ensure_ascii=False).encode() + b"\n"
    if len(line) > SIZE:
        raise DsopsError(f"a record of {len(line)} bytes does not fit", mend="please report this: a limit is wrong")
    return line.ljust(SIZE, b"\0")


def parse_record(raw: bytes, *, place: int) -> Record:
    """Raises DsopsError naming the place on anything that was not written whole."""
    where = f"journal record {place}"
    try:
        data = json.loads(raw)
        is_whole = data.pop("sum") == _sum(data)
        # A newer dsops may have known more of the state; after going back to this one, the rest must count.
        data["state"] = {key: value for key, value in data["state"].items() if key in STATE_KEYS}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DsopsError(f"is no record ({type(error).__name__})", where=where) from error
    if not is_whole:
        raise DsopsError("does not fit its checksum", where=where)
    record = decode(Record, data, where=where)
    if record.seq % RECORDS != place:
        raise DsopsError(f"number {record.seq} does not belong there", where=where)
    return record


def _sum(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


class Journal:
    """The writing side. Whoever writes holds the store's lock."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._path = journal_path(root)
        self._new = self._path.with_name("journal.new")
        self._disk = disk

    def load(self) -> Scan:
        """The newest record; the file is made when it is not there or has another size.

        A journal of another size, or without a single good record, is kept aside (its name stands in `spoiled`).
        """
        scan = scan_last(self._path)
        is_whole = self._is_sized() and (scan.records or not scan.spoiled)
        if is_whole and not self._new.exists():
            return scan
        if is_whole:
            with suppress(DsopsError):  # it can be used as it is, on a full disk too
                self._make(scan_journal(self._path).records)
            return scan
        scan = self._move_aside(scan_journal(self._path)) if self._path.exists() else scan
        self._make(scan.records)
        return scan

    def append(self, record: Record) -> Record:
        """Writes the record and waits until it lasts; returns it with the number that it got."""
        first_error: OSError | None = None
        for seq in range(record.seq, record.seq + TRIES):
            numbered = replace(record, seq=seq)
            try:
                self._write(numbered)
                return numbered
            except OSError as error:
                first_error = first_error or error
                self._blank(seq)
        assert first_error
        raise tell_os_error(first_error, where=self._path)

    def _write(self, record: Record) -> None:
        with self._opened() as fd:
            self._disk.write(fd, render_record(record), record.seq % RECORDS * SIZE)
            self._disk.fdatasync(fd)

    def _blank(self, seq: int) -> None:
        """What could not be made to last must not count later: the caller is told that nothing was done."""
        with suppress(OSError), self._opened() as fd:
            self._disk.write(fd, bytes(SIZE), seq % RECORDS * SIZE)

    def _is_sized(self) -> bool:
        return self._path.is_file() and self._path.stat().st_size == RECORDS * SIZE

    def _make(self, records: Iterable[Record]) -> None:
        """Written, not only reserved: a later write allocates nothing, so a full disk cannot stop it.

        The new one keeps its first name until its second one lasts: who finds it there makes the journal again.
        """
        held = {record.seq % RECORDS: render_record(record) for record in records}
        data = b"".join(held.get(place, bytes(SIZE)) for place in range(RECORDS))
        other = self._path.with_name("journal.link")
        try:
            for left in (self._new, other):
                if left.exists():
                    self._disk.unlink(left)
            self._disk.write_file(self._new, data, mode=0o644)
            self._disk.link(self._new, other)
            self._disk.rename(other, self._path)
            self._disk.sync_folder(self._path.parent)
            self._disk.unlink(self._new)
        except OSError as error:
            raise tell_os_error(error, where=self._path) from error

    def _move_aside(self, scan: Scan) -> Scan:
        """A second name, so that there is a journal at every moment."""
        aside = next(p for n in range(1000) if not (p := self._path.with_name(f"journal.spoiled-{n}")).exists())
        with on_disk(aside):
            self._disk.link(self._path, aside)
        return Scan(scan.records, (*scan.spoiled, f"{self._path} cannot be used and is kept as {aside.name}"))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with self._disk.opened(self._path, os.O_WRONLY) as fd:
            yield fd
