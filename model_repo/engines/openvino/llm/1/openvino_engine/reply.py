"""The way back to one client through Triton's response sender."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

from openvino_engine.errors import RequestError
from openvino_engine.ports import Message
from openvino_engine.request import Ask

UNFINISHED = "None"  # what vLLM's backend writes until the last message


class TritonReply:
    """Sends the tensors that the request asked for. After the final message nothing is sent any more."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._ask: Ask | None = None

    def expect(self, ask: Ask) -> None:
        """From now on it is known which tensors are wanted."""
        self._ask = ask

    def send(self, message: Message, *, input_tokens: int) -> None:
        tensors = [_text("text_output", message.text)]
        if self._ask is not None and self._ask.want_finish_reason:
            tensors.append(_text("finish_reason", message.finish or UNFINISHED))
        if self._ask is not None and self._ask.want_input_tokens:
            tensors.append(_count("num_input_tokens", input_tokens))
        if self._ask is not None and self._ask.want_output_tokens:
            tensors.append(_count("num_output_tokens", message.tokens))
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if message.finish is not None else 0
        self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=final)

    def fail(self, error: RequestError) -> None:
        code = getattr(pb_utils.TritonError, error.code)
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self) -> bool:
        return bool(self._sender.is_cancelled())


def _text(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([text.encode()], dtype=np.object_))


def _count(name: str, value: int) -> Any:
    return pb_utils.Tensor(name, np.array([value], dtype=np.uint32))
