"""What may happen to a node, asked or seen, and the effects that bring its state about. Pure.

Events carry their time, in Unix seconds. Each effect may be done twice.
"""

from dataclasses import dataclass

from dsops.core.state import Epoch


@dataclass(frozen=True)
class Activate:
    """Bring a release in. epoch None: asked at the node's own door.

    share: percent of the traffic; below 100 it stays a canary beside the active one until somebody widens it.
    alone: two copies do not fit, so the active slot stops first; the traffic must be away already.
    """

    release: str
    at: float
    who: str
    reason: str
    epoch: Epoch | None = None
    share: int = 100
    alone: bool = False


@dataclass(frozen=True)
class Widen:
    """Give the canary more of the traffic: a larger share, 100 = all of it."""

    release: str
    share: int
    at: float
    who: str
    reason: str
    epoch: Epoch | None = None


@dataclass(frozen=True)
class Rollback:
    """Leave the active release for the newest known-good one.

    own: dsops decided it, so the budget counts. lasting: the failing release is bad until a person says otherwise.
    warm: the slots whose Triton runs now. to: a known-good release of the operator's choice. missing: releases that
    are not on the disk any more, whatever the state says. leaves: the release that it is about, "" = whichever would
    go: an order that comes late or twice must not take away the one that the first led back to.

    A person's rollback (without `to`) during an activation calls that one off, and the active release stays; so does
    dsops' own while a canary has a share.
    """

    at: float
    who: str
    reason: str
    own: bool
    lasting: bool
    warm: tuple[str, ...] = ()
    to: str = ""
    epoch: Epoch | None = None
    missing: tuple[str, ...] = ()
    leaves: str = ""


@dataclass(frozen=True)
class Done:
    """The effects of the move's present step are done. keep_warm: the slot that was left may go on running."""

    at: float
    keep_warm: bool = True


@dataclass(frozen=True)
class Resumed:
    """What the move's present step must do is done once more, after a kill or an error."""

    at: float


@dataclass(frozen=True)
class Proven:
    """The release in the move's slot loaded and gave accepted answers. release "": whichever waits.

    began: of the move that it is about, so that what is said late counts for no later one; 0 = whichever waits.
    """

    at: float
    release: str = ""
    began: float = 0.0


@dataclass(frozen=True)
class Refuted:
    """It did not, or it failed as a canary. lasting: its answers were wrong, so that waiting cannot mend it."""

    at: float
    reason: str
    lasting: bool
    release: str = ""
    began: float = 0.0


@dataclass(frozen=True)
class Failed:
    """The effects of START cannot be done here, such as on a full disk. No fault of the release."""

    at: float
    reason: str


@dataclass(frozen=True)
class Aged:
    """Time went by without a BAD: the next stage, when it is due. environment: what surrounds the release now."""

    at: float
    environment: str = ""


@dataclass(frozen=True)
class Restarted:
    """dsops is about to restart the active slot's Triton, as the test of blame."""

    at: float


@dataclass(frozen=True)
class Unmark:
    """A person takes a bad mark away."""

    release: str


@dataclass(frozen=True)
class Confirm:
    """A person confirms a bad mark: it stays until it is unmarked."""

    release: str


@dataclass(frozen=True)
class Forget:
    """A person is about to remove a release from the disk. missing: others that are not on it any more."""

    release: str
    at: float
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cool:
    """A release is about to leave the hot tier; the cold one holds it whole, so that it stays a way back."""

    release: str
    at: float


@dataclass(frozen=True)
class Take:
    """A fleet command that was refused for another reason: its epoch counts all the same."""

    epoch: Epoch


@dataclass(frozen=True)
class Halt:
    """Nothing automatic any more, until a person clears it."""

    reason: str


@dataclass(frozen=True)
class Clear:
    """A person lets dsops act again."""


@dataclass(frozen=True)
class Adopt:
    """A person makes the node believe another control host."""

    epoch: Epoch


Event = (
    Activate
    | Widen
    | Rollback
    | Done
    | Resumed
    | Proven
    | Refuted
    | Failed
    | Aged
    | Restarted
    | Unmark
    | Confirm
    | Forget
    | Cool
    | Take
    | Halt
    | Clear
    | Adopt
)


# --- effects: what must be done; each may be done twice --------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """slots/<slot> -> ../releases/<release>; release "" removes the link."""

    slot: str
    release: str


@dataclass(frozen=True)
class Start:
    """triton@<slot> is enabled and starts afresh, whatever ran there."""

    slot: str


@dataclass(frozen=True)
class Stop:
    """triton@<slot> is disabled and stops. wait: until it is gone, so that another one finds its memory free."""

    slot: str
    wait: bool = False


@dataclass(frozen=True)
class Lanes:
    """The lanes of `share` percent lead to the slot, the rest to `other`; at 100 all lead to the slot."""

    slot: str
    share: int = 100
    other: str = ""


Effect = Link | Start | Stop | Lanes
