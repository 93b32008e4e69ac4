"""Writes the audit chain: behind the act, in a thread of its own, so that no disk can stop or delay what is told."""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dsops.core.audit import CUT, REMOVE, Act, End, Head, Kind, find_end, parse_line, render_line
from dsops.core.errors import DsopsError
from dsops.node.store.audit import Key, audit_folder, file_of, find_files, find_missing, key_of, tell_step
from dsops.node.store.disk import Disk, tell_os_error
from dsops.node.store.journal import RECORDS, Record, journal_path, read_history

# Acts that may wait for the disk; what comes beyond is counted.
ROOM = 2000
SIZE = 4 << 20
FILES = 16
RETRY_SECONDS = 2.0
HANG_SECONDS = 10.0
OWN = "dsops"
# So many transitions are remembered as told: all that the journal may still hold, and some.
REMEMBERED = 4 * RECORDS


def ignore(line: str) -> None:
    """For whoever needs no log."""


@dataclass
class Limits:
    """room: acts that may wait. size: bytes of a file before the next begins. files: how many are kept."""

    room: int = ROOM
    size: int = SIZE
    files: int = FILES
    retry_seconds: float = RETRY_SECONDS


@dataclass
class _Tip:
    """Where the next line goes. path None: there is no file yet."""

    path: Path | None
    head: Head
    size: int


