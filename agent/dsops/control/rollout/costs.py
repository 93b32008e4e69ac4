"""How a release can come in on each node, from the memory that is really free there, and what that costs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsops.control.rollout.preflight import Known
from dsops.core.errors import DsopsError
from dsops.core.placement import Cost, Memory, Need, Peer, Placement, Question, Room, Way, find_placement
from dsops.core.tiers import START_SECONDS

# Engines that compute on GPUs, and keep their weights there.
ON_GPUS = ("vllm", "trtllm")
# What a node's drain waits for requests in flight, at most.
DRAIN_SECONDS = 120.0
WORDS = {
    Way.BESIDE: "in the second slot, beside the one that serves",
    Way.DRAIN: "drained first, for two copies do not fit",
    Way.SPARE: "drained once a spare node serves it, for two copies do not fit",
}
EMPTY = "whole: it serves nothing yet"


@dataclass(frozen=True)
class Place:
    """One node. why: how one knows; alone: two copies do not fit there. cost: None where nobody can say.

    is_empty: no release serves there.
    """

    node: str
    way: Way
    why: tuple[str, ...]
    cost: Cost | None
    is_empty: bool = False

    @property
    def alone(self) -> bool:
        return self.way in (Way.DRAIN, Way.SPARE)

    @property
    def says(self) -> str:
        """How it comes in."""
        return EMPTY if self.is_empty else WORDS[self.way]


def find_place(known: Known, release: str, *, peers: Sequence[Known], unavailable: int) -> Place | DsopsError:
    """How it comes in there, or why it cannot."""
    question = build_question(known, release, peers=peers, unavailable=unavailable)
    if question is None:
        why = "an older node does not say how much memory is free: it refuses by itself what does not fit"
        return Place(known.name, Way.BESIDE, (why,), None)
    placed = find_placement(question)
    if placed.way is Way.SPARE:
        placed = _place_after(question, placed)
    if placed.way is Way.REFUSE:
        mend = "free memory there, or bring a smaller quantization"
        return DsopsError(f"no capacity for {release}: {'; '.join(placed.reasons)}", where=known.name, mend=mend)
    return Place(known.name, placed.way, placed.reasons, placed.cost, is_empty=not known.seen.active)


def _place_after(question: Question, spare: Placement) -> Placement:
    """Once the spare node serves, this one is drained; refused where it could not be even then."""
    others = [peer for peer in question.peers if peer.node != spare.node]
    after = find_placement(replace(question, peers=(*others, Peer(spare.node, is_serving=True))))
    if after.way is not Way.DRAIN:
        return Placement(Way.REFUSE, spare.node, (*spare.reasons, f"once that one serves: {after.reasons[1]}"), None)
    return replace(spare, reasons=(*spare.reasons, "drained once that one serves"), cost=after.cost)


def build_question(known: Known, release: str, *, peers: Sequence[Known], unavailable: int) -> Question | None:
    """What `core.placement` wants to know; None where the node does not say it. peers: of its pool, without itself."""
    room, comes = find_room(known), find_need(known, release)
    if room is None or comes is None:
        return None
    return Question(
        known.name,
        room,
        comes,
        runs=find_need(known, known.seen.active),
        warm=find_warm(known),
        is_serving=known.seen.is_serving,
        peers=tuple(_build_peer(peer) for peer in peers),
        unavailable=unavailable,
        drain_seconds=DRAIN_SECONDS,
    )


def find_room(known: Known) -> Room | None:
    """The memory that is free now."""
    host = known.holdings.memory if known.holdings else None
    if host is None or known.status is None:
        return None
    gpus = [(gpu.memory_used_bytes, gpu.memory_total_bytes) for gpu in known.status.gpus]
    told = tuple(Memory(total - used, total) for used, total in gpus if used is not None and total is not None)
    return Room(host, told)


def find_need(known: Known, release: str) -> Need | None:
    """What a release takes while it runs there: about its bytes, on all of the node's GPUs or in its memory."""
    held = known.holdings.find(release) if known.holdings and release else None
    if held is None:
        return None
    load = max(0.0, (held.seconds or 0.0) - START_SECONDS)
    gpus = len(known.status.gpus) if known.status and held.engine in ON_GPUS else 0
    if gpus:
        return Need(0, held.bytes // gpus, gpus, load_seconds=load, prove_seconds=START_SECONDS)
    return Need(held.bytes, load_seconds=load, prove_seconds=START_SECONDS)


def find_warm(known: Known) -> Need | None:
    """What still runs in the slot that the release would get."""
    status = known.status
    others = [one for one in status.slots if one.name != status.slot and one.unit == "active"] if status else []
    return find_need(known, others[0].release) if others else None


def _build_peer(known: Known) -> Peer:
    is_spare = known.is_there and not known.seen.active and not known.seen.drained
    return Peer(known.name, known.seen.is_serving and known.seen.is_reachable, is_spare, find_room(known))
