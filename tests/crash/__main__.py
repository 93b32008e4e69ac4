"""`python -m tests.crash`: cuts, kills and failing disks at every moment of everything that the store does."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.acts import make_kit
from tests.crash.explore import Bound, Count, Tried, explore, record
from tests.crash.faults import CODES, Faults, inject, kill
from tests.crash.operations import Ground, Operation, find_operations

PARTS = ("cuts", "kills", "errors")
KILLED = Bound(whole=3, some=2, lives=20)


@dataclass(frozen=True)
class Asked:
    """How much is tried. kills, errors: each so manieth call."""

    bound: Bound
    kills: int
    errors: int
    parts: tuple[str, ...] = PARTS


@dataclass
class Found:
    """What one operation came to, or a part of that. parts: how many came back."""

    name: str
    cut: Count = field(default_factory=Count)
    killed: Count = field(default_factory=Count)
    failed: Faults = field(default_factory=Faults)
    seconds: float = 0.0
    parts: int = 0

    def add(self, other: "Found") -> None:
        self.cut.add(other.cut)
        self.killed.add(other.killed)
        self.failed.add(other.failed)
        self.seconds += other.seconds
        self.parts += 1

    @property
    def wrong(self) -> list[str]:
        return [*self.cut.wrong, *self.killed.wrong, *self.failed.wrong]


@contextmanager
def memory() -> Iterator[Path]:
    """A folder in memory where there is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def try_part(name: str, part: str, asked: Asked) -> Found:
    """One operation under power cuts, kills or errors."""
    began, found = time.monotonic(), Found(name)
    with memory() as folder:
        ground = Ground(folder, make_kit(folder))
        operation = get_operation(name)
        if part == "errors":
            found.failed = inject(ground, operation, every=asked.errors)
        elif part == "kills":
            found.killed = kill(ground, operation, every=asked.kills, bound=KILLED)
        else:
            recording = record(ground, operation)
            found.cut = explore(recording, ground.kit, folder=folder, bound=asked.bound, tried=Tried())
    found.seconds = time.monotonic() - began
    return found


def get_operation(name: str) -> Operation:
    return next(one for one in find_operations() if one.name == name)


def main() -> None:
    asked, names, jobs = read_words()
    began = time.monotonic()
    print(
        f"{len(names)} operations; seed {asked.bound.seed}; every subset of up to {asked.bound.whole} waiting changes"
    )
    print(f"{'operation':34} calls points subsets  states  after kills  errors  heard    s")
    every, known = Found(""), {name: Found(name) for name in names}
    with ProcessPoolExecutor(jobs) as pool:
        # The last operations take longest: they begin first.
        for done in as_completed(
            [pool.submit(try_part, name, part, asked) for name in reversed(names) for part in asked.parts]
        ):
            part = done.result()
            every.add(part)
            known[part.name].add(part)
            if known[part.name].parts == len(asked.parts):
                print(render(known[part.name]), flush=True)
    for text in every.wrong[:10]:
        print(f"\nWRONG: {text}")
    print(summarize(every, seconds=time.monotonic() - began, operations=len(names)))
    sys.exit(1 if every.wrong else 0)


def render(found: Found) -> str:
    cut, killed, failed = found.cut, found.killed, found.failed
    words = f"{found.name:34} {cut.calls:5} {cut.points:6} {cut.subsets:7} {cut.states:7} {killed.states:12}"
    wrong = f"  {len(found.wrong)} WRONG" if found.wrong else ""
    return f"{words} {failed.tried:7} {failed.refused:6} {found.seconds:4.0f}{wrong}"


def summarize(every: Found, *, seconds: float, operations: int) -> str:
    cut, killed, failed = every.cut, every.killed, every.failed
    states = cut.states + killed.states
    good = states - len(cut.wrong) - len(killed.wrong)
    said = []
    if states:
        said.append(
            f"power cuts: {good}/{states} states recovered ({operations} operations, {cut.calls} calls,"
            f" {cut.points + killed.points} crash points, {cut.subsets + killed.subsets} subsets;"
            f" {killed.states} of the states are after a kill and a new start)"
        )
    if failed.tried:
        said.append(
            f"errors: {failed.tried - len(failed.wrong)}/{failed.tried} survived, {len(failed.wrong)} spoilt or silent"
            f" (each call: {len(CODES)} errors once, EIO for good; {failed.syncs} were a failed fsync;"
            f" {failed.refused} were heard by whoever asked, the others were done all the same, or stand in the log)"
        )
    return "\n".join(["", *said, f"{seconds:.0f} s"])


def read_words() -> tuple[Asked, list[str], int]:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--only", default="", help="operations whose name begins so")
    parser.add_argument("--part", choices=PARTS, help="only one of them")
    parser.add_argument("--seed", type=int, default=1, help="of the subsets that are drawn by chance")
    parser.add_argument("--whole", type=int, default=6, help="up to so many waiting changes every subset is tried")
    parser.add_argument("--some", type=int, default=8, help="of more, so many by chance")
    parser.add_argument("--kills", type=int, default=8, help="a kill at each so manieth call")
    parser.add_argument("--errors", type=int, default=1, help="an error of each so manieth call")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    said = parser.parse_args()
    bound = Bound(whole=said.whole, some=said.some, seed=said.seed, again=50)
    names = [one.name for one in find_operations() if one.name.startswith(said.only)]
    if not names:
        parser.error(f"no operation begins with {said.only!r}")
    parts = (said.part,) if said.part else PARTS
    return Asked(bound, said.kills, said.errors, parts), names, said.jobs


if __name__ == "__main__":
    main()
