"""Asks a release on trial as clients would, and counts what came of it; beside a canary both releases in turn.

While a canary has a share of the traffic, whatever dsops asks through the gateway is such a sample: so the smallest
share gets enough of them in its time, and the active release as many in the same minutes. Once it has all of the
traffic it is asked on alone until it has baked: on an idle fleet nobody else would tell the later steps anything.
"""

import secrets
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dsops.core.looks import Code, Look
from dsops.core.samples import NOTHING, PER_TOKEN_BOUNDS, TTFT_BOUNDS, Tally
from dsops.core.status import Verdict
from dsops.node.agent.events import Probe, Probed, Side
from dsops.node.sources.probe import Heard

# Between two samples of one release there are so many pauses while its engine is busy with clients.
BUSY = 5.0
KEPT_RELEASES = 4
# Ticks come a little early or late; without this room each delay of one side would delay the other.
ROOM = 0.9
PATIENCE = 2.0
OTHER = {Side.ACTIVE: Side.CANARY, Side.CANARY: Side.ACTIVE}


@dataclass
class Sampling:
    """pause: seconds from one sample of a release to its next. life: of the counters, other after each start.

    sides: whose samples are wanted now.
    """

    pause: float
    life: str = field(default_factory=lambda: secrets.token_hex(4))
    sides: frozenset[Side] = frozenset()
    _tallies: dict[str, Tally] = field(default_factory=dict)
    _began: dict[Side, float] = field(default_factory=dict)
    _put_off: set[Side] = field(default_factory=set)

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """release -> what came of its samples."""
        return self._tallies

    def find_pace(self, side: Side, *, now: float, is_busy: bool) -> float | None:
        """Seconds from one sample of this side to its next; None while it is the other side's turn."""
        if OTHER[side] in self.sides and not self._is_its_turn(side, now=now):
            return None
        return self.pause * ROOM * (BUSY if is_busy or side in self._put_off else 1.0)

    def _is_its_turn(self, side: Side, *, now: float) -> bool:
        """Whoever asked last leaves the next turn to the other, but does not wait for ever for one that hangs."""
        mine, other = (self._began.get(one, float("-inf")) for one in (side, OTHER[side]))
        is_too_soon = now - other < self.pause / 2 * ROOM
        has_just_asked = mine > other and now - mine < self.pause * PATIENCE
        return not is_too_soon and not has_just_asked

    def begin(self, probes: Sequence[Probe]) -> None:
        """These are asked now."""
        self._began.update({probe.side: probe.began.ticks for probe in probes if probe.sample})

    def take(self, event: Probed, look: Look | None) -> None:
        """Counts it; what nobody can judge, such as an answer that was put off, counts for nothing."""
        probe = event.probe
        if not probe.sample or look is None:
            return
        (self._put_off.add if look.code is Code.TIMEOUT_BUSY else self._put_off.discard)(probe.side)
        if look.verdict is not Verdict.UNKNOWN:
            release = probe.golden.release
            self._keep(release, count(self._tallies.get(release, NOTHING), event.heard, look))

    def _keep(self, release: str, tally: Tally) -> None:
        """The one that was asked for the longest time ago makes room."""
        self._tallies.pop(release, None)
        self._tallies[release] = tally
        if len(self._tallies) > KEPT_RELEASES:
            del self._tallies[next(iter(self._tallies))]


def count(tally: Tally, heard: Heard, look: Look) -> Tally:
    """With one more request. Times are counted of what came to its end, right or wrong."""
    is_wrong = look.code is Code.WRONG
    counted = replace(
        tally,
        requests=tally.requests + 1,
        failed=tally.failed + (look.verdict is Verdict.BAD and not is_wrong),
        wrong=tally.wrong + is_wrong,
    )
    if heard.is_answer and heard.first_seconds is not None and heard.last_seconds is not None:
        counted = _count_first(counted, heard.first_seconds)
        if heard.tokens > 1:
            counted = _count_rest(counted, (heard.last_seconds - heard.first_seconds) / (heard.tokens - 1))
    return counted


def _count_first(tally: Tally, seconds: float) -> Tally:
    buckets = _add(tally.ttft, seconds, TTFT_BOUNDS)
    return replace(tally, ttft=buckets, ttft_seconds=round(tally.ttft_seconds + seconds, 6))


def _count_rest(tally: Tally, seconds: float) -> Tally:
    buckets = _add(tally.per_token, seconds, PER_TOKEN_BOUNDS)
    return replace(tally, per_token=buckets, per_token_seconds=round(tally.per_token_seconds + seconds, 6))


def _add(buckets: tuple[int, ...], seconds: float, bounds: tuple[float, ...]) -> tuple[int, ...]:
    counts = list(buckets) or [0] * (len(bounds) + 1)
    counts[bisect_left(bounds, seconds)] += 1
    return tuple(counts)
