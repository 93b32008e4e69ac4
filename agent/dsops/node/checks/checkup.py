"""The checks over time: what they see goes into the ledger, and findings come out. State lives here only."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dsops.core.checks import DRAINS, Sight
from dsops.core.errors import DsopsError
from dsops.core.ledger import Ledger
from dsops.core.status import Finding, Verdict
from dsops.node.checks import kernel
from dsops.node.checks.board import Board
from dsops.node.checks.catalogue import CHECKS
from dsops.node.checks.check import Check, Scene, look
from dsops.node.checks.rules import Rules
from dsops.node.sources.kernel_log import KernelLog, Record

log = logging.getLogger("dsops.agent")
# The log is looked at again after so long, when it could not be opened.
OPEN_AGAIN_SECONDS = 10.0
UNREADABLE = "kernel.blind"
LOST = "kernel.lost"


class Checkup:
    """Fed by the loop with what was sampled, and with the kernel's lines at the moment in which they come.

    log: None where this server has no kernel of its own. xids: (such as `Xid 79`, entity) -> how often, since the
    agent's start.
    """

    def __init__(self, rules: Rules, *, checks: Sequence[Check] = CHECKS, log: KernelLog | None = None) -> None:
        self.rules = rules
        self.log = log
        self.ledger = Ledger()
        self.skipped: Mapping[str, str] = {}
        self.xids: Counter[tuple[str, str]] = Counter()
        self.board = Board(checks)
        self._checks = checks
        self._looked: dict[str, float] = {}
        self._gpus: dict[str, str] = {}
        self._seq, self._at = -1, float("-inf")
        self._lost = 0
        self._opened = float("-inf")

    # --- over the agent's own restarts --------------------------------------------------------------------------

    def keep(self) -> dict[str, Any]:
        """Plain data for `take_kept`."""
        return {"ledger": self.ledger.to_data(), "seq": self._seq, "at": self._at}

    def take_kept(self, data: object, *, boot: str) -> None:
        """What an earlier life saw in this boot goes on; what cannot be read is forgotten, and said."""
        try:
            if isinstance(data, Mapping):
                self.ledger = Ledger.from_data(data["ledger"])
                if self.ledger.boot == boot:
                    # An older build kept no time: then the number alone tells.
                    self._seq, self._at = int(data["seq"]), float(data.get("at", math.inf))
        except (DsopsError, LookupError, TypeError, ValueError) as error:
            log.warning("what the checks knew is lost: %s", error)
            self.ledger, self._seq, self._at = Ledger(), -1, float("-inf")
        self.ledger.begin(boot)

    def clear(self, *, until: float = math.inf) -> None:
        """A person looked at it all, at that time (Unix seconds)."""
        self.ledger.clear(until=until)

    # --- looking ------------------------------------------------------------------------------------------------

    def look(self, scene: Scene) -> None:
        """One sample: every check whose time has come."""
        self._name_gpus(scene)
        due = [one for one in self._checks if scene.ticks - self._looked.get(one.name, float("-inf")) >= one.every]
        self._looked |= {one.name: scene.ticks for one in due}
        outcome = look(due, scene)
        names = {one.name for one in due}
        self.skipped = {name: why for name, why in self.skipped.items() if name not in names} | dict(outcome.skipped)
        self._take(outcome.sights, now=scene.ticks, wall=scene.at)
        self.board.take(due, outcome, scene)
        self.ledger.expire(self.rules.rules, now=scene.ticks)

    def _name_gpus(self, scene: Scene) -> None:
        """One that does not answer any more keeps its name: the kernel tells of it then."""
        names = {find_bus(gpu.pci): f"gpu{gpu.index}" for gpu in scene.gpus.gpus if gpu.pci}
        self._gpus = {bus: name for bus, name in self._gpus.items() if name not in names.values()} | names

    def read_kernel(self, *, now: float, wall: float) -> bool:
        """Judges the lines that came since; whether one of them asks for traffic to go away."""
        if self.log is None or not self._may_open(now):
            return False
        records = self.log.read()
        self.board.read_at = wall
        self._see_log(now=now, wall=wall)
        urgent = self.take_records(records, now=now, wall=wall)
        if self._at == math.inf:  # whatever comes from now on is new, also in a log that begins anew
            self._at = now
        return urgent

    def take_records(self, records: Iterable[Record], *, now: float, wall: float) -> bool:
        """Lines of the kernel, each judged as of its own moment: an old one is not news."""
        urgent = False
        for record in records:
            # A container's log may begin anew within one boot of its kernel: then only the time tells.
            if record.seq <= self._seq and record.at <= self._at:
                continue
            self._seq, self._at = record.seq, record.at
            age = max(0.0, now - record.at)
            for sight in kernel.look_at(record, self.rules, self.find_gpu):
                self._take([sight], now=now - age, wall=wall - age)
                if sight.code.startswith(("xid.", "sxid.")):
                    self.xids[(sight.reason.split(":")[0].split(",")[0], sight.entity)] += 1
                urgent = urgent or (sight.measure or self.rules.rules[sight.code].measure) in DRAINS
        return urgent

    def find(self, *, now: float, wall: float) -> tuple[Finding, ...]:
        """What is wrong now, the worst first."""
        return self.ledger.find(self.rules.rules, now=now, wall=wall)

    def find_gpu(self, pci: str) -> str:
        """The GPU's name; its address while nobody knows which one that is."""
        return self._gpus.get(find_bus(pci), f"gpu {find_bus(pci)}")

    def _may_open(self, now: float) -> bool:
        """A log that could not be opened is tried again after a while."""
        assert self.log
        if self.log.is_open:
            return True
        if now - self._opened < OPEN_AGAIN_SECONDS:
            return False
        self._opened = now
        return True

    def _see_log(self, *, now: float, wall: float) -> None:
        assert self.log
        verdict = Verdict.BAD if self.log.reason else Verdict.OK
        sights = [Sight(UNREADABLE, "kernel", verdict, f"{now:.3f}", self.log.reason)]
        if self.log.lost > self._lost:
            lost, self._lost = self.log.lost - self._lost, self.log.lost
            sights.append(Sight(LOST, "kernel", Verdict.BAD, f"{self.log.lost}", f"{lost} lines were overwritten"))
        self._take(sights, now=now, wall=wall)

    def _take(self, sights: Iterable[Sight], *, now: float, wall: float) -> None:
        self.ledger.take(sights, self.rules.rules, now=now, wall=wall)


def find_bus(pci: str) -> str:
    """`0000:3b:00` of the ways in which drivers write an address: with eight digits, capitals, or a function."""
    place, _, device = pci.lower().partition(".")[0].rpartition(":")
    domain, _, bus = place.rpartition(":")
    return f"{domain[-4:]:0>4}:{bus}:{device}"
