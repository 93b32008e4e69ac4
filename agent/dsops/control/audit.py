"""This control host's own audit chain: what was asked of which node, how it ended, and where that node's chain ends."""

import fcntl
import getpass
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from dsops.control.fleet.epoch import find_state_folder
from dsops.core.audit import (
    ACCEPT,
    NO_EPOCH,
    Act,
    Entry,
    Head,
    Kind,
    Line,
    find_end,
    find_receipt,
    is_told,
    parse_line,
    render_line,
    split_lines,
)
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

SIZE = 4 << 20
# The disk has so long; then the command goes on without it.
SECONDS = 2.0
# A drain that waited for what is in flight, in vain, did drain.
DONE_CODES = (0, 3)
# `release VERB` are two words.
NAMED = 2
# Options that matter for what was asked; the first ones with what they say.
TOLD = ("--share", "--for", "--checks")
BESIDES = (*TOLD, "--alone", "--without-passport", "--keep-hot", "--afresh", "--force", "--end")


class Chain:
    """The files in `<state>/audit`, written by one process at a time, and never taken away."""

    def __init__(self, state: Path, *, size: int = SIZE) -> None:
        self.folder = state / "audit"
        self._size = size

    def add(self, *acts: Act) -> None:
        """On disk before it returns. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "write.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._add(acts)

    def read(self) -> list[Line]:
        """Every line, oldest first; none when nothing was ever told. Raises DsopsError."""
        try:
            return [line for path in self._find() for line in split_lines(path.read_bytes(), name=path.name)]
        except OSError as error:
            mend = "as its owner, or name another folder as --state (DSOPS_STATE)"
            raise DsopsError(f"cannot be read ({error.strerror})", where=str(self.folder), mend=mend) from error

    def read_entries(self) -> list[Entry]:
        """Those that are entries, oldest first. Raises DsopsError."""
        return parse_entries(self.read())

    def _find(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _add(self, acts: Sequence[Act]) -> None:
        files = self._find()
        path, head, size, own = self._find_end(files, at=min(act.at for act in acts))
        if size >= self._size or path is None:
            path, size = self.folder / f"{head.number + 1:012}.jsonl", 0
        lines = []
        for act in (*own, *acts):
            line, head = render_line(act, after=head)
            lines.append(line)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.truncate(size)
            stream.seek(size)
            stream.write(b"".join(lines))
            stream.flush()
            os.fsync(stream.fileno())

    def _find_end(self, files: Sequence[Path], *, at: float) -> tuple[Path | None, Head, int, list[Act]]:
        """(file, head, bytes that are whole there, what the chain tells about itself)."""
        if not files:
            return None, Head(), 0, [_own("begin", "the chain begins", at=at)]
        end = find_end(files[-1].read_bytes())
        own = []
        if end.torn:
            text = end.torn.rstrip(b"\0").decode(errors="replace")
            what = f"the last line had no end ({len(end.torn)} bytes); it is taken away: {text}"
            own.append(_own("repair", what, at=at))
        heads = (find_end(path.read_bytes()).head for path in reversed(files[:-1]))
        if head := end.head or next((head for head in heads if head), None):
            return files[-1], head, end.size, own
        for path in files:
            path.rename(path.with_suffix(f".spoiled-{time.time():.0f}"))
        anew = _own("begin", "no entry could be read (kept as .spoiled): it begins anew", at=at)
        return None, Head(), 0, [*own, anew]


def _own(verb: str, evidence: str, *, at: float) -> Act:
    return Act(at, Kind.CHAIN, verb, "dsops", node=socket.gethostname(), evidence=evidence)


def parse_entries(lines: Sequence[Line]) -> list[Entry]:
    """What is no entry is passed over: `verify` says it."""
    found = []
    for line in lines:
        with suppress(DsopsError):
            found.append(parse_line(line.data))
    return found


def find_anchors(entries: Sequence[Entry], *, fleet: str, node: str) -> tuple[Head, ...]:
    """Where the node's chain was seen to end, oldest first, since it was last accepted. Pure."""
    heads: list[Head] = []
    for entry in entries:
        act = entry.act
        if (act.fleet, act.node) != (fleet, node):
            continue
        if act.kind is Kind.HEAD and act.verb == ACCEPT:
            heads.clear()
        if act.head and act.head.number:
            heads.append(act.head)
    return tuple(heads)


# --- where it lies -----------------------------------------------------------------------------------------------

_KEPT: list[Path] = []


@contextmanager
def keeping(state: Path) -> Iterator[None]:
    """Whatever goes to nodes meanwhile, from any thread, is told in this state folder."""
    _KEPT.append(state)
    try:
        yield
    finally:
        _KEPT.remove(state)


def find_state() -> Path:
    """The folder of the command's --state, else of DSOPS_STATE, else of this account."""
    named = os.environ.get("DSOPS_STATE")
    if _KEPT:
        return _KEPT[-1]
    return Path(named) if named else find_state_folder(os.environ, is_root=os.geteuid() == 0)


def find_chain() -> Chain:
    """Where that folder has it."""
    return Chain(find_state())


