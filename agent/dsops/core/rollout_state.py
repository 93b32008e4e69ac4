"""What a rollout must not forget: what was asked, how far each node is, what its samples said so far. Pure.

Times are Unix seconds of the control host. All of it is plain data: `core.decode.decode(Rollout, data)` reads it back.
"""

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.samples import NOTHING, ReleaseTally, Tally
from dsops.core.state import Epoch

STEPS = (1, 5, 25, 50, 100)
VERSION = 1


class Status(StrEnum):
    """Where a rollout stands. What holds it for the moment is `Rollout.hold`, not a status."""

    RUNNING = "running"
    PAUSED = "paused"  # a person's; the gates go on judging
    ABORTING = "aborting"  # every node that has it goes back
    ABORTED = "aborted"
    DONE = "done"


class Stand(StrEnum):
    """How far one node is in a rollout."""

    WAITS = "waits"  # its turn has not come
    COMES = "comes"  # it was told a share and is not there yet
    HAS = "has"  # it has the share that it was told
    LEAVES = "leaves"  # it was told to go back
    LEFT = "left"  # it went back, told or by itself
    STUCK = "stuck"  # it refuses, or does not get there in time
    LOST = "lost"  # it has, or was told, the release, and is unreachable: that counts as failed
    OUT = "out"  # it takes no part: a person drained it, it is gone, or a person goes on without it


class Judgement(StrEnum):
    """What the gates say of the step. HOLD never promotes."""

    PASS = "pass"  # noqa: S105 - a verdict
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True)
class Rules:
    """What a person asked for. steps: percent of the fleet, growing, the last is 100.

    min_sample: requests to the new release, real and synthetic, before a step may pass. hold_at: the step after which
    a person decides (an A/B share), 0 = none. unavailable: how many of a pool may be out at once, 0 = a tenth.
    patience_minutes: how long a node may take to its share. lost_minutes: how long it may be unreachable.
    """

    steps: tuple[int, ...] = STEPS
    canary_minutes: float = 30.0
    step_minutes: float = 30.0
    min_sample: int = 800
    hold_at: int = 0
    unavailable: int = 0
    patience_minutes: float = 60.0
    lost_minutes: float = 5.0


@dataclass(frozen=True)
class Counted:
    """Samples of one release, gathered over nodes and looks: its clients' requests and those of dsops."""

    real: Tally = NOTHING
    synthetic: Tally = NOTHING

    @property
    def requests(self) -> int:
        return self.real.requests + self.synthetic.requests


@dataclass(frozen=True)
class Part:
    """One node's part. alone: two copies do not fit, so it is drained first and gets share 100 at once.

    before: the release that it had. wants: the share that it was told; share: the one it was seen with last; had: it
    was seen with the release at least once. asked_at: when it was told last. since: when its stand began. gone_at:
    since when it is unreachable, 0 while it answers; is_gone: from the inventory. drained: by this rollout;
    is_drain_seen: and so it was seen; is_shut: for good, since it has nothing to go back to. closed: by whom else it
    is drained, and why. dropped: a person goes on without it. is_other: nobody named it; it only counts for how many
    of its pool may be out. is_counted: its counters were seen; heard_at: the last
    time; last: as seen then; new, old: what came of both releases in this step.
    """

    node: str
    pool: str = "gpu"
    alone: bool = False
    before: str = ""
    stand: Stand = Stand.WAITS
    reason: str = ""
    wants: int = 0
    share: int = 0
    had: bool = False
    asked_at: float = 0.0
    since: float = 0.0
    gone_at: float = 0.0
    is_gone: bool = False
    drained: bool = False
    is_drain_seen: bool = False
    is_shut: bool = False
    closed: str = ""
    dropped: bool = False
    is_other: bool = False
    is_serving: bool = True
    is_moving: bool = False
    is_counted: bool = False
    heard_at: float = 0.0
    last: tuple[ReleaseTally, ...] = ()
    new: Counted = Counted()
    old: Counted = Counted()


@dataclass(frozen=True)
class Judged:
    """What one gate says: of failed requests, wrong answers, time to the first token, time per token.

    p: how likely so much of a difference is by chance, None where nothing was tested. new, old: the shares or the
    mean seconds that were compared, None where there was nothing.
    """

    gate: str
    judgement: Judgement
    says: str
    p: float | None = None
    new: float | None = None
    old: float | None = None


@dataclass(frozen=True)
class Trial:
    """The step's gates so far. tested: the sample at the last test for harm; tests: how many were made (see stats).

    passes: tests for PASS so far; passed_at: the sample at the last of them; is_passed: what it
    said; waits: why not yet.
    """

    judged: tuple[Judged, ...] = ()
    tests: int = 0
    tested: int = 0
    passes: int = 0
    passed_at: int = 0
    is_passed: bool = False
    waits: str = ""


@dataclass(frozen=True)
class Rollout:
    """One release on its way over a fleet.

    step: index into rules.steps. baked: seconds that count towards the step's bake; they stop while anything holds.
    baking: every node of the step had its share at the last look. seen_at: its time. hold: why nothing goes forward
    now, "" when it does. ended: hold_at was ended by a person. failed: why the release is bad, "" while it is not.
    history: what the releases before showed in the steps so far; known: and before the rollout began.
    """

    id: str
    release: str
    who: str
    reason: str
    began: float
    rules: Rules
    epoch: Epoch
    parts: tuple[Part, ...]
    status: Status = Status.RUNNING
    step: int = 0
    baked: float = 0.0
    baking: bool = False
    step_began: float = 0.0
    seen_at: float = 0.0
    hold: str = "no look yet"
    failed: str = ""
    ended: bool = False
    trial: Trial = Trial()
    history: Counted = Counted()
    known: Counted = Counted()
    said: str = ""
    version: int = VERSION

    def find_part(self, node: str) -> Part | None:
        """One node's part, None when it has none."""
        return next((part for part in self.parts if part.node == node), None)

    @property
    def members(self) -> tuple[Part, ...]:
        """Those that it is for."""
        return tuple(part for part in self.parts if not part.is_other)

    @property
    def percent(self) -> int:
        """Of the step under way."""
        return self.rules.steps[self.step]

    @property
    def is_over(self) -> bool:
        return self.status in (Status.DONE, Status.ABORTED)

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def parse_rollout(text: str | bytes, *, where: str) -> Rollout:
    """Raises DsopsError, naming the key, on what is no rollout of this version."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"is no rollout ({error})", where=where) from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise DsopsError(
            f"rollout version {version!r} is not {VERSION}", where=where, mend="use the dsops that wrote it"
        )
    return decode(Rollout, data, where=where)
