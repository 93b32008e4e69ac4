"""Judges what a node measured: each figure against its floor and against the fleet's median. Pure.

Nothing that was not read ever passes: a figure that nobody has is UNKNOWN, and a fault that no figure is about still
fails.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dsops.core.accept.figures import ALL, About, Scope, Sense, get_about
from dsops.core.accept.measured import NODE, Fault, Figure, Gap, Gpu, Lack, Measurement

# Of the fleet's median. GPUs of one kind in one sound server differ by 5 %.
SHARE = 0.9
# So many others make a median: with fewer, one that is odd would move it.
OTHERS = 3


class Outcome(StrEnum):
    """Of one figure or look."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """Of a node. incomplete: nothing failed, but something that is wanted was not done or not read."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Check:
    """One figure, judged. bound: its floor, or the most that it may be. median: of the others in the fleet.

    is_wanted: it was skipped, and without it the node is not accepted.
    """

    name: str
    outcome: Outcome
    gpu: int = NODE
    peer: int = NODE
    value: float | None = None
    unit: str = ""
    bound: float | None = None
    median: float | None = None
    reason: str = ""
    mend: str = ""
    is_wanted: bool = False
    is_look: bool = False

    @property
    def title(self) -> str:
        """What it is, for a person."""
        return get_about(self.name, is_look=self.is_look).title


@dataclass(frozen=True)
class Floors:
    """Of one GPU model: figure -> its bound, with where that is from."""

    name: str
    source: str
    date: str
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class Other:
    """One figure of another GPU or node of the fleet. model: the GPU's name; of a node's own figure, all its GPUs."""

    name: str
    value: float
    model: str


@dataclass(frozen=True)
class Rules:
    """By what a node is judged. floors: PCI device id -> floors. site: the inventory's own bounds, which win.

    others: figures of the rest of the fleet. gpus: how many it should have, None = not said.
    """

    floors: Mapping[str, Floors] = field(default_factory=dict)
    site: Mapping[str, float] = field(default_factory=dict)
    others: Sequence[Other] = ()
    gpus: int | None = None
    share: float = SHARE


def judge(measured: Measurement, rules: Rules) -> tuple[Check, ...]:
    """Every figure that an acceptance knows, of each GPU and of the node; what failed is in the order of its weight."""
    checks: list[Check] = []
    for about in ALL:
        if about.scope is Scope.NODE or (about.scope is Scope.GPUS and measured.gpus):
            checks.append(_judge_one(measured, rules, about, gpu=None))
        elif about.scope in (Scope.GPU, Scope.PAIR):
            for gpu in measured.gpus:
                checks += _judge_pairs(measured, rules, about, gpu) if about.scope is Scope.PAIR else []
                checks += [_judge_one(measured, rules, about, gpu=gpu)] if about.scope is Scope.GPU else []
    return (*_tell_unplaced(measured, checks), *checks)


def decide(checks: Iterable[Check]) -> Verdict:
    """A node passes when nothing failed, and nothing that is wanted is missing."""
    found = list(checks)
    if any(one.outcome is Outcome.FAIL for one in found):
        return Verdict.FAIL
    if any(one.outcome is Outcome.UNKNOWN or one.is_wanted for one in found) or not found:
        return Verdict.INCOMPLETE
    return Verdict.PASS


def list_others(measured: Measurement, *, but: int | None = None) -> Iterator[Other]:
    """The figures of a node, as its neighbours are compared with them. but: one GPU that is left out."""
    models = {gpu.index: gpu.name for gpu in measured.gpus}
    for one in measured.figures:
        if one.gpu == NODE or one.gpu != but:
            yield Other(one.name, one.value, models.get(one.gpu) or name_server(measured.gpus))


def name_server(gpus: Sequence[Gpu]) -> str:
    """Servers with the same GPUs are of one kind: their disks and networks are compared too."""
    return ", ".join(sorted(gpu.name for gpu in gpus))


def find_kind(gpus: Sequence[Gpu]) -> Gpu | None:
    """The GPU that stands for all; None where they differ, or there is none."""
    return gpus[0] if gpus and len({gpu.name for gpu in gpus}) == 1 else None


def _judge_pairs(measured: Measurement, rules: Rules, about: About, gpu: Gpu) -> list[Check]:
    found = [one for one in measured.figures if (one.name, one.gpu) == (about.name, gpu.index)]
    if not found:
        return [_judge_one(measured, rules, about, gpu=gpu)]
    return [_judge_figure(measured, rules, about, one, gpu) for one in found]


def _judge_one(measured: Measurement, rules: Rules, about: About, *, gpu: Gpu | None) -> Check:
    place = gpu.index if gpu else NODE
    if about.is_look:
        return _judge_look(measured, about, place)
    figure = next((one for one in measured.figures if (one.name, one.gpu) == (about.name, place)), None)
    if figure is None:
        return _tell_gap(measured.gaps, about, place)
    return _judge_figure(measured, rules, about, figure, gpu)


