"""The last minute in numbers, for people and for the agent; Prometheus has the long view."""

from collections import deque


class Window:
    """Token rate over the last `seconds`, latency quantiles over at most `size` requests in it."""

    def __init__(self, *, seconds: float = 60.0, size: int = 1024) -> None:
        self._seconds = seconds
        self._tokens: deque[tuple[int, int]] = deque()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=size)

    def add_tokens(self, count: int, *, now: float) -> None:
        """Counts generated tokens as they come; kept by the second."""
        second = int(now)
        if self._tokens and self._tokens[-1][0] == second:
            count += self._tokens.pop()[1]
        self._tokens.append((second, count))
        self._forget(now)

    def add_latency(self, seconds: float, *, now: float) -> None:
        self._latencies.append((now, seconds))

    def tokens_per_second(self, *, now: float) -> float:
        """Over the whole window, or over the time since the first token in it when that is shorter."""
        self._forget(now)
        if not self._tokens:
            return 0.0
        span = min(self._seconds, max(1.0, now - self._tokens[0][0]))
        return sum(count for _, count in self._tokens) / span

    def find_quantile(self, share: float, *, now: float) -> float | None:
        """Seconds; None when nothing ended in the window."""
        recent = sorted(seconds for at, seconds in self._latencies if at >= now - self._seconds)
        return recent[min(len(recent) - 1, int(share * len(recent)))] if recent else None

    def _forget(self, now: float) -> None:
        while self._tokens and self._tokens[0][0] < now - self._seconds:
            self._tokens.popleft()
