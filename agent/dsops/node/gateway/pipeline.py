"""From the engine's bytes to what a client reads: decoding, stop sequences, reasoning, token counts."""

import codecs

from dsops.core.chat import Delta, ReasoningSplitter, StopFinder
from dsops.node.gateway.triton import Message


class Pipeline:
    """The text of one answer on its way; fed message by message."""

    def __init__(self, *, stops: tuple[str, ...], splitter: ReasoningSplitter) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._has_stops = bool(stops)
        self._stops = StopFinder(stops)
        self._splitter = splitter
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish = ""

    def feed(self, message: Message) -> Delta:
        """What the client may see now; `finish` is set once the answer is complete."""
        self.completion_tokens += message.new_tokens
        self.prompt_tokens = message.prompt_tokens or self.prompt_tokens
        text = self._stops.feed(self._decoder.decode(message.text, final=message.final))
        if self._stops.found:
            self.finish = "stop"
        elif message.final:
            text += self._stops.finish()
            self.finish = "length" if message.finish == "length" else "stop"
        delta = self._splitter.feed(text)
        if not self.finish:
            return delta
        # With stop sequences the engine's "stop" may be one of them: no proof that the model was done.
        rest = self._splitter.finish(ended_by_itself=self.finish == "stop" and not self._has_stops)
        return Delta(reasoning=delta.reasoning + rest.reasoning, content=delta.content + rest.content)
