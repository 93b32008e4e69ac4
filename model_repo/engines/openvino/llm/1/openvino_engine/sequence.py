"""One request under way: which of its text may be sent, and what was sent already."""

from dataclasses import dataclass, field

from openvino_engine.ports import Handle, Message, Reply
from openvino_engine.request import Ask
from openvino_engine.text import Decode, StopFilter, TextWindow


@dataclass
class Sequence:
    """Owned by the loop; nobody else touches it."""

    number: int
    ask: Ask
    ids: list[int]
    reply: Reply
    next_check: float = 0.0  # when to ask next whether the client is still there
    handle: Handle | None = None
    finish: str | None = None
    answered: bool = False  # a first token is there: its prompt is through
    _window: TextWindow = field(default_factory=TextWindow)
    _stops: StopFilter = field(init=False)
    _text: str = ""  # may be sent
    _unsent: int = 0
    _undecoded: bool = False
    _next_message: float = 0.0  # so that the first one goes at once

    def __post_init__(self) -> None:
        sampling = self.ask.sampling
        self._stops = StopFilter(sampling.stop, include=sampling.include_stop_str_in_output)
        if self.ask.echo:
            self._text = self.ask.prompt

    @property
    def window(self) -> list[int]:
        return self._window.tokens

    def add(self, tokens: list[int], finish: str | None) -> None:
        """Take what one step gave."""
        self._window.tokens += tokens
        self._unsent += len(tokens)
        self._undecoded = self._undecoded or bool(tokens)
        self.finish = finish

    def want_text(self, now: float) -> bool:
        """Whether to decode now: for a message, at the end, and at each step if there are stop strings."""
        if self.finish is not None:
            return bool(self.window)
        return self._undecoded and (bool(self.ask.sampling.stop) or self._is_due(now))

    def take_text(self, decoded: str, decode: Decode) -> None:
        """Take the decoding of `window`; a stop string in it ends the answer."""
        self._undecoded = False
        last = self.finish is not None
        self._text += self._stops.push(self._window.take(decoded, last=last))
        if self._stops.hit:
            self.finish = "stop"
        elif not last:
            self._window.shrink(decoded, decode)

    def take_message(self, now: float, *, gap: float) -> Message | None:
        """What may be sent now; None if that is nothing or it is too early. The next comes after the gap."""
        if self.finish is not None:
            self._text += self._stops.finish()
        elif not self._text or not self._is_due(now):
            return None
        message = Message(self._text, self._unsent, self.finish)
        self._text, self._unsent, self._next_message = "", 0, now + gap
        return message

    def _is_due(self, now: float) -> bool:
        return self.ask.stream and now >= self._next_message
