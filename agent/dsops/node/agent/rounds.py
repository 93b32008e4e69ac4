"""When which golden prompt is asked next, by whom: slowly while all is well, faster once something was BAD."""

from dataclasses import dataclass, field

from dsops.core.looks import Witness
from dsops.core.prompts import Prompt


@dataclass(frozen=True)
class Pace:
    """Seconds from one probe of a witness to its next. retry: after a BAD; fresh: while something new is looked at."""

    every: float = 15.0
    retry: float = 2.5
    fresh: float = 0.5


@dataclass
class Rounds:
    """Each witness has one probe at a time. The two never ask the same prompt one after the other."""

    began: dict[Witness, float] = field(default_factory=dict)
    under_way: set[Witness] = field(default_factory=set)
    turn: int = 0

    def find_due(self, witnesses: tuple[Witness, ...], *, now: float, every: float) -> list[Witness]:
        """Whose next probe should begin."""
        free = [one for one in witnesses if one not in self.under_way]
        return [one for one in free if one not in self.began or now - self.began[one] >= every]

    def begin(self, witness: Witness, prompts: tuple[Prompt, ...], *, now: float) -> Prompt:
        """The prompt to ask now."""
        self.began[witness] = now
        self.under_way.add(witness)
        self.turn += 1
        return prompts[self.turn % len(prompts)]

    def end(self, witness: Witness) -> None:
        """The probe of this witness has ended."""
        self.under_way.discard(witness)

    def defer(self, now: float) -> None:
        """Nobody needs to ask what just died."""
        self.began.update(dict.fromkeys(self.began, now))

    def restart(self) -> None:
        """What is under way is about something else now; all are due."""
        self.began.clear()
        self.under_way.clear()
