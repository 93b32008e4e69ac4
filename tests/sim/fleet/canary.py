"""Canaries that are only judged: how often the gates miss a worse release, and call a good one worse."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from dsops.core.judge import Evidence, find_judgement, look_for_harm, look_for_pass, want_pass_test
from dsops.core.rollout_state import Counted, Judgement, Rules, Trial
from dsops.core.samples import Tally

from tests.sim.fleet.dice import draw_failures

RULES = Rules()


@dataclass(frozen=True)
class Setting:
    """Requests a minute: clients' to the canary, and to the active release on that node; dsops' own to each of both."""

    name: str
    real: float
    real_old: float
    synthetic: int


SETTINGS = (
    Setting("dsops' own requests only", 0.0, 0.0, 40),
    Setting("1 request a second on the node", 0.6, 59.4, 27),
    Setting("20 requests a second on the node", 12.0, 1188.0, 20),
)
# A canary that is not decided after a day is called undecided.
DAY = 24 * 60


@dataclass
class Arm:
    """One release's counters."""

    rate: float
    real: int = 0
    real_failed: int = 0
    synthetic: int = 0
    synthetic_failed: int = 0

    def add(self, rng: Random, real: int, synthetic: int) -> None:
        self.real += real
        self.real_failed += draw_failures(rng, real, self.rate)
        self.synthetic += synthetic
        self.synthetic_failed += draw_failures(rng, synthetic, self.rate)

    def count(self) -> Counted:
        return Counted(Tally(self.real, self.real_failed), Tally(self.synthetic, self.synthetic_failed))


def play_canary(rng: Random, setting: Setting, *, new: float, old: float) -> tuple[str, int]:
    """(promoted, aborted or undecided; minutes until then). A look a minute, as a rollout's brain makes it."""
    mine, theirs, trial = Arm(new), Arm(old), Trial()
    for minute, (real, real_old) in enumerate(_find_traffic(setting), start=1):
        mine.add(rng, real, setting.synthetic)
        theirs.add(rng, real_old, setting.synthetic)
        evidence = Evidence(new=mine.count(), beside=theirs.count(), wide=theirs.count())
        before, trial = trial, look_for_harm(trial, evidence)
        if trial is not before and find_judgement(trial.judged)[0] is Judgement.FAIL:
            return "aborted", minute
        if minute >= RULES.canary_minutes and want_pass_test(trial, evidence, RULES):
            trial = look_for_pass(trial, evidence, RULES)
            if find_judgement(trial.judged)[0] is Judgement.PASS:
                return "promoted", minute
    return "undecided", DAY


def _find_traffic(setting: Setting) -> Iterator[tuple[int, int]]:
    """Whole requests of each minute."""
    for minute in range(1, DAY + 1):
        yield tuple(int(rate * minute) - int(rate * (minute - 1)) for rate in (setting.real, setting.real_old))  # type: ignore[misc]


@dataclass(frozen=True)
class Rates:
    """What became of many canaries, in shares of them, and after how many minutes, half of them and 95 %."""

    promoted: float
    aborted: float
    undecided: float
    half: int
    most: int


def play_canaries(setting: Setting, *, new: float, old: float, count: int, seed: int) -> Rates:
    ends: Counter[str] = Counter()
    minutes = []
    for number in range(count):
        end, took = play_canary(Random(f"{seed}:{setting.name}:{new}:{number}"), setting, new=new, old=old)
        ends[end] += 1
        minutes.append(took)
    minutes.sort()
    shares = (ends[end] / count for end in ("promoted", "aborted", "undecided"))
    return Rates(*shares, minutes[count // 2], minutes[count * 95 // 100])
