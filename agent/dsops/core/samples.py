"""What requests to each release on a node came to, counted, as it goes over the wire; the agent serves it. Pure."""

import dataclasses
import json
from dataclasses import dataclass

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

# Upper bounds of the buckets, in seconds; what is slower falls into one more. The gateway's histograms have them too.
TTFT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
PER_TOKEN_BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.2, 0.5, 1.0, 2.5),
)


@dataclass(frozen=True)
class Tally:
    """What requests to one release came to. Only ever grows, until `ReleaseTally.lives` changes.

    requests: answered to the end, or failed; neither clients' own errors (4xx) nor what was refused while full (429).
    failed: of them, 5xx, broken streams and no answer. wrong: of them, answers that the golden prompt does not accept
    (synthetic requests only). ttft, per_token: how many fell into each bucket, not cumulative, len(BOUNDS) + 1 of
    them, or () for none at all. ttft_seconds, per_token_seconds: their sums, 0 where nobody adds them up.
    """

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    ttft: tuple[int, ...] = ()
    per_token: tuple[int, ...] = ()
    ttft_seconds: float = 0.0
    per_token_seconds: float = 0.0


NOTHING = Tally()


@dataclass(frozen=True)
class ReleaseTally:
    """One release: its clients' requests, and those that dsops sent.

    lives: other when the counters began anew; two words with a point between them, of the real ones and of the
    synthetic ones, which live in two processes.
    """

    release: str
    real: Tally = NOTHING
    synthetic: Tally = NOTHING
    lives: str = ""


@dataclass(frozen=True)
class Samples:
    """Everything that one node counted. at: the node's Unix seconds."""

    node: str
    at: float
    releases: tuple[ReleaseTally, ...] = ()

    def find(self, release: str) -> ReleaseTally | None:
        """What was counted of one release, None when nothing was."""
        return next((one for one in self.releases if one.release == release), None)

    def to_json(self) -> str:
        """One JSON object, keys as the fields are named."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str | bytes, *, where: str) -> "Samples":
        """Raises DsopsError, naming the key, on anything that is not samples, or that cannot be."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DsopsError(f"the samples are not JSON ({error})", where=where) from error
        samples = decode(Samples, data, where=where)
        for one in samples.releases:
            for tally in (one.real, one.synthetic):
                _check(tally, where=f"{where}: {one.release}")
        return samples


def _check(tally: Tally, *, where: str) -> None:
    """What would make a gate judge nonsense is no sample."""
    counts = (tally.requests, tally.failed, tally.wrong, *tally.ttft, *tally.per_token)
    if min(counts) < 0 or tally.failed + tally.wrong > tally.requests:
        raise DsopsError("the counts cannot be: below zero, or more failed and wrong than there were", where=where)
    for name, bounds in (("ttft", TTFT_BOUNDS), ("per_token", PER_TOKEN_BOUNDS)):
        buckets = getattr(tally, name)
        if buckets and len(buckets) != len(bounds) + 1:
            what = f"{name} has {len(buckets)} buckets, not {len(bounds) + 1}"
            raise DsopsError(what, where=where, mend="run the same dsops version here and on the node")


def add(one: Tally, other: Tally) -> Tally:
    """Both together."""
    if NOTHING in (one, other):
        return other if one == NOTHING else one
    return Tally(
        requests=one.requests + other.requests,
        failed=one.failed + other.failed,
        wrong=one.wrong + other.wrong,
        ttft=_add(one.ttft, other.ttft),
        per_token=_add(one.per_token, other.per_token),
        ttft_seconds=one.ttft_seconds + other.ttft_seconds,
        per_token_seconds=one.per_token_seconds + other.per_token_seconds,
    )


def subtract(now: Tally, before: Tally) -> Tally:
    """What came since `before`. A counter that is smaller than it was began anew, so that all of it came since."""
    if _began_anew(now, before):
        return now
    return Tally(
        requests=now.requests - before.requests,
        failed=now.failed - before.failed,
        wrong=now.wrong - before.wrong,
        ttft=_subtract(now.ttft, before.ttft),
        per_token=_subtract(now.per_token, before.per_token),
        ttft_seconds=now.ttft_seconds - before.ttft_seconds,
        per_token_seconds=now.per_token_seconds - before.per_token_seconds,
    )


def subtract_release(now: ReleaseTally, before: ReleaseTally | None) -> ReleaseTally:
    """What came since `before`; all of it when the counters began anew or nothing was known."""
    if before is None or before.release != now.release:
        return now
    real, _, synthetic = now.lives.partition(".")
    real_before, _, synthetic_before = before.lives.partition(".")
    return dataclasses.replace(
        now,
        real=subtract(now.real, before.real if real == real_before else NOTHING),
        synthetic=subtract(now.synthetic, before.synthetic if synthetic == synthetic_before else NOTHING),
    )


def add_release(one: ReleaseTally, other: ReleaseTally) -> ReleaseTally:
    """Both together, of whichever release and life the first is."""
    return dataclasses.replace(one, real=add(one.real, other.real), synthetic=add(one.synthetic, other.synthetic))


def _began_anew(now: Tally, before: Tally) -> bool:
    pairs = [(now.requests, before.requests), (now.failed, before.failed), (now.wrong, before.wrong)]
    for mine, theirs in ((now.ttft, before.ttft), (now.per_token, before.per_token)):
        if theirs and len(mine) != len(theirs):
            return True
        pairs += list(zip(mine, theirs, strict=False))
    return any(mine < theirs for mine, theirs in pairs)


def _add(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _subtract(now: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(now, before, strict=True)) if before else now
