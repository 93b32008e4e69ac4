"""When the whole fleet stops going forward: too many releases fell within an hour (B4). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_SECONDS = 3600.0
OF_ONE, OF_ANY = 2, 3


@dataclass(frozen=True)
class Fall:
    """A release that was given up: by a node by itself (its name), or by a rollout's gates (node "").

    at: Unix seconds of the control host when it learnt of it. Going back because a rollout said so counts for
    nothing more: that is the consequence of one fall.
    """

    at: float
    release: str
    node: str = ""
    reason: str = ""


def find_halt(falls: tuple[Fall, ...], *, at: float) -> str:
    """Why the fleet is halted, "" when it is not: two falls of one release, or three of any, within one hour.

    falls: those that were recorded since the last `dsops rollout reset`. Whoever finds a reason keeps it until a
    person resets it: an hour later nothing is mended by itself. A clock that was set back takes no fall away.
    """
    recent = tuple(dict.fromkeys(fall for fall in falls if at - fall.at < WINDOW_SECONDS))  # twice told is one fall
    for release in dict.fromkeys(fall.release for fall in recent):
        mine = [fall for fall in recent if fall.release == release]
        if len(mine) >= OF_ONE:
            return f"{release} fell {len(mine)} times within an hour: {_tell(mine)}"
    if len(recent) >= OF_ANY:
        return f"{len(recent)} releases fell within an hour: {_tell(recent)}"
    return ""


def _tell(falls: Iterable[Fall]) -> str:
    return "; ".join(
        f"{fall.release} on {fall.node or 'the fleet'} ({fall.reason or 'no reason told'})" for fall in falls
    )