def _judge_look(measured: Measurement, about: About, place: int) -> Check:
    faults = [one.what for one in measured.faults if (one.part, one.gpu) == (about.name, place)]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return Check(about.name, Outcome.FAIL, place, reason=faults[0] + more, mend=about.mend, is_look=True)
    sound = next((one for one in measured.sounds if (one.part, one.gpu) == (about.name, place)), None)
    if sound is None:
        return _tell_gap(measured.gaps, about, place)
    return Check(about.name, Outcome.PASS, place, reason=sound.says, is_look=True)


def _tell_gap(gaps: Sequence[Gap], about: About, place: int) -> Check:
    gap = next((one for one in gaps if (one.name, one.gpu) == (about.name, place)), None)
    if gap is None:
        gap = Gap(about.name, Lack.UNREAD, "it was not measured, and nobody said why", place)
    outcome = Outcome.UNKNOWN if gap.lack is Lack.UNREAD else Outcome.SKIPPED
    wanted = gap.lack in (Lack.UNREAD, Lack.UNDONE)
    return Check(about.name, outcome, place, reason=gap.why, is_wanted=wanted, is_look=about.is_look)


def _judge_figure(measured: Measurement, rules: Rules, about: About, figure: Figure, gpu: Gpu | None) -> Check:
    bound, whose = _find_bound(measured, rules, about, figure, gpu)
    median = _find_median(measured, rules, about, figure, gpu)
    value, unit = figure.value, figure.unit or about.unit

    def check(outcome: Outcome, reason: str = "", mend: str = "", *, is_wanted: bool = False) -> Check:
        return Check(
            about.name,
            outcome,
            figure.gpu,
            figure.peer,
            value if math.isfinite(value) else None,
            unit,
            bound,
            median,
            reason,
            mend,
            is_wanted,
        )

    if not math.isfinite(value):
        return check(Outcome.UNKNOWN, f"{value} is no number", is_wanted=True)
    if about.sense is Sense.MOST and bound is not None:
        says = f"{_say(value, unit)}, at most {_say(bound, unit)} ({whose})"
        return check(Outcome.PASS, says) if value <= bound else check(Outcome.FAIL, says, about.mend)
    if bound is not None and not value >= bound:
        says = f"{_say(value, unit)}, under the floor of {_say(bound, unit)} ({whose})"
        return check(Outcome.FAIL, says, about.mend)
    if median is not None and not value >= rules.share * median:
        says = f"{_say(value, unit)}, {value / median:.0%} of the fleet's median of {_say(median, unit)}"
        return check(Outcome.FAIL, f"{says}; at least {rules.share:.0%} are wanted", about.mend)
    if bound is None and median is None:
        about_gpu = f" for {gpu.name}" if gpu else ""
        return check(Outcome.SKIPPED, f"only told: no floor is known{about_gpu}, and no {OTHERS} others are to compare")
    return check(
        Outcome.PASS, "" if bound is not None else f"no floor is known: {rules.share:.0%} of the median counts"
    )


def _find_bound(
    measured: Measurement, rules: Rules, about: About, figure: Figure, gpu: Gpu | None
) -> tuple[float | None, str]:
    """(bound, whose it is): the site's own, the catalog's, the device's, or what holds for all."""
    if about.name in rules.site:
        return rules.site[about.name], "this site's accept_floors"
    if about.name == "gpu_count" and rules.gpus is not None:
        return rules.gpus, "agent_gpus in the inventory"
    kind = gpu or (find_kind(measured.gpus) if about.scope is Scope.GPUS else None)
    floors = rules.floors.get(kind.id) if kind else None
    if floors and about.name in floors.bounds:
        return floors.bounds[about.name], f"catalog, {floors.name}"
    if figure.bound is not None:
        return figure.bound, "the device's own"
    return about.bound, "for every GPU" if gpu else "for every node"


def _find_median(measured: Measurement, rules: Rules, about: About, figure: Figure, gpu: Gpu | None) -> float | None:
    """Of other GPUs of this model, in this node and elsewhere; for a node's own figure, of servers of its kind."""
    if not about.by_fleet:
        return None
    model = gpu.name if gpu else name_server(measured.gpus)
    values = [one.value for one in rules.others if (one.name, one.model) == (about.name, model)]
    if gpu:
        values += [
            one.value for one in list_others(measured, but=figure.gpu) if (one.name, one.model) == (about.name, model)
        ]
    values = [one for one in values if math.isfinite(one)]
    return statistics.median(values) if len(values) >= OTHERS else None


def _tell_unplaced(measured: Measurement, checks: Sequence[Check]) -> list[Check]:
    """Faults of parts that nobody here knows: they fail all the same."""
    known = {(one.name, one.gpu) for one in checks if one.is_look}
    return [_fail(one) for one in measured.faults if (one.part, one.gpu) not in known]


def _fail(fault: Fault) -> Check:
    return Check(fault.part, Outcome.FAIL, fault.gpu, reason=fault.what, mend="`nvidia-smi`, `dmesg`", is_look=True)


def _say(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
