"""Turns growing token lists into text that may be sent: whole characters only, nothing of a stop string."""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

HALF = "\ufffd"  # what a tokenizer shows for bytes that are not yet, or never, a character
MOST_HALVES = 3  # a character has at most four bytes, so at most three can wait for the last
LONGEST_WINDOW = 64  # tokens that are decoded again at each flush
KEPT_TOKENS = 8  # left of the old window, so that the next token is decoded in its neighbourhood


class TextWindow:
    """The last tokens of one answer; gives each character once, as soon as it is complete."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self._given = 0  # characters of this window's text that were given away

    def take(self, text: str, *, last: bool = False) -> str:
        """What is new in `text`, the decoding of `tokens`. With `last`, half a character is given as is."""
        whole = text if last else strip_halves(text)
        new = whole[self._given :]
        self._given += len(new)
        return new

    def shrink(self, text: str, decode: Decode) -> None:
        """Forget tokens once all of `text` is out: a long answer costs no more per token than a short one."""
        if len(self.tokens) > LONGEST_WINDOW and self._given == len(text):
            self.tokens = self.tokens[-KEPT_TOKENS:]
            self._given = len(decode(self.tokens))


def strip_halves(text: str) -> str:
    """The text without what may be the beginning of a character."""
    whole = text.rstrip(HALF)
    return whole if len(text) - len(whole) <= MOST_HALVES else text[:-MOST_HALVES]


class StopFilter:
    """Holds back what may become a stop string, and ends the answer where one is complete."""

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """The text that may be sent now. After a hit nothing comes any more."""
        if self.hit:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = self._find_first(text)
        if found is not None:
            self.hit, self._held = True, ""
            start, stop = found
            return text[: start + len(stop)] if self._include else text[:start]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held

    def _find_first(self, text: str) -> tuple[int, str] | None:
        found = [(text.find(stop), stop) for stop in self._stops if stop in text]
        return min(found, key=lambda pair: (pair[0] + len(pair[1]), pair[0]), default=None)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
