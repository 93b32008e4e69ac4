"""What the real checks see on a pretended server: sweeps of its GPUs, a reading of its machine, lines of its kernel."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from dsops.core.status import Finding, Slot
from dsops.node.checks.check import Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.sources.gpu_counters import GpuCounters
from dsops.node.sources.gpus import Reading
from dsops.node.sources.kernel_log import KernelLog, Record
from dsops.node.sources.machine import HostSeen

from tests.node.checks.bare_metal import Server
from tests.node.checks.gpu_bed import BASELINE, HEALTHY, RULES, SERVING

# GPUs, disks and the machine are read so often.
BEAT = 5
BOOT = "b1"


@cache
def get_host() -> HostSeen:
    """A machine that is well, as the real readers find it."""
    with tempfile.TemporaryDirectory() as folder:
        return Server(Path(folder)).see()


class Lines(KernelLog):
    """A kernel's log in memory."""

    def __init__(self) -> None:
        super().__init__(Path("the kernel's log"))
        self.reason = ""
        self.waiting: list[Record] = []

    @property
    def is_open(self) -> bool:
        return True

    def read(self) -> list[Record]:
        records, self.waiting = self.waiting, []
        return records


class Sights:
    """The real Checkup, fed as the agent's loop feeds it. reading, host: what would be sampled now.

    Sweeps and readings are made every BEAT. While all is well and the ledger remembers nothing, one more look changes
    nothing: then the checks are at rest, and `want_look` says so.
    """

    def __init__(self) -> None:
        self.reading: Reading = HEALTHY
        self.host = get_host()
        self.lines = Lines()
        self.slots: tuple[Slot, ...] = (SERVING,)
        self.checkup = Checkup(RULES, log=self.lines)
        self.checkup.take_kept(None, boot=BOOT)
        self.is_at_rest = True
        self._is_looking = False
        self._sampled = (self.reading, self.host)
        self._counters = GpuCounters()
        self._seq = 0
        self.look(now=0.0, wall=0.0)

    def change(self, *, reading: Reading | None = None, host: HostSeen | None = None) -> None:
        """From now on this is read."""
        self.reading, self.host = reading or self.reading, host or self.host
        self.is_at_rest = False

    def say(self, *lines: str, at: float) -> None:
        """The kernel does."""
        for line in lines:
            self._seq += 1
            self.lines.waiting.append(Record(self._seq, 3, at, line))
        self.is_at_rest = False

    def lose(self, lines: int) -> None:
        """A flood wrote over them before they were read."""
        self.lines.lost += lines
        self.is_at_rest = False

    def go_blind(self, reason: str) -> None:
        """The kernel's log cannot be read."""
        self.lines.reason = reason
        self.is_at_rest = False

    def mend(self) -> None:
        """Everything is well and can be read; what was found stays until the checks let go of it."""
        self.reading, self.host, self.lines.reason = HEALTHY, get_host(), ""

    def clear(self) -> None:
        """A person mended it and looked at it all: `dsops node clear`."""
        self.mend()
        self.checkup.clear()
        self._sampled = (self.reading, self.host)
        self.is_at_rest, self._is_looking = True, False

    def want_look(self, now: float) -> bool:
        """Whether this tick could see anything that is not known yet."""
        return not self.is_at_rest and (self._is_looking or now % BEAT == 0)

    def read_kernel(self, *, now: float, wall: float) -> bool:
        """Whether it asks for traffic to go away."""
        return self.checkup.read_kernel(now=now, wall=wall)

    def find(self, *, now: float, wall: float) -> tuple[Finding, ...]:
        """As of now."""
        return self.checkup.find(now=now, wall=wall)

    def look(self, *, now: float, wall: float) -> tuple[Finding, ...]:
        """One tick."""
        beat = f"{now // BEAT:.0f}"
        if now % BEAT == 0:
            self._sampled = (self.reading, self.host)
            self._counters = self._counters.add(self.reading, at=now)
        reading, host = self._sampled
        machine = replace(host.machine, sample=beat)
        storage = replace(host.storage, sample=beat)
        self.read_kernel(now=now, wall=wall)
        self.checkup.look(
            Scene(
                at=wall,
                ticks=now,
                boot=BOOT,
                gpus=reading,
                gpus_sample=beat,
                expected_gpus=len(HEALTHY.gpus),
                gpu_counters=self._counters,
                slots=self.slots,
                limits=RULES.limits,
                host=replace(host, machine=machine, storage=storage),
                baseline=BASELINE,
            )
        )
        self.is_at_rest = self._is_well and not self._is_stirred
        self._is_looking = not self.is_at_rest
        return self.find(now=now, wall=wall)

    @property
    def _is_well(self) -> bool:
        is_heard = not self.lines.reason and not self.lines.waiting
        return self._sampled == (self.reading, self.host) == (HEALTHY, get_host()) and is_heard

    @property
    def _is_stirred(self) -> bool:
        lines = self.checkup.ledger.lines.values()
        return any(one.failed is not None or one.streak or one.unknown_since is not None for one in lines)
