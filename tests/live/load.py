"""A load on the service with the official client: arithmetic whose answers are known, half of it streaming."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import openai

MODEL = "tiny-r1"
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One request: when it started and ended (monotonic seconds), and what went wrong, if anything."""

    start: float
    end: float
    streamed: bool
    problem: str = ""

    @property
    def ended_at(self) -> float:
        """Unix seconds of the end."""
        return time.time() - time.monotonic() + self.end


@dataclass
class Load:
    """Runs `total` requests, `parallel` at a time, or goes on until `stop` is set."""

    client: openai.AsyncOpenAI
    parallel: int = 16
    total: int | None = 200
    seed: int = 7
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[Asked] = field(default_factory=list)
    started: int = 0
    patience: float = 60.0  # seconds that requests under way may still take at the end

    async def end(self, task: asyncio.Task[list[Asked]]) -> None:
        """No new requests; those under way may end, but not for ever."""
        self.stop.set()
        await asyncio.wait([task], timeout=self.patience)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        elif error := task.exception():
            raise error

    async def run(self) -> list[Asked]:
        """All requests, in the order of their ends."""
        await asyncio.gather(*(self._work(random.Random(self.seed * 1000 + i)) for i in range(self.parallel)))
        return self.asked

    async def _work(self, chance: random.Random) -> None:
        while not self.stop.is_set() and (self.total is None or self.started < self.total):
            self.started += 1
            await self._ask(chance, streamed=self.started % 2 == 0)

    async def _ask(self, chance: random.Random, *, streamed: bool) -> None:
        a, b = chance.randrange(1000), chance.randrange(1000)
        start = time.monotonic()
        try:
            said = await (self._stream if streamed else self._plain)(f"What is {a}+{b}?")
            problem = "" if said == str(a + b) else f"{a}+{b}: said {said!r}"
        except (openai.OpenAIError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            problem = "still waiting when all was over"
        self.asked.append(Asked(start, time.monotonic(), streamed, problem))

    async def _plain(self, question: str) -> str:
        answer = await self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], temperature=0
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        return (answer.choices[0].message.content or "").strip()

    async def _stream(self, question: str) -> str:
        stream = await self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], temperature=0, stream=True
        )
        parts, finished = [], None
        async for chunk in stream:
            if chunk.choices:
                parts.append(chunk.choices[0].delta.content or "")
                finished = chunk.choices[0].finish_reason or finished
        if finished is None:
            raise openai.OpenAIError("the stream broke off")
        return "".join(parts).strip()


async def run_beside(load: Load, act: Callable[[], T], *, before: float, after: float) -> T:
    """Keeps the load up `before` seconds, does `act` in a thread, goes on for `after`; returns what act returned."""
    task = asyncio.create_task(load.run())
    await asyncio.sleep(before)
    try:
        result = await asyncio.to_thread(act)
        await asyncio.sleep(after)
    finally:
        await load.end(task)
    return result


def run_under(
    client: openai.AsyncOpenAI, act: Callable[[], T], *, before: float = 1.0, after: float = 1.0, patience: float = 30.0
) -> tuple[T, Load]:
    """What `act` returned while 16 clients asked, half of them streaming, and what they got.

    patience: seconds that the last ones may take; those on an engine that hangs are lost, so it is short there.
    """

    async def run() -> tuple[T, Load]:
        load = Load(client, parallel=16, total=None, patience=patience)
        return await run_beside(load, act, before=before, after=after), load

    return asyncio.run(run())
