"""A million node-days of a real agent's judgement: `python -m tests.sim.days [--days N] [--seed S] [--replay L:N]`."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from tests.sim.days.play import DAY, Line, Play, Tally
from tests.sim.days.table import find_wrong, merge, render

DAYS = 1_000_000
# One node lives so many days at most; the next begins anew, with a seed of its own.
NODE_DAYS = 500.0
# What really happens to servers, told in the table; then flakes alone, at rates at which their acts can be counted.
# Real faults: 419 in 54 days on 2,048 servers of 8 GPUs are 0.004 a day (Meta, Llama 3); half as many are played.
LINES = (
    Line("1 in 1,000,000", 1e-6, DAYS - 585.0, releases=1 / 90, storms=0.002, plain=0.008, reals=0.002),
    Line("1 in 200", 5e-3, 500.0, storms=0.1, plain=0.5),
    Line("1 in 50", 2e-2, 60.0, plain=1.0),
    Line("1 in 5", 2e-1, 12.0),
    Line("1 in 14, on trial", 7e-2, 13.0, is_trial=True),
)


def scale(line: Line, share: float) -> Line:
    return replace(line, days=line.days * share)


def list_blocks(line: Line) -> Iterator[float]:
    """Days of one node after the other."""
    left = line.days
    while left > 1e-9:
        yield min(NODE_DAYS, left)
        left -= NODE_DAYS


def run(line: Line, *, number: int, seed: int) -> Tally:
    """All node-days of one line."""
    began, tally, told = time.process_time(), Tally(), time.monotonic()
    for block, days in enumerate(list_blocks(line)):
        tally.add(Play(line, seed=f"{seed}:{number}:{block}", days=days).run())
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"  {line.name}: {tally.days:,.0f} of {line.days:,.0f} node-days", file=sys.stderr, flush=True)
    print(f"  {line.name}: {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
    return tally


def play_all(share: float, *, seed: int) -> dict[Line, Tally]:
    lines = [scale(line, share) for line in LINES]
    return {line: run(line, number=number, seed=seed) for number, line in enumerate(lines)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.days", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, help="node-days in all; each line gets its part")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", metavar="SEED:LINE:NODE", help="one node, act by act")
    args = parser.parse_args()
    share = args.days / DAYS
    if args.replay:
        return replay(args.replay, share)
    began = time.process_time()
    tallies = play_all(share, seed=args.seed)
    whole, took = merge(tallies), time.process_time() - began
    print(f"{whole.days:,.0f} node-days, seed {args.seed}: {whole.events:,} events in {took:.0f} s of one core")
    print(
        f"  {whole.skipped / DAY / whole.days:.3%} of the time is skipped: whole rounds of probes that are all right,"
    )
    print("  while nobody remembers anything else; all others are played, tick by tick, a tick a second")
    print("\n".join(render(tallies)))
    wrong = find_wrong(tallies)
    print("\n".join(f"  OFF: {one}" for one in wrong[:20]) or "  all as theory says")
    return 1 if wrong else 0


def replay(name: str, share: float) -> int:
    """One node of one line."""
    line = scale(LINES[int(name.split(":")[1])], share)
    days = list(list_blocks(line))[int(name.split(":")[2])]
    tally = Play(line, seed=name, days=days, tell=print).run()
    print("\n".join(tally.wrong) or "nothing is wrong")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
