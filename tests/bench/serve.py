"""tokens/s and P99 through nginx, gateway and Triton with 1, 16 and 64 clients, against one request at a time.

Run by `make bench` on the lab that `bin/demo` leaves. «One at a time» is the same 64 clients behind one lock: what a
server without batching and without a balancer does to them. Everything runs in turn, several rounds, on one machine
that also runs the clients and all five servers: the ratios carry over, the absolute figures do not.
"""

import argparse
import asyncio
import json
import random
import ssl
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

SECRETS = Path("/var/lib/dsops-lab/secrets")
HOST, PORT = "10.99.0.10", 443


@dataclass
class Window:
    """What one run of a few seconds saw. Latencies in seconds, from the client's wish to the last byte."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0

    def percentile(self, share: float) -> float:
        """The latency that `share` of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def figures(self) -> dict[str, float]:
        """Requests and tokens a second, P50 and P99 in milliseconds."""
        return {
            "req/s": len(self.latencies) / self.seconds,
            "tokens/s": self.tokens / self.seconds,
            "P50 ms": self.percentile(0.50) * 1e3,
            "P99 ms": self.percentile(0.99) * 1e3,
        }


class Client:
    """One kept connection that asks one question after the other."""

    def __init__(self, context: ssl.SSLContext, key: str, *, seed: int) -> None:
        self.context, self.key, self.chance = context, key, random.Random(seed)

    async def work(self, window: Window, until: float, gate: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Asks until the time (monotonic seconds) is over."""
        reader, writer = await asyncio.open_connection(HOST, PORT, ssl=self.context)
        try:
            while time.monotonic() < until:
                start = time.monotonic()
                async with gate():
                    if time.monotonic() >= until:
                        return
                    tokens = await self._ask(reader, writer)
                window.latencies.append(time.monotonic() - start)
                window.tokens += tokens
        except (OSError, asyncio.IncompleteReadError, KeyError, ValueError):
            window.failed += 1
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        question = f"What is {self.chance.randrange(10000)}+{self.chance.randrange(10000)}?"
        asked = {"model": "tiny-r1", "messages": [{"role": "user", "content": question}], "temperature": 0}
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.split("content-length:")[1].split("\r\n")[0])
        said = json.loads(await reader.readexactly(length))
        return int(said["usage"]["completion_tokens"])


async def run_window(
    context: ssl.SSLContext, key: str, *, clients: int, seconds: float, one: bool, seed: int
) -> Window:
    """Runs `clients` for `seconds`; `one`: only one of them may have a request out."""
    window, lock = Window(seconds), asyncio.Lock()
    gate: Callable[[], AbstractAsyncContextManager[object]] = (lambda: lock) if one else nullcontext
    until = time.monotonic() + seconds
    workers = [Client(context, key, seed=seed * 1000 + i).work(window, until, gate) for i in range(clients)]
    await asyncio.gather(*workers)
    return window


def render(name: str, windows: list[Window]) -> str:
    """One row: the median of each figure over the rounds, with the least and the most."""
    cells = []
    for figure in ("req/s", "tokens/s", "P50 ms", "P99 ms"):
        values = [window.figures()[figure] for window in windows]
        cells.append(f"{statistics.median(values):8.0f} ({min(values):.0f}..{max(values):.0f})")
    failed = sum(window.failed for window in windows)
    return f"{name:<22}" + "".join(f"{cell:>24}" for cell in cells) + f"{failed:>8}"


def main() -> None:
    """Measures, prints the table and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    context = ssl.create_default_context(cafile=str(SECRETS / "ca.pem"))
    key = (SECRETS / "operators-api-key").read_text().strip()
    modes = {
        "one at a time (of 64)": (64, True),
        "1 client": (1, False),
        "16 clients": (16, False),
        "64 clients": (64, False),
    }
    seen: dict[str, list[Window]] = {name: [] for name in modes}
    for turn in range(said.rounds):
        for name, (clients, one) in modes.items():
            window = run_window(context, key, clients=clients, seconds=said.seconds, one=one, seed=turn)
            seen[name].append(asyncio.run(window))
    head = "".join(f"{figure:>24}" for figure in ("req/s", "tokens/s", "P50", "P99"))
    print(f"{'median (min..max)':<22}{head}{'failed':>8}")
    for name, windows in seen.items():
        print(render(name, windows))
    naive, best = seen["one at a time (of 64)"], seen["64 clients"]
    pairs = list(zip(naive, best, strict=True))
    gain = [b.figures()["tokens/s"] / n.figures()["tokens/s"] for n, b in pairs]
    tail = [n.figures()["P99 ms"] / b.figures()["P99 ms"] for n, b in pairs]
    print(
        f"64 clients against one at a time: {statistics.median(gain):.1f}x tokens/s ({min(gain):.1f}..{max(gain):.1f}),"
    )
    print(f"  {statistics.median(tail):.1f}x lower P99 ({min(tail):.1f}..{max(tail):.1f})")


if __name__ == "__main__":
    main()
