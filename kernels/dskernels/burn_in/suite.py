"""The burn-in of all GPUs at once: each in a thread of its own, then pairs of them; nothing waits for ever."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from dskernels.burn_in import copies, memory, products, together
from dskernels.burn_in.kernel import Gpu
from dskernels.burn_in.machine import Machine, hold
from dskernels.burn_in.plan import Plan, Point, Tamper, leave
from dskernels.burn_in.report import Findings, Problem, Report, judge

Part = Callable[[Machine, Plan, Tamper, Findings], None]
PARTS: dict[str, Part] = {
    "memory": memory.walk,
    "copy": copies.copy,
    "triad": copies.triad,
    "host": copies.talk_to_host,
    "product": products.sustain,
    "repeat": products.repeat,
    "fp8": products.sustain_fp8,
}
# of one copy between two GPUs, in seconds
PEER_LIMIT = 10.0
# of the sum over all GPUs: NCCL takes some seconds to begin
REDUCE_LIMIT = 60.0


def run(machines: Sequence[Machine] | None = None, *, plan: Plan | None = None, tamper: Tamper = leave) -> list[Report]:
    """One report a GPU, at most plan.limit seconds later and some for the pairs. Default: every GPU there is.

    Never raises for what a GPU does: an error is a problem of the part that met it, and a GPU that stops answering is
    reported with the part it was in. Its thread cannot be ended: let a process do this work that may be killed.
    Raises KernelError for a GPU that is too old for it.
    """
    plan = plan or Plan()
    if machines is None:
        machines = [Gpu(index) for index in range(torch.cuda.device_count())]
    runs = [_Run(machine, plan, tamper) for machine in machines]
    for one in runs:
        one.start(one.do_parts)
    for one in runs:
        one.wait(plan.limit)
    answering = [one for one in runs if not one.is_stuck]
    if len(answering) > 1:
        for one in answering:
            for other in answering:
                if one is not other and not one.is_stuck:
                    one.start(partial(one.do, "peer", _from_peer(other.machine)))
                    one.wait(PEER_LIMIT)
    _reduce_all([one for one in runs if not one.is_stuck], whole=len(runs))
    return [one.report() for one in runs]


def _reduce_all(runs: Sequence["_Run"], *, whole: int) -> None:
    """The sum over all GPUs, told by the first one; nothing where there is one GPU, or one does not answer."""
    if len(runs) < 2 or len(runs) < whole:
        return
    first, machines = runs[0], [one.machine for one in runs]

    def part(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:  # noqa: ARG001 - a part's form
        together.all_reduce(machines, plan, tamper, findings)

    first.start(partial(first.do, together.PART, part))
    first.wait(REDUCE_LIMIT)


def _from_peer(other: Machine) -> Part:
    def part(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
        copies.copy_from_peer(machine, other, plan, tamper, findings)

    return part


class _Run:
    """Of one machine."""

    def __init__(self, machine: Machine, plan: Plan, tamper: Tamper) -> None:
        self.machine, self.plan, self.tamper = machine, plan, tamper
        self.findings, self.part, self.is_stuck = Findings(), "start", False
        self.begin, self.seconds = time.monotonic(), 0.0
        self.thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> None:
        self.thread = threading.Thread(target=work, daemon=True, name=f"burn-in of {self.machine.device}")
        self.thread.start()

    def wait(self, limit: float) -> None:
        """Until the thread ends, or is given up so many seconds after the machine's begin (or, later, from now)."""
        assert self.thread
        began = time.monotonic()
        self.thread.join(max(0.0, limit - (began - self.begin if self.seconds == 0 else 0)))
        self.seconds = time.monotonic() - self.begin
        if self.thread.is_alive():
            self.is_stuck = True
            found = self.findings
            taken = Findings(list(found.figures), list(found.problems), list(found.skips), list(found.done))
            taken.object_to(self.part, f"no answer within {limit:g} s")
            self.findings = taken

    def do_parts(self) -> None:
        for name, part in PARTS.items():
            if not self.is_stuck:
                self.do(name, part)

    def do(self, name: str, part: Part) -> None:
        """One part; an error becomes a problem."""
        findings, self.part = self.findings, name
        device = self.machine.device
        try:
            with hold(device):
                self.tamper(Point.STARTED, torch.empty(0, device=device))
                part(self.machine, self.plan, self.tamper, findings)
            findings.done.append(name)
        except Exception as error:  # whatever a GPU or its driver does
            findings.object_to(name, f"{type(error).__name__}: {error}")

    def report(self) -> Report:
        found, plan = self.findings, self.plan
        problems: list[Problem] = found.problems + ([] if self.is_stuck else judge(found.figures, plan.floors))
        index = self.machine.device.index or 0
        return Report(
            gpu=index,
            name=self.machine.name,
            seconds=self.seconds,
            figures=tuple(found.figures),
            problems=tuple(problems),
            skips=tuple(found.skips),
            done=tuple(dict.fromkeys(found.done)),
        )
