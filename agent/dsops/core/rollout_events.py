"""What may happen to a rollout, looked at or asked by a person, and what must be done for it. Pure.

Effects are asked again at later looks until a look shows that they are done: each may be done twice, or be lost.
"""

from dataclasses import dataclass

from dsops.core.samples import Samples


@dataclass(frozen=True)
class Seen:
    """What one look showed of one node. All but node and pool means nothing unless is_reachable.

    active: the release with the lanes that the canary has not, "" when none. canary: the release in CANARY, with
    `share` percent of the requests. is_serving: it takes traffic and answers. is_moving: a change is under way there.
    drained: by whom and why, "" when it is not. bad: releases marked bad there, why_bad: and why, in the same order.
    halted: why it does nothing by itself. skew: seconds that its clock is ahead of ours. alone: two copies do not fit
    there (`core.placement`).
    """

    node: str
    pool: str = "gpu"
    is_reachable: bool = True
    is_serving: bool = True
    active: str = ""
    canary: str = ""
    share: int = 0
    is_moving: bool = False
    drained: str = ""
    bad: tuple[str, ...] = ()
    why_bad: tuple[str, ...] = ()
    halted: str = ""
    skew: float = 0.0
    alone: bool = False
    samples: Samples | None = None

    def share_of(self, release: str) -> int:
        """Percent of this node's requests that the release gets."""
        if self.active == release:
            return 100
        return self.share if self.canary == release else 0

    def find_bad(self, release: str) -> str:
        """Why it is marked bad there, "" when nobody says why, or it is not."""
        return dict(zip(self.bad, self.why_bad, strict=False)).get(release, "")


@dataclass(frozen=True)
class Look:
    """All nodes at once, as they were seen. alerts: those that fire on the service. halt: why the fleet is halted.

    One node without an entry is gone from the inventory; one that has no part is new.
    """

    at: float
    nodes: tuple[Seen, ...]
    alerts: tuple[str, ...] = ()
    halt: str = ""


@dataclass(frozen=True)
class Refused:
    """A node said no to what it was told, such as for its passport or its memory; nothing changed there."""

    at: float
    node: str
    reason: str


@dataclass(frozen=True)
class Pause:
    """A person stops it where it is."""

    at: float
    who: str
    reason: str


@dataclass(frozen=True)
class Resume:
    """A person goes on: after a pause, after `hold_at`, without the nodes that are lost."""

    at: float
    who: str
    reason: str


@dataclass(frozen=True)
class Abort:
    """A person takes the release back everywhere. Said again while it goes back: without those that cannot."""

    at: float
    who: str
    reason: str


Event = Look | Refused | Pause | Resume | Abort


# --- effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Activate:
    """`dsops node release activate RELEASE --share N [--alone]`, with the rollout's epoch."""

    node: str
    release: str
    share: int
    alone: bool = False


@dataclass(frozen=True)
class Widen:
    """`dsops node release widen RELEASE --share N`."""

    node: str
    release: str
    share: int


@dataclass(frozen=True)
class Back:
    """`dsops node rollback`: the node leaves the release, whether it is a canary there or has all the traffic."""

    node: str
    release: str
    reason: str


@dataclass(frozen=True)
class Drain:
    """As `dsops drain`, with a wait for what is in flight."""

    node: str
    reason: str


@dataclass(frozen=True)
class Undrain:
    """Takes this rollout's own drain away."""

    node: str


@dataclass(frozen=True)
class Mark:
    """The release goes onto the fleet's bad list. Once."""

    release: str
    reason: str


@dataclass(frozen=True)
class Fell:
    """To be remembered for `core.halt`: a node gave the release up by itself (node), or the gates failed it ("")."""

    at: float
    release: str
    node: str
    reason: str


@dataclass(frozen=True)
class Say:
    """A sentence for the history, and for whoever watches."""

    at: float
    text: str


Effect = Activate | Widen | Back | Drain | Undrain | Mark | Fell | Say
