"""Cuts an operation at every moment, with every subset of what did not last yet, and tries what is left."""

import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.store.disk import Disk
from dsops.node.store.journal import SIZE, parse_record

from tests.crash.acts import Kit, restart
from tests.crash.checks import Broken, Cut, place_of, read_seq, survive
from tests.crash.model import Image
from tests.crash.operations import Ground, Operation, move_bed, try_again
from tests.crash.recorder import (
    Before,
    Call,
    KilledError,
    RecordingDisk,
    Trace,
    describe,
    let_be,
    make_real,
    read_image,
    same,
)
from tests.node.store.bed import Bed

JOURNAL = "hot/state/journal"
Make = Callable[[Trace, Before], Disk]


def make_disk(trace: Trace, before: Before) -> Disk:
    """The real thing."""
    return RecordingDisk(trace, before=before)


@dataclass(frozen=True)
class Bound:
    """Up to `whole` waiting changes every subset is tried; of more, these and `some` by chance, from the seed.

    lives: every so manieth state lives on: asked again, another release comes and goes. again: in every so manieth
    state the recovery is cut as well (0: in none).
    """

    whole: int = 8
    some: int = 24
    seed: int = 1
    lives: int = 8
    again: int = 0


@dataclass
class Count:
    """What was tried. wrong: what did not hold, with where."""

    calls: int = 0
    points: int = 0
    subsets: int = 0
    states: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Count") -> None:
        self.calls += other.calls
        self.points += other.points
        self.subsets += other.subsets
        self.states += other.states
        self.wrong += other.wrong


@dataclass
class Tried:
    """States that were seen already, of one operation."""

    chosen: set[object] = field(default_factory=set)
    images: set[object] = field(default_factory=set)


@dataclass
class Recording:
    """An operation as it was done, call by call. first: the call from which on it is cut."""

    operation: Operation
    bed: Bed
    trace: Trace
    before: Image
    returned: bool
    first: int = 0

    @property
    def lanes(self) -> frozenset[tuple[str, str]]:
        pairs = set()
        for image in (self.before, self.trace.render()):
            for path, leaf in image.items():
                if path.startswith("hot/lanes/") and leaf and "/." not in path:
                    pairs.add((path.rsplit("/", 1)[1], leaf.text.rsplit("/", 1)[1]))
        return frozenset(pairs)


def record(ground: Ground, operation: Operation, *, make: Make = make_disk, before: Before = let_be) -> Recording:
    """Does it once, and holds what was written down against what is there: nothing went beside the door."""
    bed = ground.get(operation)
    trace = Trace.begin(bed.root.parent)
    image = trace.render()
    bed.disk = make(trace, before)
    returned = True
    try:
        operation.act(bed, ground.kit)
    except (KilledError, DsopsError):
        if before is let_be:
            raise
        returned = False
    bed.disk = Disk()
    check_record(trace, bed)
    return Recording(operation, bed, trace, image, returned)


def check_record(trace: Trace, bed: Bed) -> None:
    """What was recorded, done again, gives what is there."""
    told, real = trace.render(), read_image(bed.root.parent)
    if not same(told, real):
        differ = sorted(str(one[0]) for one in set(describe(told)) ^ set(describe(real)))
        raise Broken(f"something went past the door to the disk: {differ[:6]}")


def go_on(recording: Recording, kit: Kit, *, make: Make = make_disk) -> Recording:
    """After a kill or an error: a helper starts on what the kernel holds, and it is asked again. Cut from there."""
    trace, bed = recording.trace, recording.bed
    first = len(trace.calls)
    bed.disk = make(trace, let_be)
    restart(bed)
    acted = try_again(recording.operation, bed, kit)
    bed.disk = Disk()
    check_record(trace, bed)
    returned = acted or recording.returned
    return Recording(recording.operation, bed, trace, recording.before, returned=returned, first=first)


def explore(recording: Recording, kit: Kit, *, folder: Path, bound: Bound, tried: Tried) -> Count:
    """Tries every state that a power cut may leave."""
    count = Count(calls=len(recording.trace.calls) - recording.first)
    rng = random.Random(f"{bound.seed} {recording.operation.name}")
    for cut, point, chosen in _find_states(recording, bound=bound, rng=rng, count=count):
        count.subsets += 1
        mark = (cut.returned, cut.writing, cut.newest)
        if (chosen, mark, id(recording.trace)) in tried.chosen:
            continue
        tried.chosen.add((chosen, mark, id(recording.trace)))
        image = recording.trace.render(chosen)
        if (key := (hash(describe(image)), mark)) in tried.images:
            continue
        tried.images.add(key)
        count.states += 1
        goes_on = len(tried.images) % bound.lives == 0
        if words := try_state(recording, kit, image, cut=cut, folder=folder, goes_on=goes_on):
            count.wrong.append(_tell(recording, point, chosen, words))
        elif bound.again and len(tried.images) % bound.again == 0:
            count.add(replace(cut_recovery(recording, kit, image, folder=folder, bound=bound), calls=0))
    return count


def cut_recovery(recording: Recording, kit: Kit, image: Image, *, folder: Path, bound: Bound) -> Count:
    """The power goes again, while what it left the first time is mended."""
    bed = lay(recording, image, folder / "again")
    trace = Trace.begin(bed.root.parent)
    bed.disk = RecordingDisk(trace)
    restart(bed)
    bed.disk = Disk()
    check_record(trace, bed)
    second = Recording(recording.operation, bed, trace, image, returned=False)
    smaller = replace(bound, whole=4, some=4, again=0)
    return explore(second, kit, folder=folder, bound=smaller, tried=Tried())


