"""The load: a request every so often, whatever became of those before, each on a connection of its own."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.core.prompts import is_accepted, parse_prompts

from tests.bench.eject.measure import Ask
from tests.bench.swaps.clients import read_body
from tests.live.ills.releases import CHECKPOINT

PROMPT = parse_prompts((CHECKPOINT / "prompts.json").read_bytes(), where=str(CHECKPOINT))[0]
TOKENS = 16
LAST_SECONDS = 1.0
# More than the 60 s that nginx waits by default, and the 50 s of Debian's haproxy.cfg: they give up first.
PATIENCE = 75.0
TRITON_PATH = "/v2/models/llm/generate"
OPENAI_PATH = "/v1/completions"


@dataclass(frozen=True)
class Front:
    """Where requests go. read: an answer's text. names: of servers by what the header X-Server says of them."""

    host: str
    port: int
    path: str
    body: dict[str, Any]
    read: Callable[[Any], str]
    key: str = ""
    context: ssl.SSLContext | None = None
    names: dict[str, str] = field(default_factory=dict)


def make_triton_front(port: int, *, names: dict[str, str]) -> Front:
    """Triton's own HTTP, through a proxy on this machine."""
    said = {"temperature": 0, "max_tokens": TOKENS}
    body = {"text_input": PROMPT.prompt, "stream": False, "exclude_input_in_output": True, "parameters": said}
    return Front("127.0.0.1", port, TRITON_PATH, body, lambda said: str(said["text_output"]), names=names)


def make_openai_front(host: str, port: int, *, key_file: Path, ca_file: Path) -> Front:
    """The lab's service as users reach it; the same question."""
    body = {"model": "tiny-r1", "prompt": PROMPT.prompt, "temperature": 0, "max_tokens": TOKENS}
    context = ssl.create_default_context(cafile=str(ca_file))
    read: Callable[[Any], str] = lambda said: str(said["choices"][0]["text"])  # noqa: E731
    return Front(host, port, OPENAI_PATH, body, read, key=key_file.read_text().strip(), context=context)


class Load:
    """Asks at a steady rate, in requests a second, until `end`."""

    def __init__(self, front: Front, *, rate: float) -> None:
        self._front = front
        self._gap = 1 / rate
        self._open: set[asyncio.Task[None]] = set()
        self.asks: list[Ask] = []

    async def run(self) -> None:
        """Until it is cancelled, which `end` does."""
        due = asyncio.get_running_loop().time()
        while True:
            task = asyncio.create_task(self._note())
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            due += self._gap
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    async def end(self, run: asyncio.Task[None]) -> list[Ask]:
        """No more; what has no answer a second later is lost."""
        run.cancel()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=LAST_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return self.asks

    async def _note(self) -> None:
        began, problem, server = time.time(), "", ""
        try:
            async with asyncio.timeout(PATIENCE):
                problem, server = await self._ask()
        except (OSError, ValueError, EOFError, LookupError, TimeoutError) as error:
            problem = f"{type(error).__name__} {error}"
        except asyncio.CancelledError:
            problem = "no answer until the end"
        self.asks.append(Ask(began, time.time(), problem, server))

    async def _ask(self) -> tuple[str, str]:
        """What was wrong with the answer, "" if nothing; and who gave it."""
        front = self._front
        reader, writer = await asyncio.open_connection(front.host, front.port, ssl=front.context)
        try:
            writer.write(render_request(front))
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, server = read_head(head)
            server = front.names.get(server, server)
            if status != 200:
                return f"status {status}", server
            text = front.read(json.loads(await read_body(reader, head.lower())))
            return "" if is_accepted(PROMPT, text, whole=False) else f"wrong: {text!r}", server
        finally:
            writer.close()


def render_request(front: Front) -> bytes:
    body = json.dumps(front.body).encode()
    lines = [
        f"POST {front.path} HTTP/1.1",
        f"Host: {front.host}",
        "Content-Type: application/json",
        "Connection: close",
    ]
    lines += [f"Authorization: Bearer {front.key}"] if front.key else []
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def read_head(head: str) -> tuple[int, str]:
    """Status, and the last server that X-Server names: nginx names those before it as well."""
    first, *lines = head.split("\r\n")
    told = [line.partition(":")[2] for line in lines if line.lower().startswith("x-server:")]
    return int(first.split(" ")[1]), told[-1].split(", ")[-1].strip() if told else ""
