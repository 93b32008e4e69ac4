"""What the engine has done so far, as numbers that anyone may read at any time."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Totals only grow. A hung step shows as running > 0 while the totals stand still."""

    generated_tokens: int = 0
    prefilled_tokens: int = 0
    iterations: int = 0
    running: int = 0
    waiting: int = 0


@dataclass
class PrefillMeter:
    """Counts prompt tokens while they are computed.

    openvino tells only when the first token of an answer is there. It takes a long prompt in slices, at most
    `batched_tokens` a step and the oldest request first, after one token for each answer under way. So the
    slices are counted as they go, and the rest when the first token shows that the prompt is through.
    """

    batched_tokens: int
    _open: deque[tuple[int, int]] = field(default_factory=deque)  # (request number, tokens still to count)

    def add(self, number: int, tokens: int) -> None:
        self._open.append((number, tokens))

    def count_step(self, answering: int) -> int:
        """Tokens of prompts that one step has taken."""
        budget = max(self.batched_tokens - answering, 0)
        left = budget
        for index, (number, tokens) in enumerate(self._open):
            taken = min(tokens, left)
            self._open[index] = (number, tokens - taken)
            left -= taken
        return budget - left

    def close(self, number: int, *, through: bool) -> int:
        """The prompt is through or dropped: gives the tokens that were not counted yet."""
        rest = [tokens for other, tokens in self._open if other == number]
        self._open = deque(item for item in self._open if item[0] != number)
        return sum(rest) if through else 0
