"""What the helper tells the audit chain: every transition, and what was asked of it, done or refused. Never fails."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from dsops.core.audit import Act, Kind
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch, NodeState
from dsops.node.helper.asked import Asked
from dsops.node.helper.tell import Note
from dsops.node.store.audit import tell_step
from dsops.node.store.journal import Record
from dsops.node.store.ledger import Ledger

# What the agent asks again and again, and is refused for the same reason, is told once in so many seconds.
AGAIN_SECONDS = 600.0
# Whoever asks where the chain ends waits so long for a slow disk.
END_SECONDS = 0.3
ABOUT = ("release", "unit", "to", "path")
# Other words that matter, with what they say.
TOLD = ("share", "seconds", "checks")
# And those that matter for what was asked.
BESIDES = ("alone", "afresh", "keep_hot", "lasting", "own", "without_passport", "uncertified", "force", "end")


@dataclass
class Scribe:
    """Tells the ledger; without one it tells nobody. now: Unix seconds."""

    ledger: Ledger | None = None
    now: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _refused: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)

    def tell_step(self, record: Record, before: NodeState, note: Note) -> None:
        """A transition that the journal just got."""
        self._add(lambda node: tell_step(record, before=before, why=note.reason, kind=Kind.STEP, node=node))

    def tell_done(self, asked: Asked) -> None:
        """What a person asked for, and got."""
        self._add(lambda node: describe(asked, kind=Kind.DONE, at=self.now(), node=node))

    def tell_refused(self, asked: Asked, error: DsopsError) -> None:
        """What somebody asked for in vain, and why."""
        again = self._count(asked, error)
        if again is None:
            return
        said = f"{error}" + (f" (and {again} times before)" if again else "")
        self._add(lambda node: describe(asked, kind=Kind.REFUSED, at=self.now(), node=node, said=said))

    def _add(self, make: Callable[[str], Act]) -> None:
        if self.ledger is None:
            return
        try:
            self.ledger.add(make(self.ledger.node))
        except Exception:  # a bug of the audit must not become one of the act
            traceback.print_exc(file=sys.stderr)

    def _count(self, asked: Asked, error: DsopsError) -> int | None:
        """How often it was refused since it was last told; None when that is not worth telling yet."""
        if asked.is_person:
            return 0
        key = (asked.caller.peer.value, asked.request.verb, error.what)
        with self._lock:
            since, count = self._refused.get(key, (None, 0))
            if since is not None and abs(self.now() - since) < AGAIN_SECONDS:
                self._refused[key] = (since, count + 1)
                return None
            if len(self._refused) > 100:
                self._refused.clear()
            self._refused[key] = (self.now(), 0)
            return count


def tell_end(scribe: Scribe) -> dict[str, object]:
    """Where the chain ends now, what was just done included where the disk is quick; and why nothing is written."""
    ledger = scribe.ledger
    if ledger is None:
        return {"head": "", "trouble": "no audit is kept"}
    ledger.flush(END_SECONDS)
    return {"head": str(ledger.head) if ledger.head.number else "", "trouble": ledger.trouble}


def tell_traffic(scribe: Scribe, asked: Asked) -> dict[str, object]:
    """The gateway took traffic away, or lets it in again, for a person at this server's door: only the audit hears."""
    asked.request.get_text("who")
    scribe.tell_done(asked)
    return {}


def describe(asked: Asked, *, kind: Kind, at: float, node: str, said: str = "") -> Act:
    """Who asked for what, and why, in their own words; and who they are by the kernel's."""
    request, words = asked.request, asked.request.words
    asks = [f"{key} {words[key]}" if key in TOLD else key for key in (*TOLD, *BESIDES) if words.get(key)]
    by = "; ".join([*asks, f"asked as {asked.caller.peer} (pid {asked.caller.pid})"])
    about = next((str(words[key]) for key in ABOUT if words.get(key)), "")
    who, why = words.get("who"), words.get("reason")
    return Act(
        at=at,
        kind=kind,
        verb=request.verb,
        who=str(who) if who else asked.caller.peer.value,
        why=str(why) if why else "",
        node=node,
        to=about,
        evidence=f"{said}; {by}" if said else by,
        epoch=_find_epoch(asked),
    )


def _find_epoch(asked: Asked) -> Epoch:
    """As it was said, however wrong."""
    number, holder = asked.request.words.get("epoch"), asked.request.words.get("holder")
    is_number = type(number) is int and number >= 0
    return Epoch(number if is_number else 0, str(holder) if holder else "")  # type: ignore[arg-type]
