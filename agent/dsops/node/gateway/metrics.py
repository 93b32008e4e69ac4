"""What Prometheus reads from the gateway."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally
from dsops.node.gateway.counts import Counts

_LABELS = ("lane", "release")
_KEPT_RELEASES = 4
_KEPT_COUNTS = 16
_WHOLE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3.5, 5, 7.5, 10, 15, 30, 60, 120, 240, 480, 900)


@dataclass(frozen=True, slots=True)
class TargetMetrics:
    """The series of one lane and release, looked up once. counts: of the release, on whichever lane."""

    ttft: Histogram
    per_token: Histogram
    whole: Histogram
    prompt_tokens: Counter
    generated_tokens: Counter
    counts: Counts

    def observe_ttft(self, seconds: float) -> None:
        self.ttft.observe(seconds)
        self.counts.add_ttft(seconds)

    def observe_per_token(self, seconds: float) -> None:
        self.per_token.observe(seconds)
        self.counts.add_per_token(seconds)


class Metrics:
    """All series. Labels are bounded: known routes, HTTP statuses, five lanes, the last four releases."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        name = "dsops_gateway_"

        def counter(what: str, text: str, labels: Sequence[str]) -> Counter:
            return Counter(name + what, text, labels, registry=registry)

        def gauge(what: str, text: str) -> Gauge:
            return Gauge(name + what, text, registry=registry)

        def histogram(what: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name + what, text, _LABELS, buckets=buckets, registry=registry)

        self._requests = counter("requests", "Requests", ("route", "code", *_LABELS))
        self.rejected = counter("rejected", "Requests refused before the engine saw them", ("reason",))
        self.in_flight = gauge("in_flight", "Requests with the engine now")
        self.drained = gauge("drained", "1 while the traffic door is closed on purpose")
        self.ejected = gauge("ejected", "1 while the agent keeps traffic away")
        self.keys_stale = gauge("keys_stale", "1 while the key file cannot be read")
        self._ttft = histogram("time_to_first_token_seconds", "Streams only", TTFT_BOUNDS)
        self._per_token = histogram(
            "time_per_output_token_seconds", "After the first token, streams only", PER_TOKEN_BOUNDS
        )
        self._whole = histogram("request_seconds", "From the request to the end of the answer", _WHOLE)
        self._prompt = counter("prompt_tokens", "Tokens of prompts", _LABELS)
        self._generated = counter("generated_tokens", "Tokens generated", _LABELS)
        self._targets: dict[tuple[str, str], TargetMetrics] = {}
        self._counters: dict[tuple[str, int, str, str], Counter] = {}
        self._counts: dict[str, Counts] = {}

    def count_request(self, route: str, code: int, *, lane: str = "", release: str = "") -> None:
        key = (route, code, lane, release)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, str(code), lane, release)
        counter.inc()

    def count_outcome(self, release: str, *, failed: bool) -> None:
        """A client's request to the release was answered to its end, or failed; neither is its own error."""
        counts = self.get_counts(release)
        counts.requests += 1
        counts.failed += failed

    def get_counts(self, release: str) -> Counts:
        """Of the release since they began; those of the release that came the longest time ago are forgotten."""
        counts = self._counts.get(release)
        if counts is None:
            if len(self._counts) >= _KEPT_COUNTS:
                oldest = next(iter(self._counts))
                del self._counts[oldest]
                self._remove([key for key in self._targets if key[1] == oldest])
            counts = self._counts[release] = Counts()
        return counts

    def list_tallies(self) -> tuple[ReleaseTally, ...]:
        """Of all releases that clients asked."""
        return tuple(counts.to_tally(release) for release, counts in self._counts.items())

    def get_target(self, lane: str, release: str) -> TargetMetrics:
        target = self._targets.get((lane, release))
        if target is None:
            self._forget_old_releases(release)
            target = self._targets[lane, release] = TargetMetrics(
                ttft=self._ttft.labels(lane, release),
                per_token=self._per_token.labels(lane, release),
                whole=self._whole.labels(lane, release),
                prompt_tokens=self._prompt.labels(lane, release),
                generated_tokens=self._generated.labels(lane, release),
                counts=self.get_counts(release),
            )
        return target

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _forget_old_releases(self, newest: str) -> None:
        releases = list(dict.fromkeys(release for _, release in self._targets))
        if newest in releases or len(releases) < _KEPT_RELEASES:
            return
        self._remove(key for key in list(self._targets) if key[1] == releases[0])

    def _remove(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            del self._targets[key]
            for family in (self._ttft, self._per_token, self._whole, self._prompt, self._generated):
                family.remove(*key)
            for counted in [c for c in self._counters if c[2:] == key]:
                del self._counters[counted]
                self._requests.remove(counted[0], str(counted[1]), *key)
