"""Where a release lies on a node (hot, cold or both), and how long it takes until it serves from there. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.errors import DsopsError
from dsops.core.node import find_hot
from dsops.core.state import NodeState

# So many times what comes must be free: a file system needs some for itself, and the journal and logs go on (R16).
SPARE = 1.1
WARM_SECONDS = 1.0
# What a start needs beside loading: Triton itself, and the golden prompts.
START_SECONDS = 3.0
# A 7200 rpm disk reads about so much even where it is slowest, near its hub. Counts until this node has measured.
COLD_BYTES_PER_SECOND = 100e6


class Tier(StrEnum):
    """The file systems that hold a release whole."""

    HOT = "hot"
    COLD = "cold"
    BOTH = "hot+cold"


class Way(StrEnum):
    """What must be done before it serves: nothing, load it, or copy it from the cold tier and load it."""

    WARM = "warm slot"
    HOT = "hot"
    COLD = "cold"


@dataclass(frozen=True)
class Start:
    """How a release would come to serve. load: seconds; copy: bytes that the hot tier lacks; rate: of the cold tier."""

    way: Way
    load: float
    copy: int = 0
    rate: float = COLD_BYTES_PER_SECOND

    @property
    def copy_seconds(self) -> float:
        """Seconds until it lies on the hot tier."""
        return self.copy / self.rate if self.way is Way.COLD else 0.0

    @property
    def seconds(self) -> float:
        """Seconds until it serves."""
        return WARM_SECONDS if self.way is Way.WARM else self.copy_seconds + self.load + START_SECONDS


class ColdError(DsopsError):
    """What is wanted lies on the cold tier only, and nothing else stands against it. release: which must be heated."""

    def __init__(self, what: str, *, release: str, where: str = "", mend: str = "") -> None:
        self.release = release
        super().__init__(what, where=where, mend=mend)


def render_seconds(seconds: float) -> str:
    """As a person says it: `9 s`, `12 min`, `2.1 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def choose_old(state: NodeState, came: Mapping[str, float], *, at: float) -> tuple[str, ...]:
    """Those that may go cold without being asked: what is bad first, then what was wanted least lately.

    came: release -> Unix seconds when it came to the hot tier, of all that are there. What came after the active
    release got its traffic is no old one: somebody brought it for what comes next.
    """
    if state.active is None:
        return ()
    must, since = find_hot(state, at=at), state.active.since
    had = {one.release: one.since for one in state.fallbacks}
    bad = {name for name in came if state.find_bad(name, at=at)}
    old = [name for name in came if name not in must and (name in bad or came[name] <= since)]
    return tuple(sorted(old, key=lambda name: (name not in bad, had.get(name, came[name]), name)))
