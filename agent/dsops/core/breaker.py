"""How far dsops may go by itself when checks want servers out of traffic: counted in what serves. Pure.

It only ever holds back what takes capacity away; whatever brings it back is never held.
"""

from dataclasses import dataclass, replace

WEEK = 7 * 86400.0
# So often within a week, and a person looks before it happens again.
BUDGET = 5


@dataclass(frozen=True)
class Breaker:
    """tripped: why nothing is taken away any more, until a person resets it; "" = not. Times: Unix seconds.

    taken: when a finding took this server out of traffic.
    """

    tripped: str = ""
    tripped_at: float | None = None
    taken: tuple[float, ...] = ()

    def refuse(self, *, serving: int, keep: int, at: float) -> str:
        """Why this server must stay in traffic now, "" when it may leave. serving: others that take its traffic."""
        if self.tripped:
            return self.tripped
        if serving < keep:
            return f"{count(serving)} would be left to serve, and {keep} must"
        if sum(0 <= at - one <= WEEK for one in self.taken) >= BUDGET:
            return f"checks took it out of traffic {BUDGET} times within a week"
        return ""

    def take(self, at: float) -> "Breaker":
        """Once more."""
        return replace(self, taken=(*self.taken, at)[-BUDGET:])

    def trip(self, reason: str, at: float) -> "Breaker":
        """Latched; the first reason stays."""
        return self if self.tripped else replace(self, tripped=reason, tripped_at=at)


def count(servers: int) -> str:
    """In words."""
    return {0: "no other server", 1: "one other server"}.get(servers, f"{servers} other servers")
