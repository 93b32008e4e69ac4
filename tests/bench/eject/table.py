"""What the bench prints: when each was out, how many times faster dsops was, and whether that is enough."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from tests.bench.eject.measure import WATCHED_SECONDS, Outcome
from tests.bench.eject.peers import NGINX, PEERS, TCP
from tests.bench.eject.plain import FAULTS

OURS = "dsops"
CONTENDERS = (OURS, *PEERS)
GOALS = {TCP: 5.0, NGINX: 20.0}
HEAD = (
    f"{'fault':<16}{'':<20}{'ejected, ms':>12}{'least..most':>20}{'lost':>6}{'least..most':>13}{'later':>7}  over dsops"
)
WORDS = """\
ejected: from onset to the last request that the bad server got or spoilt; never: not within {watched:g} s.
lost: requests a round without an answer or with a wrong one. later: requests a round that it got after it was out.
dsops: when the node's door refused connections (looked every 20 ms), or a request was lost later. The peers' times
can only be too short: each server gets a request every half second.
A killed engine refuses connections. nginx passes those on and loses no more than what was under way: at once is as
soon as can be, and nobody is faster. A frozen one accepts them: TCP checks stay green, and nginx learns it from its
read timeout of 60 s, then tries it again with a user's request every 10 s. An Xid and wrong answers are in nothing
that haproxy or nginx look at. The engine here has no GPU and goes on after an Xid 79; a real one would answer with
errors soon, which by default neither of them counts. A ratio to never counts it as {watched:g} s, and is more."""

Round = Mapping[tuple[str, str], Outcome]


def render(rounds: Sequence[Round]) -> str:
    """A row for each fault and contender, then the goals. A round: outcomes by fault and contender."""
    rows = [HEAD]
    for fault in FAULTS:
        rows += [_render_row(rounds, fault, contender) for contender in CONTENDERS]
    rows += [render_goal(rounds, contender) for contender in GOALS]
    return "\n".join([*rows, "", WORDS.format(watched=WATCHED_SECONDS)])


def _render_row(rounds: Sequence[Round], fault: str, contender: str) -> str:
    ours = contender == OURS
    outcomes = find_outcomes(rounds, fault, contender)
    name = f"{fault if ours else '':<16}{contender:<20}"
    if not outcomes:
        return f"{name}{'not measured':>12}"
    times, lost = [find_ms(one) for one in outcomes], [one.lost for one in outcomes]
    later = statistics.median(one.later for one in outcomes)
    cells = f"{render_ms(statistics.median(times)):>12}{render_ms(min(times)) + '..' + render_ms(max(times)):>20}"
    cells += f"{statistics.median(lost):>6.0f}{f'{min(lost)}..{max(lost)}':>13}{later:>7.0f}"
    told = "" if ours else render_ratios(find_ratios(rounds, fault, contender), contender)
    return f"{name}{cells}  {told}".rstrip()


def find_outcomes(rounds: Iterable[Round], fault: str, contender: str) -> list[Outcome]:
    return [one[fault, contender] for one in rounds if (fault, contender) in one]


def find_ms(outcome: Outcome) -> float:
    """Infinite when it never came to it."""
    return math.inf if outcome.ejected is None else 1e3 * outcome.ejected


def find_ratios(rounds: Iterable[Round], fault: str, contender: str) -> list[float]:
    """How many times as long as dsops it took, round by round; of never, at least so many times."""
    pairs = [
        (one[fault, contender].ejected, one[fault, OURS].ejected)
        for one in rounds
        if (fault, contender) in one and (fault, OURS) in one
    ]
    return [_divide(theirs, ours) for theirs, ours in pairs]


def _divide(theirs: float | None, ours: float | None) -> float:
    if ours is None:
        return 0.0
    return (WATCHED_SECONDS if theirs is None else theirs) / max(ours, 1e-3)


def render_ratios(ratios: Sequence[float], contender: str) -> str:
    if not ratios:
        return "-"
    said = f"{statistics.median(ratios):.1f}x ({min(ratios):.1f}..{max(ratios):.1f})"
    if contender not in GOALS:
        return said
    return f"{said}, {'meets' if meets(ratios, contender) else 'MISSES'} {GOALS[contender]:g}x"


def meets(ratios: Sequence[float], contender: str) -> bool:
    """By the median."""
    return bool(ratios) and statistics.median(ratios) >= GOALS[contender]


def render_goal(rounds: Sequence[Round], contender: str) -> str:
    """On how many faults, and where not."""
    missed = [fault for fault in FAULTS if not meets(find_ratios(rounds, fault, contender), contender)]
    told = f"missed: {', '.join(missed)}" if missed else "all met"
    return f"{GOALS[contender]:g}x faster than {contender}: {len(FAULTS) - len(missed)} of {len(FAULTS)} faults; {told}"


def render_ms(milliseconds: float) -> str:
    return "never" if math.isinf(milliseconds) else f"{milliseconds:.0f}"


def find_trouble(rounds: Iterable[Round]) -> list[str]:
    """What must not be: dsops left a bad server in traffic."""
    return [
        f"round {number}: {fault}: dsops never ejected it"
        for number, one in enumerate(rounds, 1)
        for (fault, contender), outcome in one.items()
        if contender == OURS and outcome.ejected is None
    ]
