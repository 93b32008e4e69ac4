"""What many played rollouts came to, and what of it should not be."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from dsops.core.rollout_state import STEPS, Status
from dsops.core.spread import plan_step

from tests.sim.fleet.play import NORMAL, Play

# What a release fails, and whether only where it has all the traffic.
Kind = tuple[float, bool]


@dataclass
class Score:
    """reached: kind of release -> on how many nodes it ever had requests, and the seed."""

    reached: dict[Kind, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    ends: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    minutes: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    looks: int = 0
    orders: int = 0

    def add(self, play: Play) -> None:
        kind = (play.rate, play.is_late)
        self.reached[kind].append((len(play.reached), play.seed))
        self.ends[kind, play.rollout.status if play.rollout.is_over else f"held: {play.rollout.status}"] += 1
        self.minutes[kind].append((play.at - play.rollout.began) / 60)
        self.looks += play.looks
        self.orders += play.told
        if play.rate == NORMAL and play.rollout.failed:
            self.failed[play.rollout.failed.split(":")[0] if "unreachable" not in play.rollout.failed else "lost"] += 1


def render(score: Score, *, size: int) -> list[str]:
    """A line for each rate of errors."""
    lines = [f"{score.looks} looks x {size} nodes, {score.orders} orders, {score.broken} broken"]
    for kind, reached in sorted(score.reached.items()):
        rate, is_late = kind
        counts = sorted(count for count, _ in reached)
        ends = ", ".join(f"{end} {n}" for (at, end), n in sorted(score.ends.items()) if at == kind)
        minutes = sorted(score.minutes[kind])
        fails = f"fails {rate:.1%}{' once it has all the traffic' if is_late else ''}"
        lines.append(
            f"{fails}: {len(counts)} rollouts, {ends}; nodes reached: at most {counts[-1]}, "
            f"{sum(count > 1 for count in counts)} over one; half over within {minutes[len(minutes) // 2]:.0f} min"
        )
    if score.failed:
        lines.append(f"good ones that were aborted: {dict(score.failed)}")
    return lines


def find_most(rate: float, *, is_late: bool, size: int) -> int:
    """On how many nodes a release that fails so much may be at most."""
    if rate < 0.05:
        return size
    if is_late:  # no gate can know it before the first step that gives a node all the traffic
        steps = [plan_step(percent, size, is_first=index == 0) for index, percent in enumerate(STEPS)]
        return next(nodes for nodes, share in steps if share == 100)
    return 1 if rate >= 0.5 else max(1, size * 5 // 100)


def find_missed(score: Score, *, size: int) -> list[str]:
    """What no rollout may do, with the seed of each that did."""
    missed = [f"{score.broken} rollouts broke an invariant"] if score.broken else []
    for kind, reached in score.reached.items():
        rate, is_late = kind
        most = find_most(rate, is_late=is_late, size=size)
        missed += [
            f"{rate:.0%} of requests failed on {count} nodes, seed {seed}" for count, seed in reached if count > most
        ]
        done = score.ends[kind, Status.DONE]
        missed += [f"{done} that fail {rate:.0%} were brought everywhere"] if rate >= 0.05 and done else []
    return missed
