"""Findings for which this server should have no traffic: a GPU that left the bus waits for no failing request.

Traffic goes at once, where enough others serve; should many servers have left in the same moment, they come back as
long as their engines answer: a service with doubtful hardware is better than none.
"""

from collections.abc import Sequence

from dsops.core.breaker import Breaker
from dsops.core.checks import find_drain
from dsops.core.status import Blame, Condition, Finding, Measure, Verdict
from dsops.node.agent.events import Now

CODE = "node.breaker"


class Grounds:
    """keep: so many other servers must serve, or this one stays. finding: for which the traffic is away now."""

    def __init__(self, breaker: Breaker, *, keep: int) -> None:
        self.breaker = breaker
        self.keep = keep
        self.finding: Finding | None = None

    def take(self, finding: Finding, *, serving: int, now: Now) -> bool:
        """Whether the traffic may go for it. When it may not, that holds until a person says otherwise."""
        if reason := self.breaker.refuse(serving=serving, keep=self.keep, at=now.wall):
            self.breaker = self.breaker.trip(reason, now.wall)
            return False
        self.breaker = self.breaker.take(now.wall)
        self.finding = finding
        return True

    def is_over(self, findings: Sequence[Finding]) -> bool:
        """Whether nothing asks for it any more."""
        return self.finding is None or find_drain(findings) is None

    def give_way(self, *, serving: int, now: Now) -> bool:
        """Whether it must come back, since too few others serve; that trips the breaker."""
        if self.finding is None or serving >= self.keep:
            return False
        reason = f"too few others serve since it left for {self.finding.entity} {self.finding.code}"
        self.breaker = self.breaker.trip(reason, now.wall)
        return True

    def reset(self) -> None:
        """A person did."""
        self.breaker = Breaker()

    def describe(self, node: str) -> tuple[Finding, ...]:
        """The breaker as a finding, while it is tripped."""
        if not self.breaker.tripped:
            return ()
        says = f"stays in traffic whatever its checks find: {self.breaker.tripped}"
        mend = f"look at `dsops why {node}`; then `dsops node clear --reason ...` there"
        since = self.breaker.tripped_at
        return (Finding("node", CODE, Verdict.BAD, Blame.DSOPS, Condition.DEGRADED, says, mend, Measure.ALERT, since),)
