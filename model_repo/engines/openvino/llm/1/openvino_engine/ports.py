"""What the loop needs of its neighbours: an inference pipeline and a way back to each client."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from openvino_engine.errors import RequestError
from openvino_engine.sampling import Sampling


class Handle(Protocol):
    """One request inside a pipeline."""

    def read(self) -> tuple[list[int], str | None]:
        """Tokens since the last call, and the finish reason at the end; RequestError if it was dropped."""

    def stop(self) -> None:
        """Give its place back at the next step."""


class Pipeline(Protocol):
    """An inference engine that steps all its requests together; tests give a fake."""

    def encode(self, prompt: str) -> list[int]: ...
    def decode(self, windows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]: ...
    def add(self, number: int, ids: list[int], *, sampling: Sampling, most_new: int) -> Handle: ...
    def step(self) -> None: ...


@dataclass(frozen=True)
class Message:
    """One message to a client. `tokens` are those of this message; `finish` is set on the last one only."""

    text: str
    tokens: int
    finish: str | None = None


class Reply(Protocol):
    """The way back to one client."""

    def send(self, message: Message, *, input_tokens: int) -> None: ...
    def fail(self, error: RequestError) -> None: ...
    def is_cancelled(self) -> bool: ...
