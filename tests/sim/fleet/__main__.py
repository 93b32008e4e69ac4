"""Plays rollouts over fleets: `python -m tests.sim.fleet [--rollouts N] [--canaries N] [--seed S] [--replay S:N]`."""

import argparse
import sys
import time

from tests.sim.fleet.canary import SETTINGS, Rates, Setting, play_canaries
from tests.sim.fleet.play import Broken, play_rollout
from tests.sim.fleet.score import Score, find_missed, render

ROLLOUTS, CANARIES = 1000, 10_000
# What a new release fails, against 0.1 % of the active one.
NORMAL, WORSE = 0.001, (0.01, 0.05)
MISS, FALSE_ABORT = 0.05, 0.01


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.fleet", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS)
    parser.add_argument("--canaries", type=int, default=CANARIES, help="for each setting and each rate of errors")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--faults", type=float, default=0.02, help="how likely one is in a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first rollout")
    parser.add_argument("--replay", metavar="SEED:N", help="one rollout, look by look")
    args = parser.parse_args()
    if args.replay:
        return replay(args.replay, size=args.nodes, faults=args.faults)
    is_good = run_canaries(args.canaries, seed=args.seed)
    return 0 if run_rollouts(args) and is_good else 1


def run_canaries(count: int, *, seed: int) -> bool:
    """Prints how canaries end; whether the goals were met."""
    print(f"{count} canaries for each line, seed {seed}; the active release fails {NORMAL:.1%}")
    began, is_good = time.process_time(), True
    for setting in SETTINGS if count else ():
        good = play_canaries(setting, new=NORMAL, old=NORMAL, count=count, seed=seed)
        say(setting, NORMAL, good, "false aborts", good.aborted, FALSE_ABORT)
        is_good &= good.aborted <= FALSE_ABORT
        for rate in WORSE:
            worse = play_canaries(setting, new=rate, old=NORMAL, count=count, seed=seed)
            say(setting, rate, worse, "missed", worse.promoted, MISS)
            is_good &= worse.promoted <= MISS
    print(f"  in {time.process_time() - began:.1f} s", flush=True)
    return is_good


def say(setting: Setting, rate: float, rates: Rates, name: str, measured: float, goal: float) -> None:
    print(
        f"  {setting.name}, fails {rate:.1%}: {name} {measured:.2%} (goal {goal:.0%}), promoted {rates.promoted:.2%}, "
        f"aborted {rates.aborted:.2%}, undecided {rates.undecided:.2%}, half within {rates.half} min, 95 % within "
        f"{rates.most} min",
        flush=True,
    )


def run_rollouts(args: argparse.Namespace) -> bool:
    """Prints how far releases came; whether none came further than it should, and nothing broke."""
    began, score = time.process_time(), Score()
    for number in range(args.first, args.first + args.rollouts):
        seed = f"{args.seed}:{number}"
        try:
            score.add(play_rollout(seed, size=args.nodes, faults=args.faults))
        except Broken as error:
            as_here = f"--nodes {args.nodes} --faults {args.faults:g}"
            print(f"  BROKEN: {error}\n    replay: python -m tests.sim.fleet --replay {seed} {as_here}")
            score.broken += 1
    seeds = f"seeds {args.seed}:{args.first} on"
    print(f"{args.rollouts} rollouts x {args.nodes} nodes, {seeds}, a fault a minute with a chance of {args.faults:g}")
    print("\n".join(f"  {line}" for line in render(score, size=args.nodes)))
    print(f"  in {time.process_time() - began:.1f} s")
    missed = find_missed(score, size=args.nodes)
    print("\n".join(f"  MISSED: {one}" for one in missed) or "  all goals met")
    return not missed


def replay(seed: str, *, size: int, faults: float) -> int:
    """One rollout, with everything that it said."""
    try:
        play = play_rollout(seed, size=size, faults=faults, tell=print)
    except Broken as error:
        print(f"BROKEN: {error}")
        return 1
    rollout = play.rollout
    late = ", once it has all the traffic" if play.is_late else ""
    print(f"{rollout.status} after {play.looks} looks, on {len(play.reached)} nodes; it failed {play.rate:.1%}{late}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
