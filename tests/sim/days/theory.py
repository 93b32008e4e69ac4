"""How often flaking probes alone must lead to an act: an exact chain over whole seconds, not taken from what is played.

Each probe is BAD with chance p, whatever the others are. The rules, as DESIGN D3 and D4 and the code have them:

- Two witnesses ask the engine a golden prompt each, the slot itself and through the gateway, on ticks of one second.
  Baked: both every 15 s. On trial: the slot every 5 s, the gateway every 2 s (samples) until traffic was taken away.
- While a BAD stands, or traffic is away, both are asked again 2.5 s after their last time, thus with the third tick;
  the samples of a release on trial keep their 2 s.
- A right answer of a witness takes away the BADs of that witness, not those of the other one. Two BADs of one prompt
  within 5 s are one. Within a tick the slot is heard first.
- Three BADs of different prompts, 5 s from the first to the last, are a verdict.
- Two BADs, 2 s from the first to the last, take traffic away, where the peers said within a second that others serve;
  while a BAD stands they are asked each second tick, and with each fourth once traffic is away. It comes back when
  since the last BAD the slot answered right twice and the gateway once.
- On trial a verdict is acted upon at once. Baked, it settles for 2 s, and must still stand when the peers have spoken
  after that: mostly with the third tick, after the next answers. When only the gateway's probes speak for it the
  gateway is restarted, else the release is to blame: on trial it is rolled back, baked its engine is restarted.
- Baked, a second such verdict within the hour after a restart rolls back; two restarts an hour are all (`find_baked`).

So the state of the chain is: the BADs that stand (whose, how many seconds and how many probes ago), how long ago each
witness was asked, since when traffic is away, the right answers since, since when a verdict stands, and when the peers
spoke. Quiet, the
chain waits in one of the seconds of a round, each as likely; an episode begins with the first BAD and ends when nothing
stands any more (or with an act). All paths are followed until the rest weighs less than 1e-9 of an episode. With the
chance of each end and the mean length of episodes, the rate of acts is that of a renewal process.
Left out, since it is a part of some hundredths at most: the seconds after an act, in which a fresh engine is asked with
each tick; and where in a round an episode leaves the two witnesses.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

SLOT, GATEWAY = 0, 1
PROMPTS = 12
REST = 1e-9
LONG = 9
RESTART_MEMORY, GATEWAY_MEMORY = 3600.0, 120.0
ENDS = ("release", "gateway", "eject")


@dataclass(frozen=True)
class Bad:
    """seconds, probes: ago."""

    who: int
    seconds: int
    probes: int


@dataclass(frozen=True)
class State:
    """asked: seconds ago, of slot and gateway. away, verdict: for so many seconds, -1: not. good: of slot and gateway.

    peers: with so many ticks ago they spoke, LONG at most. end: how the episode ended, "" while it goes on.
    """

    bad: tuple[Bad, ...] = ()
    asked: tuple[int, int] = (0, 0)
    away: int = -1
    good: tuple[int, int] = (0, 0)
    verdict: int = -1
    peers: int = LONG
    end: str = ""

    @property
    def is_quiet(self) -> bool:
        return not self.bad and self.away < 0


@dataclass(frozen=True)
class Rates:
    """Per second that is lived. release: verdicts that blame the release; gateway: those of the gateway alone.

    eject: traffic taken away.
    """

    release: float
    gateway: float
    eject: float


@dataclass(frozen=True)
class Baked:
    """Per second: restarts of the engine, rollbacks after one, and restarts of the gateway."""

    restarts: float
    rollbacks: float
    gateway: float


def find_rates(p: float, *, trial: bool) -> Rates:
    """From all seconds of a quiet round in which an episode may begin."""
    if p <= 0:
        return Rates(0.0, 0.0, 0.0)
    begins: dict[State, float] = defaultdict(float)
    ends: dict[str, float] = dict.fromkeys(ENDS, 0.0)
    seconds = 0.0
    rounds = tuple(_list_round(trial=trial))
    for quiet in rounds:
        for state, chance, _ in step(quiet, (p, p), trial=trial):
            if not state.is_quiet:
                begins[state] += chance / len(rounds)
    while sum(begins.values()) > REST * p:
        after: dict[State, float] = defaultdict(float)
        seconds += sum(begins.values())
        for before, weight in begins.items():
            for state, chance, times in step(before, (p, p), trial=trial):
                ends["eject"] += weight * chance * times
                if state.end:
                    ends[state.end] += weight * chance
                elif not state.is_quiet:
                    after[state] += weight * chance
        begins = after
    # `ends` and `seconds` are per second of quiet; episodes take their part of the time.
    lived = 1.0 + seconds
    return Rates(ends["release"] / lived, ends["gateway"] / lived, ends["eject"] / lived)


def find_baked(rates: Rates) -> Baked:
    """What verdicts lead to, after one another.

    Of the engine: a restart begins an hour in which the next verdict rolls back; people then bring the node back to
    the beginning. Well: until a verdict comes, 1/release seconds. In the hour: until one comes, or its end,
    (1 - e^-x)/release with x = 3600 release. A cycle of both has one restart, and 1 - e^-x rollbacks.
    Of the gateway: each restart, of the engine too, takes one of two for an hour, or until people come. So a verdict
    finds none left as a call finds no line in Erlang's loss formula with two lines, for which only the mean time of
    calls counts: (a^2/2) / (1 + a + a^2/2). Within 120 s after the last one it is not restarted either.
    """
    if rates.release <= 0:
        return Baked(0.0, 0.0, 0.0)
    again = -math.expm1(-rates.release * RESTART_MEMORY)
    restarts = rates.release / (1.0 + again)
    back = restarts * again
    taken = -math.expm1(-back * RESTART_MEMORY) / back
    load = (rates.gateway + restarts) * taken
    lost = load**2 / 2 / (1 + load + load**2 / 2)
    return Baked(restarts, back, rates.gateway * (1 - lost) * math.exp(-rates.gateway * GATEWAY_MEMORY))


def _list_round(*, trial: bool) -> Iterator[State]:
    """The seconds of a quiet round; both are asked in its first."""
    slot, gateway, length = (5, 2, 10) if trial else (15, 15, 15)
    for second in range(length):
        yield State(asked=((second - 1) % slot, (second - 1) % gateway))


def step(state: State, p: tuple[float, float], *, trial: bool) -> Iterator[tuple[State, float, int]]:
    """One second more: (state, chance, how often traffic was taken away in it). p: of slot and gateway."""
    aged = _age(state)
    paths: list[tuple[State, float, int]] = [(aged, 1.0, 0)]
    due = find_due(state, trial=trial)
    for who in due:
        paths = [
            (after, chance * part, times + (before.away < 0 <= after.away))
            for before, chance, times in paths
            for after, part in ((_take_bad(before, who, trial=trial), p[who]), (_take_good(before, who), 1.0 - p[who]))
            if part
        ]
    for heard, chance, times in paths:
        is_asked = _want_peers(aged) or _want_peers(heard)
        after = replace(heard, asked=_ask(heard.asked, due), peers=0 if is_asked else heard.peers)
        after = _eject(after) if is_asked else after
        is_taken = heard.away < 0 <= after.away
        yield _settle(after, is_asked=is_asked), chance, times + is_taken


def find_due(state: State, *, trial: bool) -> list[int]:
    """Who is asked with the next second, in the order in which they are heard."""
    aged = _age(state)
    return [who for who in (SLOT, GATEWAY) if aged.asked[who] >= _find_pace(aged, who, trial=trial)]


def _age(state: State) -> State:
    return replace(
        state,
        bad=tuple(replace(one, seconds=one.seconds + 1) for one in state.bad),
        asked=(state.asked[SLOT] + 1, state.asked[GATEWAY] + 1),
        away=state.away + (state.away >= 0),
        verdict=state.verdict + (state.verdict >= 0),
        peers=min(state.peers + 1, LONG),
    )


def _want_peers(state: State) -> bool:
    """They are asked again after a second, once traffic is away after three."""
    return not state.end and not state.is_quiet and state.peers >= (2 if state.away < 0 else 4)


def _eject(state: State) -> State:
    """Where the peers have just said that others serve."""
    if state.end or state.away >= 0 or len(state.bad) < 2 or state.bad[0].seconds - state.bad[-1].seconds < 2:
        return state
    return replace(state, away=0)


def _ask(asked: tuple[int, int], due: list[int]) -> tuple[int, int]:
    return (0 if SLOT in due else asked[SLOT], 0 if GATEWAY in due else asked[GATEWAY])


def _find_pace(state: State, who: int, *, trial: bool) -> int:
    """Seconds, in whole ticks."""
    every = 3 if not state.is_quiet else (5 if trial else 15)
    # The gateway says with the tick after that nobody is served any more.
    is_sampled = trial and who == GATEWAY and state.away < 2
    return 2 if is_sampled else every


def _take_bad(state: State, who: int, *, trial: bool) -> State:
    if state.end:
        return state
    bad = tuple(replace(one, probes=one.probes + 1) for one in state.bad)
    is_merged = any(one.probes % PROMPTS == 0 and one.seconds < 5 for one in bad)
    bad = bad if is_merged else (*bad, Bad(who, 0, 0))
    after = replace(state, bad=bad, good=(0, 0))
    after = _eject(after) if after.peers <= 1 else after
    if after.verdict < 0 and _is_verdict(bad):
        after = replace(after, verdict=0)
    return replace(after, end=_name(bad)) if trial and after.verdict >= 0 else after


def _take_good(state: State, who: int) -> State:
    if state.end:
        return state
    bad = tuple(replace(one, probes=one.probes + 1) for one in state.bad if one.who != who)
    good = (min(2, state.good[0] + (who == SLOT)), min(1, state.good[1] + (who == GATEWAY)))
    away = -1 if good == (2, 1) else state.away
    return replace(state, bad=bad, good=good, away=away, verdict=state.verdict if _is_verdict(bad) else -1)


def _is_verdict(bad: tuple[Bad, ...]) -> bool:
    prompts = {one.probes % PROMPTS for one in bad}
    return len(prompts) >= 3 and bad[0].seconds - bad[-1].seconds >= 5


def _settle(state: State, *, is_asked: bool) -> State:
    """Baked: it has settled, and the peers have spoken since; with the third tick they are asked for that."""
    is_due = state.verdict >= 3 or (state.verdict == 2 and is_asked)
    return replace(state, end=_name(state.bad)) if not state.end and is_due else state


def _name(bad: tuple[Bad, ...]) -> str:
    return "gateway" if all(one.who == GATEWAY for one in bad) else "release"


def find_interval(expected: float, *, misses: float = 0.001) -> tuple[int, int]:
    """The smallest and the largest count that a Poisson variable with this mean has in all but `misses` of cases."""
    low, below = 0, _chance(0, expected)
    while below <= misses / 2:
        low += 1
        below += _chance(low, expected)
    high = low
    while below < 1 - misses / 2:
        high += 1
        below += _chance(high, expected)
    return low, high


def _chance(count: int, expected: float) -> float:
    if expected <= 0:
        return float(count == 0)
    return math.exp(count * math.log(expected) - expected - math.lgamma(count + 1))
