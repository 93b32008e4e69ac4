"""How often messages go out: they are what streaming costs, so their number is bounded, not their size."""

from dataclasses import dataclass

LONGEST_GAP_S = 0.2  # a reader sees no stutter below this
MOST_CHECKS_PER_SECOND = 500  # each asks the server whether one client is still there
CHECK_GAP_S = 0.1


@dataclass(frozen=True)
class Pacing:
    """One request alone gets a message for nearly each token; more of them send several tokens at once."""

    messages_per_second: int

    def message_gap(self, running: int) -> float:
        """Seconds between two messages of one request."""
        return min(running / self.messages_per_second, LONGEST_GAP_S)

    def check_gap(self, requests: int) -> float:
        """Seconds between two looks at whether one client is still there."""
        return max(CHECK_GAP_S, requests / MOST_CHECKS_PER_SECOND)
