"""Plays seeded schedules of faults against the real brain of a node, and checks every invariant after every step."""

import argparse
import gc
import sys
import time
from collections import Counter
from pathlib import Path

from tests.sim.coverage import render
from tests.sim.invariants import BrokenError
from tests.sim.play import EVENTS, SHARED, TAILS, TWICE, play, replay

SCHEDULES = 1_000_000
BATCH = 8000
KEPT = Path(__file__).with_name("regressions.txt")


def read_kept() -> list[tuple[int, int]]:
    """(seed, number) of every schedule that once broke an invariant."""
    lines = (line.split("#")[0].strip() for line in KEPT.read_text().splitlines())
    return [(int(line.split(":")[0]), int(line.split(":")[1])) for line in lines if line]


def run(seed: int, *, first: int, count: int, watched: int) -> bool:
    """Plays them all, or to the first that breaks; prints what was reached. Whether all held."""
    seen: Counter[str] = Counter()
    began, cpu = time.monotonic(), time.process_time()
    events = 0
    gc.disable()  # states are trees: nothing here needs the collector
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(start + BATCH, first + count))
        try:
            events += play(seed, numbers, seen, watched=watched)
        except BrokenError as error:
            print(f"BROKEN {error}\n  python -m tests.sim --replay {str(error).split()[0]}")
            return False
        done, took = numbers.stop - first, time.monotonic() - began
        if done < count and took > 2:
            print(f"  {done:>9,} of {count:,} schedules, {took:.0f} s", file=sys.stderr, flush=True)
        gc.collect()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    steps = sum(number for name, number in seen.items() if name.startswith("event "))
    print(
        f"{count:,} schedules of {EVENTS} events, seed {seed}: every invariant held after every step\n"
        f"  {events:,} events played ({TAILS} schedules each begin with the same {SHARED}), {steps:,} transitions,\n"
        f"  one in {TWICE} a second time by the helper's Moves, one in {watched} with the agent's Watch\n"
        f"  {took:.0f} s, {cpu:.0f} s of one core, {count / max(cpu, 1e-9):,.0f} schedules/s"
    )
    print(render(seen))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first schedule")
    parser.add_argument("--watched", type=int, default=5000, help="one in so many is played with the agent's Watch too")
    parser.add_argument("--replay", metavar="SEED:N", help="one schedule, step by step")
    args = parser.parse_args()
    if args.replay:
        seed, number = (int(word) for word in args.replay.split(":"))
        return 0 if replay(seed, number) else 1
    return 0 if run(args.seed, first=args.first, count=args.schedules, watched=args.watched) else 1


if __name__ == "__main__":
    sys.exit(main())
