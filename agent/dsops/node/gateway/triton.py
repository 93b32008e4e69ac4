"""Talks to one slot's Triton: its readiness, and generations over ModelStreamInfer."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2_grpc

from dsops.node.gateway.errors import ApiError, retry_later

MODEL = "llm"
_READY_FOR = 0.5
_READY_TIMEOUT = 0.8
_GLANCE = 0.2
_MAX_MESSAGE = 64 * 1024 * 1024
# After a restart of Triton the channel must notice within a second, not after gRPC's two minutes.
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the engine. `new_tokens` counts what it brings; prompt_tokens is 0 when not said."""

    text: bytes = b""
    finish: str = ""
    prompt_tokens: int = 0
    new_tokens: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a slot's Triton can answer; phase is a word of DESIGN section 3."""

    ready: bool
    phase: str
    reason: str = ""


class Slot:
    """One Triton process. One channel, and bidirectional streams on it that are used again and again.

    A new gRPC stream costs the gateway about 280 us of CPU, a request on an open one 70 us. A stream carries
    one request at a time, so that cancelling the stream cancels exactly this request.
    """

    def __init__(self, name: str, address: str, *, stream_idle: float) -> None:
        self.name = name
        self.address = address
        self._stream_idle = stream_idle
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._idle: list[tuple[Any, float]] = []
        self._readiness = Readiness(False, "unknown", "not asked yet")
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[Readiness] | None = None
        # What the agent tells busy from stuck by: requests that wait for the engine's next word, tokens that came,
        # and when a word came last or somebody began to wait.
        self.waiting = 0
        self._breaks = 0
        self.tokens = 0
        self._moved_at = 0.0

    @property
    def idle_seconds(self) -> float | None:
        """Since the engine's last word while somebody waits for the next; None when nobody does."""
        return time.monotonic() - self._moved_at if self.waiting else None

    def begin_wait(self) -> None:
        if not self.waiting:
            self._moved_at = time.monotonic()
        self.waiting += 1

    def end_wait(self) -> None:
        self.waiting -= 1

    def count(self, message: Message) -> None:
        self.tokens += message.new_tokens
        self._moved_at = time.monotonic()

    async def watch(self) -> None:
        """For ever: a connection that breaks is a process that went, so what was known of it is forgotten at once."""
        while True:
            state = self._channel.get_state()
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                return
            await self._channel.wait_for_state_change(state)
            self.forget_readiness()

    def forget_readiness(self) -> None:
        """The next who wants to know asks Triton again; an answer that is on its way counts for old."""
        self._breaks += 1
        self._asked_at = float("-inf")

    async def readiness(self) -> Readiness:
        """Whether the model is ready; asked at most every half second, by one caller for all."""
        if time.monotonic() - self._asked_at <= _READY_FOR:
            return self._readiness
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_readiness())
        return await asyncio.shield(self._asking)

    async def glance(self) -> Readiness:
        """The same for who must not wait: the agent wants the status above all of a Triton that does not answer."""
        try:
            return await asyncio.wait_for(self.readiness(), timeout=_GLANCE)
        except TimeoutError:
            return Readiness(False, "unknown", f"Triton in slot {self.name} has not answered for {_GLANCE} s")

    async def _ask_readiness(self) -> Readiness:
        breaks = self._breaks
        try:
            self._readiness = await self._ask_ready()
        finally:
            self._asked_at = time.monotonic() if breaks == self._breaks else float("-inf")
            self._asking = None
        return self._readiness

    async def _ask_ready(self) -> Readiness:
        request = pb.ModelReadyRequest(name=MODEL)
        try:
            answer = await self._stub.ModelReady(request, timeout=_READY_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return Readiness(False, "stopped", f"Triton in slot {self.name} cannot be reached")
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                wait = f"Triton in slot {self.name} did not answer within {_READY_TIMEOUT} s"
                return Readiness(False, "unknown", wait)
            return Readiness(False, "unknown", f"Triton in slot {self.name}: {error.details()}")
        if answer.ready:
            return Readiness(True, "serving")
        return Readiness(False, "loading", f"the model in slot {self.name} is not ready")

    def start(self, request: Any) -> "Generation":
        """Begins a generation; `request` comes from `render_request`."""
        return Generation(self, request)

    def take_stream(self) -> tuple[Any, bool]:
        """A stream, and whether it was used before."""
        while self._idle:
            stream, _ = self._idle.pop()
            if not stream.done():
                return stream, True
        return self.new_stream(), False

    def new_stream(self) -> Any:
        return self._stub.ModelStreamInfer()

    def give_stream(self, stream: Any) -> None:
        """Keeps a stream whose request ended for the next one."""
        if self._stream_idle:
            self._idle.append((stream, time.monotonic()))
        else:
            stream.cancel()

    def close_idle_streams(self) -> None:
        """Closes what lay unused for too long; called a few times a second."""
        latest = time.monotonic() - self._stream_idle
        while self._idle and self._idle[0][1] < latest:
            self._idle.pop(0)[0].cancel()

    async def close(self) -> None:
        for stream, _ in self._idle:
            stream.cancel()
        self._idle.clear()
        await self._channel.close()


class Generation:
    """One request with the engine. Ends with a final message, an ApiError, or `abandon`."""

    def __init__(self, slot: Slot, request: Any) -> None:
        self._slot = slot
        self._request = request
        self._stream: Any = None
        self._open = False

    async def first(self) -> Message:
        """Sends the request and waits for the engine's first message; raises ApiError."""
        self._slot.begin_wait()
        try:
            return await self._send_first()
        finally:
            self._slot.end_wait()

    async def _send_first(self) -> Message:
        self._stream, used = self._slot.take_stream()
        try:
            return await self._send()
        except grpc.aio.AioRpcError as error:
            if not used:
                raise _unreachable(self._slot, error) from None
        # A stream of an earlier Triton process: nothing of this request was answered, so ask the new one.
        self._stream = self._slot.new_stream()
        try:
            return await self._send()
        except grpc.aio.AioRpcError as error:
            raise _unreachable(self._slot, error) from None

    async def next(self) -> Message:
        """The next message; raises ApiError when the engine fails or goes away."""
        self._slot.begin_wait()
        try:
            return await self._read()
        except grpc.aio.AioRpcError as error:
            raise _unreachable(self._slot, error) from None
        finally:
            self._slot.end_wait()

    def abandon(self) -> None:
        """Tells the engine to stop, if it has not ended; safe to call at any time."""
        if self._open:
            self._open = False
            self._stream.cancel()

    async def _send(self) -> Message:
        self._open = True
        with contextlib.suppress(asyncio.InvalidStateError):  # it had ended before: reading says how
            await self._stream.write(self._request)
        return await self._read()

    async def _read(self) -> Message:
        while True:
            answer = await self._stream.read()
            if answer is grpc.aio.EOF:
                self._open = False
                self._slot.forget_readiness()
                raise ApiError(503, "the engine closed the connection", code="engine_stopped")
            if answer.infer_response.id not in (self._request.id, ""):
                continue
            if answer.error_message:
                self.abandon()
                raise read_error(answer.error_message)
            message = read_message(answer.infer_response)
            self._slot.count(message)
            if message.final:
                self._open = False
                self._slot.give_stream(self._stream)
            if message.finish == "cancelled":  # not by us: whoever cancels does not read on
                raise retry_later(503, "the engine cancelled this request", code="engine_stopped", after=2)
            return message


def render_request(
    request_id: str, *, prompt: bytes, stream: bool, sampling: Mapping[str, object], stops: tuple[str, ...]
) -> Any:
    """The ModelInferRequest of the tensor contract (Triton's own vLLM backend)."""
    options = {**sampling, "stop": stops} if stops else sampling
    request = pb.ModelInferRequest()
    request.CopyFrom(_STREAMED if stream else _WHOLE)
    request.id = request_id
    request.raw_input_contents[0] = _bytes_element(prompt)
    request.raw_input_contents[1] = _bytes_element(json.dumps(options).encode())
    return request


def _bytes_element(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _request_form(*, stream: bool) -> Any:
    request = pb.ModelInferRequest(model_name=MODEL)
    flags = {
        "stream": stream,
        "exclude_input_in_output": True,
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    for name in ("text_input", "sampling_parameters"):
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(b"")
    for name, value in flags.items():
        request.inputs.add(name=name, datatype="BOOL", shape=[1])
        request.raw_input_contents.append(bytes([value]))
    for name in ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens"):
        request.outputs.add(name=name)
    # Without this Triton drops a final message that carries nothing, and the end would never be seen.
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


_WHOLE = _request_form(stream=False)
_STREAMED = _request_form(stream=True)


def read_message(response: Any) -> Message:
    """The contract's outputs of one ModelInferResponse."""
    raw = response.raw_output_contents
    values = {output.name: raw[i] for i, output in enumerate(response.outputs) if i < len(raw)}
    final = "triton_final_response" in response.parameters
    return Message(
        text=_read_strings(values.get("text_output", b"")),
        finish=_read_strings(values.get("finish_reason", b"")).decode("utf-8", "replace"),
        prompt_tokens=int.from_bytes(values.get("num_input_tokens", b"")[:4], "little"),
        new_tokens=int.from_bytes(values.get("num_output_tokens", b"")[:4], "little"),
        final=final and response.parameters["triton_final_response"].bool_param,
    )


def _read_strings(raw: bytes) -> bytes:
    """All the elements of a BYTES tensor, joined; each is its length in 4 bytes, then itself."""
    size = int.from_bytes(raw[:4], "little")
    if len(raw) <= size + 4:
        return raw[4:]
    parts, at = [], 0
    while at + 4 <= len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        parts.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(parts)


_ENGINE_ERROR = re.compile(r"(context_length_exceeded|invalid_request|overloaded):\s*(.*)", re.DOTALL)
_NOT_READY = re.compile(r"is not (ready|found)|unavailable|has no available versions|exiting", re.IGNORECASE)


def _context(message: str) -> ApiError:
    return ApiError(400, message, code="context_length_exceeded", param="messages")


_BY_WORD: Mapping[str, Callable[[str], ApiError]] = {
    "context_length_exceeded": _context,
    "invalid_request": lambda message: ApiError(400, message, code="invalid_value"),
    "overloaded": lambda message: retry_later(429, message, code="overloaded", after=1),
}


def read_error(text: str) -> ApiError:
    """What an error message of Triton means for the client; the contract's words come first."""
    if known := _ENGINE_ERROR.search(text):
        return _BY_WORD[known[1]](known[2].strip() or known[1])
    if _NOT_READY.search(text):
        return retry_later(503, f"the engine is not ready: {text}", code="not_ready", after=2)
    return ApiError(500, f"the engine failed: {text}", code="engine_error")


def _unreachable(slot: Slot, error: Any) -> ApiError:
    slot.forget_readiness()
    text = error.details() or error.code().name
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return retry_later(503, f"the engine in slot {slot.name} cannot be reached", code="not_ready", after=2)
    return read_error(text)
