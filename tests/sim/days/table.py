"""What was played, beside what theory expects: the lines that are printed, and what is off."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.sim.days.play import Line, Tally
from tests.sim.days.real import REALS
from tests.sim.days.theory import find_baked, find_interval, find_rates
from tests.sim.days.unknown import KINDS


@dataclass(frozen=True)
class Compared:
    """One kind of false act on one line. low, high: 99.9 % of counts lie there, were the theory true."""

    line: Line
    what: str
    expected: float
    observed: int

    @property
    def interval(self) -> tuple[int, int]:
        return find_interval(self.expected)

    @property
    def is_good(self) -> bool:
        low, high = self.interval
        return low <= self.observed <= high


def compare(line: Line, tally: Tally) -> list[Compared]:
    """Every kind of false act that the line can have."""
    found = []
    for trial in (True, False):
        seconds = tally.lived[trial]
        if not seconds:
            continue
        rates, where = find_rates(line.rate, trial=trial), "on trial" if trial else "baked"
        baked = find_baked(rates)
        expected = {"traffic taken away": rates.eject}
        expected["restart of the gateway"] = rates.gateway if trial else baked.gateway
        expected |= {"rollback": rates.release} if trial else {}
        expected |= {} if trial else {"restart of the engine": baked.restarts, "rollback after it": baked.rollbacks}
        for what, rate in expected.items():
            observed = tally.count(*_ACTS[what], cause="flake", trial=trial)
            found.append(Compared(line, f"{where}: {what}", rate * seconds, observed))
    return found


# What is halted instead, since no budget is left, was to be done too.
_ACTS: Mapping[str, tuple[str, ...]] = {
    "traffic taken away": ("eject",),
    "restart of the gateway": ("restart gateway",),
    "restart of the engine": ("restart slot", "halt"),
    "rollback": ("rollback", "halt"),
    "rollback after it": ("rollback",),
}


def render(tallies: Mapping[Line, Tally]) -> Iterator[str]:
    """The table."""
    head = f"{'flake rate':<22}{'node-days':>11}"
    yield f"  {head}  {'false acts':<36}{'expected':>10}{'99.9 % within':>18}{'observed':>10}"
    for line, tally in tallies.items():
        head = f"{line.name:<22}{line.days:>11,.0f}"
        for one in compare(line, tally):
            low, high = one.interval
            off = "" if one.is_good else "  OFF"
            yield f"  {head:<33}  {one.what:<36}{one.expected:>10,.3g}{f'{low} to {high}':>18}{one.observed:>10,}{off}"
            head = ""
    yield from _render_causes(tallies)


def _render_causes(tallies: Mapping[Line, Tally]) -> Iterator[str]:
    whole = merge(tallies)
    storms, kinds = whole.happened["storms"], [one for one in KINDS if whole.happened[one.name]]
    unknown, nothing = (sum(n for (_, why, _), n in whole.acts.items() if why == c) for c in ("unknown", "nothing"))
    yield f"  acts from UNKNOWN: {unknown}; {storms:,} times one to three of {len(kinds)} kinds of ills hid the truth"
    yield f"  acts from nothing at all: {nothing}"
    yield f"  {'real faults':<42}{'were':>8}{'right':>8}  found, blamed, and done"
    for real in REALS:
        acts = ", then ".join(real.acts) or "told only"
        about = f"{real.code or '-'}; {real.blame or 'nobody'}; {acts}"
        yield f"  {real.name:<42}{whole.happened[real.name]:>8,}{whole.right[real.name]:>8,}  {about}"


def merge(tallies: Mapping[Line, Tally]) -> Tally:
    whole = Tally()
    for tally in tallies.values():
        whole.add(tally)
    return whole


def find_wrong(tallies: Mapping[Line, Tally]) -> list[str]:
    """Everything that is off."""
    wrong = [one for tally in tallies.values() for one in tally.wrong]
    for line, tally in tallies.items():
        wrong += [
            f"{line.name}, {one.what}: {one.observed} instead of {one.interval[0]} to {one.interval[1]}"
            for one in compare(line, tally)
            if not one.is_good
        ]
    return wrong
