"""A load on the service with the official client: arithmetic whose answers are known, half of it streaming."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import openai

MODEL = "tiny-r1"


@dataclass(frozen=True)
class Asked:
    """One request: when it started and ended (monotonic seconds), and what went wrong, if anything."""

    start: float
    end: float
    streamed: bool
    problem: str = ""


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


async def run_beside(load: Load, act: Callable[[], float], *, before: float, after: float) -> float:
    """Keeps the load up `before` seconds, does `act` in a thread, goes on for `after`; returns what act returned."""
    task = asyncio.create_task(load.run())
    await asyncio.sleep(before)
    result = await asyncio.to_thread(act)
    await asyncio.sleep(after)
    load.stop.set()
    await task
    return result