def who() -> str:
    """Who changes the fleet, for the audit log."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


# --- what is told ------------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """How `dsops node WORDS` ended on a server. kind stays UNKNOWN when nobody heard."""

    kind: Kind = Kind.UNKNOWN
    evidence: str = ""
    head: Head | None = None

    def hear(self, code: int, stderr: str) -> str:
        """From its exit status and its standard error; gives back what of that is not for the audit."""
        self.head, rest = find_receipt(stderr)
        error = next((line.removeprefix("error: ") for line in rest.splitlines() if line.startswith("error: ")), "")
        if code in DONE_CODES:
            self.kind, self.evidence = Kind.DONE, f"exit {code}" if code else ""
        else:
            self.kind = Kind.REFUSED if error else Kind.UNKNOWN
            self.evidence = error or f"exit {code}: {rest.strip()[-200:]}"
        return rest


@contextmanager
def telling(fleet: Path, node: str, argv: Sequence[str]) -> Iterator[Heard]:
    """Around one command to a node: the chain is told how it ended, when it is one that changes something."""
    heard, words = Heard(), argv[2:]
    if tuple(argv[:2]) != ("dsops", "node") or not is_told(words):
        yield heard
        return
    # Chosen now: a command may end after whoever gave it has left.
    chain = find_chain()
    try:
        yield heard
    except BaseException as error:
        if heard.kind is Kind.UNKNOWN and not heard.evidence:
            heard.evidence = str(error) or f"stopped here ({type(error).__name__}) before the node answered"
        raise
    finally:
        act = describe(fleet, node, words, kind=heard.kind, evidence=heard.evidence, head=heard.head)
        tell(act, chain)


@dataclass(frozen=True)
class _Ticket:
    """An entry that waits to be written. errors: why it could not be."""

    chain: Chain
    act: Act
    errors: list[str] = field(default_factory=list)
    written: threading.Event = field(default_factory=threading.Event)


class Teller:
    """Writes in a thread: what many nodes said goes to the disk at once, and nobody waits for a disk that hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._thread: threading.Thread | None = None
        self._warned: set[str] = set()
        self._hangs = False

    def tell(self, act: Act, chain: Chain, *, seconds: float = SECONDS) -> str:
        """Why it could not be written, and "" when it was. Never raises, and never waits longer."""
        ticket = _Ticket(chain, act)
        with self._lock:
            self._waiting.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="audit")
                self._thread.start()
        self._hangs = not ticket.written.wait(0.0 if self._hangs else seconds)
        trouble = "the disk hangs" if self._hangs else "; ".join(ticket.errors)
        if trouble and trouble not in self._warned:
            self._warned.add(trouble)
            print(f"warning: the audit of this control host cannot be written: {trouble}", file=sys.stderr)
        return trouble

    def _run(self) -> None:
        while tickets := self._take():
            for folder in {ticket.chain.folder for ticket in tickets}:
                self._write([ticket for ticket in tickets if ticket.chain.folder == folder])

    def _take(self) -> list[_Ticket]:
        with self._lock:
            tickets, self._waiting = self._waiting, []
            if not tickets:
                self._thread = None
            return tickets

    def _write(self, tickets: Sequence[_Ticket]) -> None:
        try:
            tickets[0].chain.add(*(ticket.act for ticket in tickets))
        except (OSError, ValueError) as error:
            for ticket in tickets:
                ticket.errors.append(str(error))
        for ticket in tickets:
            ticket.written.set()


_TELLER = Teller()


def tell(act: Act, chain: Chain | None = None) -> str:
    """Keeps one entry; whatever is wrong with the audit is a warning, and the command goes on."""
    return _TELLER.tell(act, chain or find_chain())


def _render_option(key: str, value: str) -> str:
    return f"{key} {value}" if key in TOLD and value else key


def describe(fleet: Path, node: str, words: Sequence[str], *, kind: Kind, evidence: str, head: Head | None) -> Act:
    """A command to a node as an entry. words: those after `dsops node`. Pure, but for the time and the caller."""
    options = {key: value for key, value in pairwise(words) if key.startswith("--")}
    verbs = words[:NAMED] if words[:1] == ["release"] else words[:1]
    names = [word for word in words[len(verbs) : len(verbs) + 1] if not word.startswith("--")]
    number = options.get("--epoch", "")
    besides = " ".join(_render_option(*pair) for pair in pairwise((*words, "")) if pair[0] in BESIDES)
    return Act(
        at=time.time(),
        kind=kind,
        verb=" ".join(verbs),
        who=options.get("--who") or who(),
        why=options.get("--reason", ""),
        node=node,
        to=options.get("--to") or next(iter(names), ""),
        evidence="; ".join(said for said in (besides, evidence) if said),
        epoch=Epoch(int(number) if number.isdecimal() else 0, options.get("--holder", "")),
        head=head,
        fleet=str(fleet.resolve()),
    )


def tell_command(
    fleet: Path,
    verb: str,
    *,
    kind: Kind = Kind.DONE,
    nodes: str = "",
    leaves: str = "",
    to: str = "",
    why: str = "",
    evidence: str = "",
    epoch: Epoch = NO_EPOCH,
    by: str = "",
) -> str:
    """What was done from here with a whole fleet, such as to halt it; by: who, else whoever runs this.

    Says why it could not be kept, mostly "".
    """
    path = str(fleet.resolve())
    return tell(Act(time.time(), kind, verb, by or who(), why, nodes, leaves, to, evidence, epoch, fleet=path))


def tell_deploy(fleet: Path, limit: Sequence[str], *, code: int) -> str:
    """That the servers of an inventory were provisioned, or in part; what it changed there pyinfra said."""
    kind = Kind.DONE if code == 0 else Kind.UNKNOWN
    nodes = ", ".join(limit) or "all servers"
    return tell_command(fleet, "deploy", kind=kind, nodes=nodes, evidence=f"exit {code}")
