"""What clients' requests to each release came to, counted for whoever compares two of them."""

import secrets
from bisect import bisect_left
from dataclasses import dataclass, field

from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Tally


def _make_ttft() -> list[int]:
    return [0] * (len(TTFT_BOUNDS) + 1)


def _make_per_token() -> list[int]:
    return [0] * (len(PER_TOKEN_BOUNDS) + 1)


@dataclass(slots=True)
class Counts:
    """Of one release. life: other when they began anew. Times in seconds; streams only."""

    life: str = field(default_factory=lambda: secrets.token_hex(4))
    requests: int = 0
    failed: int = 0
    ttft: list[int] = field(default_factory=_make_ttft)
    per_token: list[int] = field(default_factory=_make_per_token)
    ttft_seconds: float = 0.0
    per_token_seconds: float = 0.0

    def add_ttft(self, seconds: float) -> None:
        self.ttft[bisect_left(TTFT_BOUNDS, seconds)] += 1
        self.ttft_seconds += seconds

    def add_per_token(self, seconds: float) -> None:
        self.per_token[bisect_left(PER_TOKEN_BOUNDS, seconds)] += 1
        self.per_token_seconds += seconds

    def to_tally(self, release: str) -> ReleaseTally:
        """As it goes over the wire."""
        real = Tally(
            requests=self.requests,
            failed=self.failed,
            ttft=tuple(self.ttft),
            per_token=tuple(self.per_token),
            ttft_seconds=round(self.ttft_seconds, 6),
            per_token_seconds=round(self.per_token_seconds, 6),
        )
        return ReleaseTally(release, real=real, lives=self.life)
