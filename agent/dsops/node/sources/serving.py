"""What is known of how the releases in the slots serve: by their engines, their clients, and dsops' own requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dsops.core.passport import Passport
from dsops.core.status import Phase, Slot
from dsops.node.sources.cgroups import Use
from dsops.node.sources.counters import Counters
from dsops.node.sources.engines import find_told, list_counters
from dsops.node.sources.http import Answer
from dsops.node.sources.trend import Trend
from dsops.node.sources.unread import Unread, attempt

NOT_YET = Unread("not read yet", is_missing=True)
# Counters of a slot beside those of its engine: tokens that the gateway got from it, clients' requests and failures.
RELAYED, REQUESTS, FAILED = "relayed", "requests", "failed"
ANSWERS_KEPT = 64


@dataclass(frozen=True)
class Asked:
    """One golden prompt that dsops asked the slot itself. at: when it ended, in ticks.

    is_answer: it came to its end. is_right: None when there was nothing to judge. says: what came instead. wanted:
    tokens of the prompt's longest right answer. per_token, first_token: seconds, None when nobody could say.
    is_alone: nobody else was served meanwhile, so that its times can be compared.
    """

    at: float
    text: str = ""
    is_answer: bool = True
    is_right: bool | None = None
    says: str = ""
    wanted: int = 0
    per_token: float | None = None
    first_token: float | None = None
    is_alone: bool = True


@dataclass(frozen=True)
class SlotServing:
    """One slot, from the moment on in which its release came into it. reason: of its phase.

    told: what its engine tells now, telling: all that it ever told. totals: how its counters grew. passport: that its
    release must meet here, None: there is none. use: what memory its processes have now; memory: over hours, since
    this process began; pid: which.
    """

    name: str
    release: str
    phase: Phase = Phase.UNKNOWN
    reason: str = ""
    told: Mapping[str, float] | Unread = NOT_YET
    telling: frozenset[str] = frozenset()
    totals: Counters = field(default_factory=Counters)
    answers: tuple[Asked, ...] = ()
    passport: Passport | Unread | None = None
    use: Use | Unread = NOT_YET
    memory: Trend = field(default_factory=Trend)
    pid: int = 0

    @property
    def entity(self) -> str:
        return f"slot {self.name}"


@dataclass(frozen=True)
class ServingSeen:
    """sample: the reading's name, "" before the first. room: bytes of memory that are left on this server."""

    sample: str = ""
    slots: tuple[SlotServing, ...] = ()
    room: int | Unread = NOT_YET


def tell_totals(
    told: Mapping[str, float] | Unread, *, relayed: float | Unread, clients: Mapping[str, int | Unread]
) -> dict[str, int | Unread]:
    """One reading of a slot's counters. An engine that does not tell one has none."""
    engine: dict[str, int | Unread] = (
        dict.fromkeys(list_counters(), told)
        if isinstance(told, Unread)
        else {key: int(told[key]) for key in list_counters() if key in told}
    )
    return engine | {RELAYED: relayed if isinstance(relayed, Unread) else attempt(lambda: int(relayed))} | dict(clients)


def read_told(metrics: Answer) -> Mapping[str, float] | Unread:
    """Of the page that the slot answered, or why there is none."""
    if not metrics.is_ok:
        return Unread(f"its metrics page: {metrics.says}")
    return find_told(metrics.body.decode(errors="replace"))


def begin(slot: Slot, before: SlotServing | None) -> SlotServing:
    """Of another release nothing holds any more."""
    if before is None or before.release != slot.release:
        return SlotServing(slot.name, slot.release)
    return before
