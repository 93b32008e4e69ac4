"""When a server was out, and what it cost: from what clients got. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A server that gets its share sees a request every half second: without any for so long it is out.
QUIET_SECONDS = 3.0
WATCHED_SECONDS = 90.0


@dataclass(frozen=True)
class Ask:
    """One request, in Unix seconds. problem: why its answer was none, or wrong. server: that answered, if told."""

    began: float
    ended: float
    problem: str = ""
    server: str = ""


@dataclass(frozen=True)
class Span:
    """From a fault's onset until nobody looked any more, in Unix seconds. shut: since when the door refuses."""

    onset: float
    until: float
    shut: float | None = None


@dataclass(frozen=True)
class Outcome:
    """ejected: seconds from the onset to the last request for the bad server; None: it never stopped.

    lost: requests without an answer or with a wrong one. later: requests that were given to it after all.
    """

    ejected: float | None
    lost: int
    later: int = 0


def judge_peer(asks: Sequence[Ask], span: Span, *, bad: str) -> Outcome:
    """Of three servers only `bad` is ill: what is lost is lost through it, and it may give good answers as well."""
    hits = [one.began for one in asks if one.problem or one.server == bad]
    ejected = find_ejected(hits, span)
    later = 0 if ejected is None else sum(span.onset + ejected < at <= span.until for at in hits)
    return Outcome(ejected, count_lost(asks, span), later)


def judge_ours(asks: Sequence[Ask], span: Span) -> Outcome:
    """Out when the node's door refuses, or later, should a request still be lost."""
    ejected = find_ejected([one.began for one in asks if one.problem], span)
    out = None if span.shut is None or ejected is None else max(ejected, span.shut - span.onset)
    return Outcome(out, count_lost(asks, span))


def find_ejected(hits: Iterable[float], span: Span) -> float | None:
    """Seconds to the last of the hits that follow each other without a pause; 0.0 when there was none at all."""
    last = span.onset
    for at in sorted(at for at in hits if span.onset <= at <= span.until):
        if at - last >= QUIET_SECONDS:
            break
        last = at
    return None if span.until - last < QUIET_SECONDS else last - span.onset


def count_lost(asks: Iterable[Ask], span: Span) -> int:
    """Those that were under way at the onset count too."""
    return sum(bool(one.problem) and one.ended >= span.onset and one.began <= span.until for one in asks)


def find_shut(changes: Sequence[tuple[float, bool]], *, since: float, now: float) -> float | None:
    """Since when a door refuses, for long enough. changes: when it opened (True) and shut, in order."""
    ends = [at for at, _ in changes[1:]] + [now]
    for (at, is_open), end in zip(changes, ends, strict=True):
        if at >= since and not is_open and end - at >= QUIET_SECONDS:
            return at
    return None