class Ledger:
    """`add` never waits and never raises. The chain's files belong to whoever holds `audit/lock`."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        *,
        node: str = "",
        now: Callable[[], float] = time.time,
        log: Callable[[str], None] = ignore,
        limits: Limits | None = None,
    ) -> None:
        self._root = root
        self._folder = audit_folder(root)
        self._disk = disk
        self.node = node or os.uname().nodename
        self._now = now
        self._log = log
        self._limits = limits or Limits()
        self._changed = threading.Condition()
        self._waiting: deque[Act] = deque()
        self._lost = 0
        self._is_ended = False
        self._began: float | None = None
        self._trouble = ""
        self._thread: threading.Thread | None = None
        # Written by the thread alone from here on. told: None = the files must be looked at first.
        self._last = Head()
        self._tip: _Tip | None = None
        self._told: dict[Key, None] | None = None

    # --- for everybody: quick, and never wrong -----------------------------------------------------------------

    def add(self, act: Act) -> None:
        """Queues one entry. What does not fit any more is counted, and told once there is room."""
        with self._changed:
            if len(self._waiting) >= self._limits.room:
                self._lost += 1
                return
            self._waiting.append(act)
            self._start()
            if not self._trouble:
                self._changed.notify_all()

    def begin(self) -> None:
        """Looks for what the chain lacks of the journal, beside whatever is done next."""
        with self._changed:
            self._start()

    def flush(self, seconds: float = 2.0) -> bool:
        """Waits until all is written; False when the time is over, or the disk refuses."""
        end = time.monotonic() + seconds
        with self._changed:
            self._changed.notify_all()
            while self._thread and (self._waiting or self._began is not None or self._told is None):
                if not self._changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    return False
            return True

    def close(self, seconds: float = 2.0) -> bool:
        """As flush; then the thread ends."""
        is_done = self.flush(seconds)
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        return is_done

    @property
    def head(self) -> Head:
        """Where the chain ends, of what lasts: no cut of power takes it back."""
        return self._last

    @property
    def trouble(self) -> str:
        """Why nothing is written; "" when all is well."""
        with self._changed:
            if self._began is not None and time.monotonic() - self._began > HANG_SECONDS:
                return f"the audit's disk hangs, {len(self._waiting)} entries wait"
            return self._trouble

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="audit")
            self._thread.start()

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._is_ended or self._lost or self._told is None):
                    self._changed.wait()
                if self._is_ended:
                    return
                acts, lost = list(self._waiting), self._lost
                self._began = time.monotonic()
            trouble = self._try(acts, lost)
            with self._changed:
                self._began = None
                self._say(trouble)
                if not trouble:
                    for _ in acts:
                        self._waiting.popleft()
                    self._lost -= lost
                self._changed.notify_all()
                if trouble:
                    self._changed.wait(self._limits.retry_seconds)

    def _try(self, acts: Sequence[Act], lost: int) -> str:
        """Writes them, or says why it cannot."""
        try:
            self._write(acts, lost)
        except OSError as error:
            self._tip = self._told = None
            return f"the audit cannot be written: {tell_os_error(error, where=self._folder)}"
        except Exception as error:
            self._tip = self._told = None
            return f"the audit cannot be written: a bug in dsops: {type(error).__name__}: {error}"
        return ""

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            with suppress(Exception):
                self._log(trouble or "the audit is written again")
        self._trouble = trouble

    def _write(self, acts: Sequence[Act], lost: int) -> None:
        with self._locked():
            own: list[Act] = []
            tip = self._check_tip()
            if tip is None:
                tip = self._open(own)
                self._tell_cut(tip, own)
            told = self._told
            if told is None or lost:
                told = self._read_told() if told is None else told
                acts = self._fill(acts, told)
            if lost:
                what = f"{lost} entries were lost ({self._trouble or 'they came too fast'})"
                own.append(self._own("lost", f"{what}; those that the journal still held were brought"))
            if tip.size >= self._limits.size:
                tip = self._turn(tip, own)
            fresh = [act for act in acts if not act.seq or key_of(act) not in told]
            self._tip = self._append(tip, [*own, *fresh])
            self._last = self._tip.head
            told |= {key_of(act): None for act in fresh if act.seq}
            for key in list(told)[:-REMEMBERED]:
                del told[key]
            self._told = told

    def _own(self, verb: str, evidence: str, *, head: Head | None = None) -> Act:
        return Act(self._now(), Kind.CHAIN, verb, OWN, "", self.node, evidence=evidence, head=head)

    def _append(self, tip: _Tip, acts: Sequence[Act]) -> _Tip:
        """All lines by one write that lasts. A write that failed leaves nothing behind."""
        if not acts:
            return tip
        head, lines = tip.head, []
        for act in acts:
            line, head = self._render(act, after=head)
            lines.append(line)
        data = b"".join(lines)
        path = tip.path or file_of(self._folder, tip.head.number + 1)
        with self._disk.opened(path, os.O_WRONLY | os.O_CREAT, 0o644) as fd:
            try:
                self._disk.write(fd, data, tip.size)
                if tip.path is None:
                    self._disk.chmod(fd, 0o644)
                self._disk.fdatasync(fd)
            except OSError:
                with suppress(OSError):
                    self._disk.truncate(fd, tip.size)
                raise
        if tip.path is None:
            self._disk.sync_folder(self._folder)
        return _Tip(path, head, tip.size + len(data))

    def _render(self, act: Act, *, after: Head) -> tuple[bytes, Head]:
        try:
            return render_line(act, after=after)
        except (ValueError, TypeError, AttributeError) as error:
            return render_line(self._own("lost", f"an entry that cannot be written ({error})"), after=after)

    def _check_tip(self) -> _Tip | None:
        """What is remembered, when nobody else wrote since."""
        tip = self._tip
        if tip is None or tip.path is None:
            return None
        try:
            size = tip.path.stat().st_size
        except FileNotFoundError:
            size = -1
        if size == tip.size:
            return tip
        self._told = None
        return None

    def _open(self, own: list[Act]) -> _Tip:
        """Looks where the chain ends; what has no end there is taken away, and that is told."""
        if not (files := find_files(self._folder)):
            return self._open_anew("the chain begins", own)
        end = find_end(files[-1].read_bytes())
        if end.torn:
            self._cut(files[-1], end, own)
        if head := end.head or self._find_head(files[:-1]):
            return _Tip(files[-1], head, end.size)
        for path in files:
            self._disk.rename(path, path.with_suffix(f".spoiled-{self._now():.0f}"))
        names = ", ".join(path.stem for path in files)
        return self._open_anew(f"no entry can be read in {names}, kept as .spoiled: the chain begins anew", own)

    def _open_anew(self, why: str, own: list[Act]) -> _Tip:
        own.append(self._own("begin", why))
        return _Tip(None, Head(), 0)

    def _tell_cut(self, tip: _Tip, own: list[Act]) -> None:
        """What this process wrote itself, and is not there any more."""
        last = self._last
        if tip.head.number < last.number:
            what = f"entries {tip.head.number + 1} to {last.number} were there, and are gone"
            own.append(self._own(CUT, what, head=last))

    def _cut(self, path: Path, end: End, own: list[Act]) -> None:
        with self._disk.opened(path, os.O_WRONLY) as fd:
            self._disk.truncate(fd, end.size)
            self._disk.fdatasync(fd)
        text = end.torn.rstrip(b"\0").decode(errors="replace")
        what = f"the last line had no end ({len(end.torn)} bytes): a cut of power; it is taken away"
        own.append(self._own("repair", f"{what}: {text}"))

    def _find_head(self, files: Sequence[Path]) -> Head | None:
        return next((head for path in reversed(files) if (head := find_end(path.read_bytes()).head)), None)

    def _turn(self, tip: _Tip, own: list[Act]) -> _Tip:
        """The next file; the oldest goes when there are too many, and the chain tells up to where."""
        files = find_files(self._folder)
        for path in files[:-1][: max(0, len(files) + 1 - self._limits.files)]:
            if head := find_end(path.read_bytes()).head:
                own.append(self._own(REMOVE, f"the oldest entries go, up to {head.number}", head=head))
                tip = self._append(tip, own)
                own.clear()
            with suppress(OSError):  # the next turn tries it again
                self._disk.unlink(path)
        return _Tip(None, tip.head, 0)

    def _read_told(self) -> dict[Key, None]:
        """The transitions that the chain has, of those that the journal may still hold."""
        told: dict[Key, None] = {}
        for path in reversed(find_files(self._folder)):
            for line in reversed(path.read_bytes().split(b"\n")):
                if b'"seq":0,' in line:
                    continue
                with suppress(DsopsError):
                    told[key_of(parse_line(line).act)] = None
                if len(told) >= REMEMBERED:
                    return dict(reversed(told.items()))
        return dict(reversed(told.items()))

    def _fill(self, acts: Sequence[Act], told: dict[Key, None]) -> list[Act]:
        """The acts with what the journal holds and nobody told, in the order in which it happened."""
        try:
            records = read_history(journal_path(self._root))
        except DsopsError as error:
            self._log(f"the audit cannot be filled from the journal: {error}")
            return list(acts)
        missing = find_missing(records, {*told, *map(key_of, acts)})
        late = [self._tell_late(record, before) for record, before in missing]
        return sorted([*late, *acts], key=lambda act: act.at) if late else list(acts)

    def _tell_late(self, record: Record, before: Record | None) -> Act:
        return tell_step(record, before=before.state if before else None, kind=Kind.LATE, node=self.node)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._folder.is_dir():
            self._disk.mkdir(self._folder)
            self._disk.sync_folder(self._folder.parent)
        with self._disk.opened(self._folder / "lock", os.O_RDWR | os.O_CREAT) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
