"""What may happen to a node, asked or seen, and the effects that bring its state about. Pure.

Events carry their time, in Unix seconds. Each effect may be done twice.
"""

from dataclasses import dataclass

from dsops.core.state import Epoch


@dataclass(frozen=True)
class Activate:
    """Bring a release in. epoch None: asked at the node's own door."""

    release: str
    at: float
    who: str
    reason: str
    epoch: Epoch | None = None


@dataclass(frozen=True)
class Rollback:
    """Leave the active release for the newest known-good one.

    own: dsops decided it, so the budget counts. lasting: the failing release is bad until a person says otherwise.
    warm: the slots whose Triton runs now. to: a known-good release of the operator's choice. missing: releases that
    are not on the disk any more, whatever the state says.

    A person's rollback (without `to`) during an activation calls that one off, and the active release stays.
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


@dataclass(frozen=True)
class Done:
    """The effects of the move's present step are done. keep_warm: the slot that was left may go on running."""

    at: float
    keep_warm: bool = True


@dataclass(frozen=True)
class Proven:
    """The release in the move's slot loaded and gave accepted answers. release "": whichever waits."""

    at: float
    release: str = ""


@dataclass(frozen=True)
class Refuted:
    """It did not. lasting: its answers were wrong, so that waiting cannot mend it."""

    at: float
    reason: str
    lasting: bool
    release: str = ""


@dataclass(frozen=True)
class Failed:
    """The effects of START cannot be done here, such as on a full disk. No fault of the release."""

    at: float
    reason: str


@dataclass(frozen=True)
class Aged:
    """Time went by without a BAD: the next stage, when it is due."""

    at: float


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
    """A person is about to remove a release from the disk."""

    release: str
    at: float


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
    | Rollback
    | Done
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
    """triton@<slot> is disabled and stops."""

    slot: str


@dataclass(frozen=True)
class Lanes:
    """All lanes lead to the slot."""

    slot: str


Effect = Link | Start | Stop | Lanes
