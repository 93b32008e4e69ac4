"""One episode, from the first BAD look to its end, as the story that `dsops why` tells."""

from dataclasses import dataclass, replace

from dsops.core.blame import Ruling
from dsops.core.remedy import Action, Remedy
from dsops.core.status import Blame
from dsops.core.story import Decision, Moment

MOST_MOMENTS = 200
# What a story is worth telling for; a single BAD look that cleared up is only a line of history.
_GRAVE = ("eject", "verdict", "decided")
NO_RULING = Ruling(Blame.UNKNOWN, "no verdict was reached")


@dataclass(frozen=True)
class Incident:
    """Immutable; each thing that happens gives the next one. Times: Unix seconds."""

    node: str
    release: str
    began: float
    moments: tuple[Moment, ...] = ()
    ruling: Ruling = NO_RULING
    actions: tuple[str, ...] = ()
    next_step: str = ""
    outcome: str = ""
    ended: float | None = None

    @property
    def is_grave(self) -> bool:
        """Whether traffic was taken away, or a verdict reached."""
        return any(moment.kind in _GRAVE for moment in self.moments)

    def add(self, at: float, kind: str, says: str) -> "Incident":
        """One more moment; in a long one the middle is left out, neither the beginning nor what comes last."""
        moments = (*self.moments, Moment(at, kind, says))
        if len(moments) > MOST_MOMENTS:
            half = MOST_MOMENTS // 2
            moments = (*moments[:half], *moments[half + 1 :])
        return replace(self, moments=moments)

    def decide(self, at: float, ruling: Ruling, remedy: Remedy) -> "Incident":
        """What was decided, and why."""
        done = remedy.action.value + (f" of the {remedy.unit}" if remedy.unit else "")
        says = f"{done}: {remedy.says}" if remedy.action is not Action.NONE else f"no action: {remedy.says}"
        is_act = remedy.action is not Action.NONE
        return self.rule(at, ruling, done=done if is_act else "", says=says, then=remedy.next)

    def rule(self, at: float, ruling: Ruling, *, done: str, says: str, then: str) -> "Incident":
        """The same in its own words. done: the act, "" for none."""
        actions = (*self.actions, done) if done else self.actions
        return replace(self, ruling=ruling, actions=actions, next_step=then).add(at, "decided", says)

    def end(self, at: float, outcome: str) -> "Incident":
        """It is over."""
        return replace(self.add(at, "done", outcome), outcome=outcome, ended=at, next_step="")

    def to_decision(self) -> Decision:
        """As it is stored and shown."""
        return Decision(
            node=self.node,
            release=self.release,
            began=self.began,
            moments=self.moments,
            blame=self.ruling.blame,
            blame_says=self.ruling.says,
            excludes=self.ruling.excludes,
            action=", then ".join(self.actions) or Action.NONE.value,
            outcome=self.outcome,
            next_step=self.next_step,
            ended=self.ended,
        )