def try_state(recording: Recording, kit: Kit, image: Image, *, cut: Cut, folder: Path, goes_on: bool) -> str:
    """Puts one state on a disk and starts there; what is wrong, or nothing."""
    bed = lay(recording, image, folder / "state")
    try:
        survive(bed, recording.operation, kit, cut=cut, goes_on=goes_on)
    except (Broken, DsopsError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return traceback.format_exc()
    return ""


def lay(recording: Recording, image: Image, top: Path) -> Bed:
    """The node of a recording, with another disk."""
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    make_real(image, top)
    return move_bed(recording.bed, top)


@dataclass
class Moment:
    """How far a recording has come. lasting, waiting: changes; acked: place -> number of the record that lasts.

    torn: places of records that a cut before all this tore.
    """

    trace: Trace
    acked: dict[int, int]
    torn: frozenset[int] = frozenset()
    lasting: set[int] = field(default_factory=set)
    waiting: list[int] = field(default_factory=list)
    wrote: int = -1
    newest: int = -1

    def __post_init__(self) -> None:
        self.newest = max(self.acked.values(), default=-1)

    def cut(self, *, returned: bool, lanes: frozenset[tuple[str, str]]) -> Cut:
        """The power goes now."""
        return Cut(dict(self.acked), self.newest, self.writing | self.torn, returned=returned, lanes=lanes)

    def advance(self, call: Call) -> None:
        self.lasting |= call.lasts
        self.waiting = [one for one in (*self.waiting, *call.made) if one not in call.lasts | self.trace.void]
        if call.path != JOURNAL:
            return
        if call.name == "write" and call.made:
            made = [self.trace.changes[one] for one in call.made]
            self.wrote = max(read_seq(one.data) for one in made)
            self.acked.pop(made[-1].offset // SIZE, None)  # the oldest one, which goes now
        if call.name == "fdatasync" and self.wrote >= 0:
            self.acked[place_of(self.wrote)] = self.newest = self.wrote

    @property
    def writing(self) -> frozenset[int]:
        """Places of the ring whose content does not last yet."""
        journal = self.trace.find(self.trace.top / JOURNAL)
        waiting = (self.trace.changes[one] for one in self.waiting)
        return frozenset(one.offset // SIZE for one in waiting if one.node == journal and one.data)


def _find_states(
    recording: Recording, *, bound: Bound, rng: random.Random, count: Count
) -> Iterator[tuple[Cut, int, frozenset[int]]]:
    """(what had happened, after which call, changes that reached the disk)."""
    trace, lanes = recording.trace, recording.lanes
    moment = Moment(trace, *_read_before(recording.before))
    for number, call in enumerate(trace.calls, 1):
        moment.advance(call)
        if number <= recording.first:
            continue
        count.points += 1
        is_last = number == len(trace.calls) and recording.returned
        cut = moment.cut(returned=is_last, lanes=lanes)
        for some in _choose(moment.waiting, bound=bound, rng=rng):
            yield cut, number, frozenset(moment.lasting | set(some))


def find_worst(recording: Recording) -> tuple[Cut, Image]:
    """The power goes when all is done, and nothing reached the disk but what was synced."""
    moment = Moment(recording.trace, *_read_before(recording.before))
    for call in recording.trace.calls:
        moment.advance(call)
    cut = moment.cut(returned=recording.returned, lanes=recording.lanes)
    return cut, recording.trace.render(moment.lasting)


def _read_before(image: Image) -> tuple[dict[int, int], frozenset[int]]:
    """(place -> number of each record that lasted before, places of those that an earlier cut tore)."""
    leaf = image.get(JOURNAL)
    data = leaf.data if leaf else b""
    acked, torn = {}, set()
    for begin in range(0, len(data), SIZE):
        line = data[begin : begin + SIZE].partition(b"\n")[0]
        if read_seq(line) < 0:
            continue
        try:
            acked[begin // SIZE] = parse_record(line, place=begin // SIZE).seq
        except DsopsError:
            torn.add(begin // SIZE)
    return acked, frozenset(torn)


def _choose(waiting: list[int], *, bound: Bound, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Every subset of a few; of many: none, all, each alone, each missing, each beginning, and some by chance."""
    if len(waiting) <= bound.whole:
        for size in range(len(waiting) + 1):
            yield from combinations(waiting, size)
        return
    yield ()
    yield tuple(waiting)
    for number, one in enumerate(waiting):
        yield (one,)
        yield tuple(other for other in waiting if other != one)
        yield tuple(waiting[:number])
    for _ in range(bound.some):
        share = rng.random()
        yield tuple(one for one in waiting if rng.random() < share)


def _tell(recording: Recording, point: int, chosen: frozenset[int], words: str) -> str:
    trace = recording.trace
    before = trace.calls[max(recording.first, point - 6) : point]
    calls = "\n".join(f"    {call.name} {call.path}" for call in before)
    made = {one: call for call in trace.calls[:point] for one in call.made}
    lost = [f"{call.name} {call.path}" for one, call in made.items() if one not in chosen]
    return (
        f"{recording.operation.name}, cut after call {point}; lost: {', '.join(lost) or 'nothing'}\n"
        f"  {words}\n  the calls before:\n{calls}"
    )
