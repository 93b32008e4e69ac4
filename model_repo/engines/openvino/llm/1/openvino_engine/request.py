"""One request as the tensors state it, with the defaults of Triton's vLLM backend."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openvino_engine.errors import InvalidRequest
from openvino_engine.sampling import Sampling, parse_sampling

# Gives the only element of an input tensor, or None where the client left it out.
ReadTensor = Callable[[str], Any]
RESERVED = "triton_"  # request parameters of Triton's front ends, not of the model


@dataclass(frozen=True)
class Ask:
    """What one client wants. `echo` puts the prompt before the answer: vLLM's default without streaming."""

    prompt: str
    stream: bool
    echo: bool
    sampling: Sampling
    want_finish_reason: bool
    want_input_tokens: bool
    want_output_tokens: bool


def parse_ask(read: ReadTensor, parameters: str, *, most_tokens: int) -> Ask:
    """`parameters`: the request's own ones (JSON), in place of a missing sampling_parameters tensor."""
    stream = bool(read("stream"))
    exclude = read("exclude_input_in_output")
    if stream and exclude is not None and not exclude:
        raise InvalidRequest("exclude_input_in_output must not be false when streaming")
    return Ask(
        prompt=_read_text(read, "text_input") or "",
        stream=stream,
        echo=not stream and not exclude,
        sampling=parse_sampling(_find_sampling(read, parameters), most_tokens=most_tokens),
        want_finish_reason=bool(read("return_finish_reason")),
        want_input_tokens=bool(read("return_num_input_tokens")),
        want_output_tokens=bool(read("return_num_output_tokens")),
    )


def _find_sampling(read: ReadTensor, parameters: str) -> str:
    text = _read_text(read, "sampling_parameters")
    if text is not None:
        return text
    own = {key: value for key, value in json.loads(parameters or "{}").items() if not key.startswith(RESERVED)}
    return json.dumps(own)


def _read_text(read: ReadTensor, name: str) -> str | None:
    value = read(name)
    if value is None:
        return None
    try:
        return str(value.decode("utf-8")) if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8: {error}") from None
