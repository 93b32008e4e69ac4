"""A small client of the tensor contract over gRPC, as the gateway speaks it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput  # type: ignore[import-untyped]
from tritonclient.grpc.aio import InferenceServerClient  # type: ignore[import-untyped]

FLAGS = ("return_finish_reason", "return_num_input_tokens", "return_num_output_tokens")


@dataclass
class Answer:
    """Everything that came back for one request."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)
    input_tokens: int = 0

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def finish(self) -> str:
        return self.finishes[-1]


async def ask(client: InferenceServerClient, prompt: str | bytes, *, stream: bool = False, **sampling: Any) -> Answer:
    """One request; raises InferenceServerException with the server's message."""
    answer = Answer()
    async for result in open_stream(client, prompt, stream=stream, **sampling):
        answer.texts.append(result.as_numpy("text_output")[0].decode())
        answer.tokens.append(int(result.as_numpy("num_output_tokens")[0]))
        answer.finishes.append(result.as_numpy("finish_reason")[0].decode())
        answer.input_tokens = int(result.as_numpy("num_input_tokens")[0])
    return answer


async def open_stream(
    client: InferenceServerClient,
    prompt: str | bytes,
    *,
    stream: bool,
    exclude: bool | None = True,
    **sampling: Any,
) -> AsyncIterator[Any]:
    """The messages of one request as they come."""
    tensors = render_inputs(prompt, stream=stream, exclude=exclude, sampling=sampling)

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "llm", "inputs": tensors}

    async for result, error in client.stream_infer(requests()):
        if error is not None:
            raise error
        if result.as_numpy("text_output") is not None:
            yield result


def render_inputs(
    prompt: str | bytes, *, stream: bool, exclude: bool | None, sampling: dict[str, Any]
) -> list[InferInput]:
    data = prompt if isinstance(prompt, bytes) else prompt.encode()
    tensors = [
        _input("text_input", data),
        _input("stream", stream),
        _input("sampling_parameters", json.dumps(sampling).encode()),
        *(_input(name, True) for name in FLAGS),
    ]
    return tensors if exclude is None else [*tensors, _input("exclude_input_in_output", exclude)]


def run_asks(address: str, *asks: dict[str, Any]) -> list[Any]:
    """All requests at once; what a request raised is in its place."""

    async def run() -> list[Any]:
        async with InferenceServerClient(address) as client:
            return await asyncio.gather(*(ask(client, **one) for one in asks), return_exceptions=True)

    return asyncio.run(run())


def _input(name: str, value: bytes | bool) -> InferInput:
    tensor = InferInput(name, [1], "BOOL" if isinstance(value, bool) else "BYTES")
    tensor.set_data_from_numpy(np.array([value], dtype=bool if isinstance(value, bool) else np.object_))
    return tensor
