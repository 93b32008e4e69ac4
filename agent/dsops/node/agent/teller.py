"""Tells the story of what goes on: keeps the incident that is open, and hands its lines to whoever remembers them."""

from collections.abc import Callable

from dsops.core.blame import Ruling
from dsops.core.remedy import Remedy
from dsops.node.agent.events import Now
from dsops.node.agent.incident import Incident

Record = Callable[[Incident], None]
Note = Callable[[float, str, str, str], None]


class Teller:
    """`record` gets an incident whenever it gained a line and is worth telling; `note` every line, by itself."""

    def __init__(self, node: str, *, record: Record, note: Note) -> None:
        self.incident: Incident | None = None
        self._node = node
        self._record = record
        self._note = note

    def open(self, release: str, *, now: Now, onset: float) -> None:
        """Something goes wrong, since `onset` (ticks). Nothing happens when that is known already."""
        if self.incident is None:
            self.incident = Incident(self._node, release, now.wall - (now.ticks - onset))

    def say(self, kind: str, says: str, *, release: str, now: Now) -> None:
        """One line."""
        if self.incident:
            self.incident = self.incident.add(now.wall, kind, says)
        self._keep(kind, says, release=release, now=now)

    def decide(self, ruling: Ruling, remedy: Remedy, *, release: str, now: Now) -> None:
        """What was decided, and why."""
        if self.incident:
            self.incident = self.incident.decide(now.wall, ruling, remedy)
        self._keep("decided", f"{remedy.action}: {remedy.says}", release=release, now=now)

    def rule(self, ruling: Ruling, *, done: str, says: str, then: str, release: str, now: Now) -> None:
        """The same where the act is none of those that mend the active slot."""
        if self.incident:
            self.incident = self.incident.rule(now.wall, ruling, done=done, says=says, then=then)
        self._keep("decided", says, release=release, now=now)

    def close(self, *, release: str, now: Now, outcome: str = "") -> None:
        """It is over; `release` serves now. outcome: how it ended, "" to say it of the active slot."""
        incident = self.incident
        if incident is None:
            return
        says = outcome or find_outcome(incident, release=release, now=now)
        self.incident = incident.end(now.wall, says)
        if incident.is_grave:
            self._keep("done", self.incident.outcome, release=release, now=now)
        self.incident = None

    def _keep(self, kind: str, says: str, *, release: str, now: Now) -> None:
        self._note(now.wall, kind, release, says)
        if self.incident and self.incident.is_grave:
            self._record(self.incident)


def find_outcome(incident: Incident, *, release: str, now: Now) -> str:
    """How it ended, in a sentence."""
    took = f"{now.wall - incident.began:.1f} s after it began"
    last = incident.actions[-1] if incident.actions else ""
    if release != incident.release:
        how = "rolled back" if last.startswith("rollback") else "another release was activated"
        return f"{how}: {release or 'none'} serves, {took}"
    if last.startswith("restart"):
        return f"restarted; it serves again, {took}"
    return f"it came back by itself, {took}"
