"""How a release can come in on a node, from the memory that is really free, and what that costs beforehand. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from dsops.core.waves import get_most

# Loading needs more than the weights.
RESERVE = 0.2
# Lanes turn, or the door closes, within this; measured far below.
LANES_SECONDS = 1.0


class Way(StrEnum):
    """How it comes in, the cheapest first."""

    BESIDE = "beside"  # in the second slot, beside the one that serves
    DRAIN = "drain"  # the node is drained, the old one stops, then the new one starts
    SPARE = "spare"  # on a spare node, which takes this one's share of the requests afterwards
    REFUSE = "refuse"


@dataclass(frozen=True)
class Memory:
    """Bytes of one memory: the host's, or one GPU's."""

    free: int
    total: int


@dataclass(frozen=True)
class Room:
    """A server's memory. gpus: empty where engines compute on the CPU."""

    host: Memory
    gpus: tuple[Memory, ...] = ()


@dataclass(frozen=True)
class Need:
    """What a release takes while it runs: bytes of the host, and of each of so many GPUs (0 = none).

    load_seconds: as its passport says for this hardware; prove_seconds: for the golden answers.
    """

    host: int
    gpu: int = 0
    gpus: int = 0
    load_seconds: float = 0.0
    prove_seconds: float = 5.0

    @property
    def start_seconds(self) -> float:
        return self.load_seconds + self.prove_seconds


@dataclass(frozen=True)
class Peer:
    """Another node of the pool. is_spare: it serves nothing and may be used."""

    node: str
    is_serving: bool
    is_spare: bool = False
    room: Room | None = None


@dataclass(frozen=True)
class Question:
    """comes: the release that comes in. runs: the active one, None on an empty node. warm: what else still runs in
    the other slot and ends when that is used. unavailable: how many of the pool may be out, 0 = a tenth.
    drain_seconds: as long as the longest answer may take.
    """

    node: str
    room: Room
    comes: Need
    runs: Need | None = None
    warm: Need | None = None
    is_serving: bool = True
    peers: tuple[Peer, ...] = ()
    unavailable: int = 0
    drain_seconds: float = 120.0
    reserve: float = RESERVE


@dataclass(frozen=True)
class Cost:
    """capacity: the share (0 to 1) of what the pool serves now that is lost, for lost_seconds.

    safe_seconds: from the verdict until a failing release gets no request any more. full_seconds: until the release
    serves with all capacity. back_seconds: until the old one does again, when it has to go back.
    """

    capacity: float
    lost_seconds: float
    safe_seconds: float
    full_seconds: float
    back_seconds: float


@dataclass(frozen=True)
class Placement:
    """node: where it comes in first. reasons: why this way, and why no cheaper one. cost: None when it is refused."""

    way: Way
    node: str
    reasons: tuple[str, ...]
    cost: Cost | None


def find_placement(asked: Question) -> Placement:
    """The cheapest way that there is, with its reasons."""
    reasons: list[str] = []
    beside = find_shortage(asked.room, asked.comes, frees=_get_frees(asked.warm), reserve=asked.reserve)
    if not beside:
        reasons.append("both releases fit side by side")
        return Placement(Way.BESIDE, asked.node, tuple(reasons), _cost_beside(asked))
    reasons.append(f"no second slot: {beside}")
    alone = find_no_drain(asked)
    if not alone:
        reasons.append("drained first: its peers carry the load meanwhile" if asked.is_serving else "it serves nothing")
        return Placement(Way.DRAIN, asked.node, tuple(reasons), _cost_drain(asked))
    reasons.append(f"not drained: {alone}")
    for peer in asked.peers:
        why = _find_no_spare(peer, asked)
        if not why:
            reasons.append(f"{peer.node} is spare and has room")
            return Placement(Way.SPARE, peer.node, tuple(reasons), _cost_spare(asked))
        reasons += [f"not on {peer.node}: {why}"] if peer.is_spare else []
    if not any(peer.is_spare for peer in asked.peers):
        reasons.append("no spare node")
    return Placement(Way.REFUSE, asked.node, tuple(reasons), None)


def find_shortage(room: Room, need: Need, *, frees: tuple[Need, ...] = (), reserve: float = RESERVE) -> str:
    """Which memory is too small for it, once `frees` have ended; "" when it fits. reserve: beyond the weights."""
    host = room.host.free + sum(one.host for one in frees)
    if min(host, room.host.total) < need.host * (1 + reserve):
        return f"it needs {_tell(need.host * (1 + reserve))} of memory, {_tell(min(host, room.host.total))} are free"
    if not need.gpus:
        return ""
    if len(room.gpus) < need.gpus:
        return f"it needs {need.gpus} GPUs, there are {len(room.gpus)}"
    usable = sorted(_free_gpus(room, frees), reverse=True)[need.gpus - 1]
    if usable < need.gpu * (1 + reserve):
        return f"it needs {_tell(need.gpu * (1 + reserve))} on each of {need.gpus} GPUs, {_tell(usable)} are free"
    return ""


def _free_gpus(room: Room, frees: tuple[Need, ...]) -> list[int]:
    """Bytes of each GPU. What ends runs on the fullest ones, each on as many as it takes."""
    free = [gpu.free for gpu in room.gpus]
    for one in frees:
        for index in sorted(range(len(free)), key=lambda index: free[index])[: one.gpus]:
            free[index] = min(free[index] + one.gpu, room.gpus[index].total)
    return free


def find_no_drain(asked: Question) -> str:
    """Why this node cannot be drained and take it alone; "" when it can."""
    frees = (*_get_frees(asked.warm), *_get_frees(asked.runs))
    if shortage := find_shortage(asked.room, asked.comes, frees=frees, reserve=asked.reserve):
        return f"not even alone: {shortage}"
    if not asked.is_serving:
        return ""  # it takes nothing away
    out = [peer.node for peer in asked.peers if not peer.is_serving and not peer.is_spare]
    if not any(peer.is_serving for peer in asked.peers):
        return f"{asked.node} is the last that serves of its pool"
    most = get_most(len(asked.peers) + 1, asked.unavailable or None)
    return f"{', '.join(out[:5])} are out already, {most} may be" if len(out) >= most else ""


def _find_no_spare(peer: Peer, asked: Question) -> str:
    if not peer.is_spare:
        return "it is not spare"
    if peer.room is None:
        return "its memory is not known"
    return find_shortage(peer.room, asked.comes, reserve=asked.reserve)


def _get_frees(need: Need | None) -> tuple[Need, ...]:
    return (need,) if need else ()


def _cost_beside(asked: Question) -> Cost:
    return Cost(0.0, 0.0, LANES_SECONDS, asked.comes.start_seconds, LANES_SECONDS)


def _cost_drain(asked: Question) -> Cost:
    """The node is out while it waits for its requests, loads and proves; and once more if it has to go back."""
    serving = 1 + sum(1 for peer in asked.peers if peer.is_serving)
    drain = asked.drain_seconds if asked.is_serving else 0.0
    full = drain + asked.comes.start_seconds
    back = asked.drain_seconds + (asked.runs.start_seconds if asked.runs else 0.0)
    share = 1 / serving if asked.is_serving else 0.0
    return Cost(share, full if share else 0.0, LANES_SECONDS, full, back)


def _cost_spare(asked: Question) -> Cost:
    """The old one runs on where it is: the way back is to let the spare one go."""
    return Cost(0.0, 0.0, LANES_SECONDS, asked.comes.start_seconds, LANES_SECONDS)


def _tell(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
