"""Every call to the disk fails in turn, or the process dies there: nothing is spoilt or silent, and it goes on."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.core.errors import DsopsError

from tests.crash.acts import restart
from tests.crash.checks import Broken, check_lanes, check_recovered, check_truth, live_on, survive
from tests.crash.explore import Bound, Count, Recording, Tried, explore, find_worst, go_on, lay, record
from tests.crash.operations import Ground, Operation
from tests.crash.recorder import KilledError, RecordingDisk

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)


@dataclass
class Fault:
    """Refuses the nth call; with `stays` all that come after it too. code 0: the process is killed there."""

    nth: int
    code: int = 0
    stays: bool = False
    asked: int = 0
    hit: str = ""

    def __call__(self, name: str, path: Path) -> None:
        self.asked += 1
        if self.asked < self.nth or (self.asked > self.nth and not self.stays):
            return
        self.hit = self.hit or f"{name} {path.name}"
        raise OSError(self.code, f"no {name} today") if self.code else KilledError


@dataclass
class Faults:
    """What was tried. refused: of them, those that whoever asked has heard of. wrong: what did not hold."""

    tried: int = 0
    syncs: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Faults") -> None:
        self.tried += other.tried
        self.syncs += other.syncs
        self.refused += other.refused
        self.wrong += other.wrong


def count_calls(ground: Ground, operation: Operation) -> int:
    """How often an operation asks the disk for anything, reading included."""
    fault = Fault(1 << 30, errno.EIO)
    record(ground, operation, before=fault)
    return fault.asked


def inject(ground: Ground, operation: Operation, *, codes: Sequence[int] = CODES, every: int = 1) -> Faults:
    """Each call fails with each code, once, and with EIO for good. every: only each so manieth call."""
    done = Faults()
    for nth in range(1, count_calls(ground, operation) + 1, every):
        for code in codes:
            done.add(inject_one(ground, operation, Fault(nth, code)))
        done.add(inject_one(ground, operation, Fault(nth, errno.EIO, stays=True)))
    return done


def inject_one(ground: Ground, operation: Operation, fault: Fault) -> Faults:
    done = Faults(tried=1)
    try:
        recording = record(ground, operation, before=fault)
        done.refused = int(not recording.returned)
        done.syncs = int("sync" in fault.hit)
        check_failed(recording, ground)
    except (Broken, DsopsError, AssertionError) as error:
        kind = errno.errorcode[fault.code] + (" for good" if fault.stays else "")
        done.wrong.append(f"{operation.name}, call {fault.nth} ({fault.hit}) fails with {kind}: {error!r}")
    return done


def check_failed(recording: Recording, ground: Ground) -> None:
    """Whole as it stands; done, or it was heard; done after asking again; and then it lasts."""
    bed, operation, kit = recording.bed, recording.operation, ground.kit
    check_truth(bed, operation, kit)
    check_lanes(bed)
    bed.disk = RecordingDisk(recording.trace)
    restart(bed)
    if recording.returned and not operation.done(bed, kit) and not bed.logged:
        raise Broken("it was said to be done, and is not")
    again = go_on(recording, kit)
    check_truth(bed, operation, kit)
    check_recovered(bed, operation, kit)
    cut, image = find_worst(again)
    survive(lay(again, image, ground.folder / "worst"), operation, kit, cut=cut)
    live_on(bed, operation, kit)


def kill(ground: Ground, operation: Operation, *, every: int, bound: Bound) -> Count:
    """Killed at each so manieth call; a helper starts, it is asked again, and meanwhile the power goes."""
    count = Count()
    for nth in range(1, count_calls(ground, operation) + 1, every):
        recording = record(ground, operation, before=Fault(nth, stays=True))
        again = go_on(recording, ground.kit)
        count.add(explore(again, ground.kit, folder=ground.folder, bound=replace(bound, again=0), tried=Tried()))
    return count
