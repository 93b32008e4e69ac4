"""A checkup with the shipped rules over sweeps of two healthy H100s, 5 s apart, and what a test makes of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from dsops.core.status import Finding, Phase, Slot, Verdict
from dsops.node.checks import gpus
from dsops.node.checks.check import Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.rules import get_shipped
from dsops.node.sources.gpu_counters import GpuCounters
from dsops.node.sources.gpu_values import Value
from dsops.node.sources.gpus import Reading, read_gpus

from tests.node.sources.fake_nvml import FakeNvml

RULES = get_shipped()
SECONDS = 5.0
HEALTHY = read_gpus(FakeNvml())
SERVING = Slot("a", "r1", "active", Phase.SERVING, "", waiting=0.0)
STOPPED = Slot("a", "r1", "inactive", Phase.STOPPED, "")
BASELINE = {(f"gpu{index}", "nvlinks_active"): 18.0 for index in range(2)}
# A number, a word, an error, or nothing at all; or how that comes from the number of the sweep.
Change = float | str | Exception | None
Changes = Mapping[str, Change | Callable[[int], Change]]


def make_value(gpu: int, key: str, change: Change) -> Value:
    if isinstance(change, Exception):
        return Value(gpu, key, error=str(change))
    return Value(gpu, key, text=change) if isinstance(change, str) else Value(gpu, key, change)


def make_reading(changes: Changes, sweep: int = 0, *, gpus: tuple[int, ...] = (0,)) -> Reading:
    """Healthy ones, where these GPUs say otherwise."""
    table = dict(HEALTHY.table)
    for gpu in gpus:
        for key, change in changes.items():
            now = change(sweep) if callable(change) else change
            table.pop((gpu, key), None)
            if now is not None:
                table[gpu, key] = make_value(gpu, key, now)
    return replace(HEALTHY, values=tuple(table.values()))


class Bed:
    """ticks: of the last sweep. code: only the check that may say it, or all."""

    def __init__(
        self, *, expected: int | None = 2, baseline: Mapping[tuple[str, str], float] = BASELINE, code: str = ""
    ) -> None:
        checks = [one for one in gpus.CHECKS if code in ("", *one.codes)]
        self.checkup = Checkup(RULES, checks=checks)
        self.checkup.take_kept(None, boot="b1")
        self.ticks = 1000.0
        self.slots: tuple[Slot, ...] = (SERVING,)
        self._expected = expected
        self._baseline = baseline
        self._counters = GpuCounters()
        self._sweeps = 0

    def sweep(self, reading: Reading) -> None:
        self._sweeps += 1
        self.ticks += SECONDS
        self._counters = self._counters.add(reading, at=self.ticks)
        scene = Scene(
            at=1e9 + self.ticks,
            ticks=self.ticks,
            boot="b1",
            gpus=reading,
            gpus_sample=str(self._sweeps),
            expected_gpus=self._expected,
            gpu_counters=self._counters,
            slots=self.slots,
            limits=RULES.limits,
            baseline=self._baseline,
        )
        self.checkup.look(scene)

    def sweep_so(self, changes: Changes, *, seconds: float, gpus: tuple[int, ...] = (0,)) -> dict[str, Finding]:
        """For so long, and what is found then."""
        for sweep in range(int(seconds / SECONDS)):
            self.sweep(make_reading(changes, sweep, gpus=gpus))
        return self.find()

    def find(self) -> dict[str, Finding]:
        found = self.checkup.find(now=self.ticks, wall=1e9 + self.ticks)
        return {f"{one.entity} {one.code}": one for one in found}

    def get_verdict(self, code: str, entity: str) -> Verdict | None:
        """As it was seen last; None when it never was."""
        line = self.checkup.ledger.lines.get((code, entity))
        return line.verdict if line else None
