"""A small real gRPC server that speaks ModelStreamInfer and does what the prompt tells it, also dying."""

import argparse
import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2_grpc

# A prompt may hold one command in braces, e.g. {say:hello} or {stall}; see `FakeTriton.script`.
COMMAND = re.compile(r"\{(\w+)(?::([^}]*))?\}")


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Counts what happened to it, so that tests can ask."""

    def __init__(self, *, name: str = "fake") -> None:
        self.name = name
        self.ready = True
        self.ready_delay = 0.0
        self.requests: list[dict[str, Any]] = []
        self.cancelled = 0
        self.streams = 0
        self.ready_asked = 0

    async def ModelReady(self, request: Any, context: Any) -> Any:
        self.ready_asked += 1
        await asyncio.sleep(self.ready_delay)
        return pb.ModelReadyResponse(ready=self.ready and request.name == "llm")

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self.streams += 1
        busy = False
        try:
            async for request in requests:
                busy = True
                async for answer in self._answer(request):
                    yield answer
                busy = False
        finally:
            if busy:
                self.cancelled += 1

    async def _answer(self, request: Any) -> AsyncIterator[Any]:
        asked = read_request(request)
        self.requests.append(asked)
        pieces = self.script(asked)
        if not asked["stream"]:
            async for piece in merge(pieces):
                yield render(request.id, piece)
            return
        async for piece in pieces:
            yield render(request.id, piece)

    async def script(self, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        prompt = asked["prompt"]
        found = COMMAND.search(prompt)
        command, value = (found[1], found[2] or "") if found else ("say", "\nhm</think>\n\nhello")
        count = len(prompt)
        if command == "say":  # in pieces of one character
            for char in value.replace("\\n", "\n"):
                yield {"text": char, "prompt_tokens": count, "tokens": 1}
            yield {"final": True, "finish": "stop"}
        elif command == "who":
            yield {
                "text": f"</think>{self.name}",
                "tokens": 1,
                "prompt_tokens": count,
                "finish": "stop",
                "final": True,
            }
        elif command == "slow":  # number of tokens, 10 ms apart
            yield {"text": "</think>", "tokens": 1, "prompt_tokens": count}
            for i in range(int(value)):
                await asyncio.sleep(0.01)
                yield {"text": f"{i} ", "tokens": 1}
            yield {"final": True, "finish": "stop"}
        elif command == "bytes":  # a text cut in the middle of its characters
            data = ("</think>" + value).encode()
            for i in range(len(data)):
                yield {"raw": data[i : i + 1], "tokens": 1}
            yield {"final": True, "finish": "stop"}
        elif command == "length":
            yield {
                "text": value,
                "tokens": len(value),
                "prompt_tokens": count,
                "finish": "length",
                "final": True,
            }
        elif command == "error":
            yield {"error": value}
        elif command == "later":  # an error after the first token
            yield {"text": "</think>so far", "tokens": 1}
            yield {"error": value}
        elif command == "stall":
            if value:
                yield {"text": "</think>so far", "tokens": 1}
            await asyncio.sleep(3600)
        elif command == "echo":
            text = "</think>" + json.dumps(asked["sampling"], sort_keys=True)
            yield {"text": text, "tokens": 1, "finish": "stop", "final": True}
        elif command == "cancelled":
            yield {"text": "so", "finish": "cancelled", "final": True}
        elif command == "die":
            os._exit(9)
        elif command == "flood":
            yield {"text": "</think>", "tokens": 1}
            for _ in range(int(value)):
                yield {"text": "x" * 65536, "tokens": 1}
            yield {"final": True, "finish": "stop"}


async def merge(pieces: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Without streaming an engine sends one message; errors and stalls stay what they are."""
    whole: dict[str, Any] = {"raw": b"", "tokens": 0}
    async for piece in pieces:
        if "error" in piece:
            yield piece
            return
        whole["raw"] += piece.get("raw", piece.get("text", "").encode())
        whole["tokens"] += piece.get("tokens", 0)
        whole |= {key: piece[key] for key in ("finish", "final", "prompt_tokens") if key in piece}
    yield whole


def read_request(request: Any) -> dict[str, Any]:
    raw = {tensor.name: request.raw_input_contents[i] for i, tensor in enumerate(request.inputs)}
    return {
        "prompt": raw["text_input"][4:].decode(),
        "sampling": json.loads(raw["sampling_parameters"][4:]),
        "stream": bool(raw["stream"][0]),
        "at": time.time(),
    }


def render(request_id: str, piece: dict[str, Any]) -> Any:
    answer = pb.ModelStreamInferResponse(error_message=piece.get("error", ""))
    inner = answer.infer_response
    inner.id = request_id
    if "error" in piece:
        return answer
    data = piece.get("raw", piece.get("text", "").encode())
    outputs = {
        "text_output": ("BYTES", bytes_tensor(data)),
        "num_output_tokens": ("UINT32", piece.get("tokens", 0).to_bytes(4, "little")),
        "num_input_tokens": ("UINT32", piece.get("prompt_tokens", 0).to_bytes(4, "little")),
        "finish_reason": ("BYTES", bytes_tensor(piece.get("finish", "").encode())),
    }
    for name, (kind, raw) in outputs.items():
        inner.outputs.add(name=name, datatype=kind, shape=[1])
        inner.raw_output_contents.append(raw)
    inner.parameters["triton_final_response"].bool_param = piece.get("final", False)
    return answer


def bytes_tensor(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


async def start(fake: FakeTriton, *, port: int = 0) -> tuple[Any, int]:
    """The server and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="fake")
    args = parser.parse_args()
    server, port = await start(FakeTriton(name=args.name), port=args.port)
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
