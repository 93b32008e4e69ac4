"""Requests lost while releases change places under load: keep-alive clients that never look whether a connection died.

Run by `make swaps` on the lab that `bin/demo` leaves. Each gpu node goes through cycles by the commands that an
operator's tools use: a release comes in as a canary (its slot starts), its share goes 1, 5, 25, 50, 100 %, and a
rollback leads back to the slot that is still warm: one start and stop, and six flips between warm slots. Meanwhile
clients ask for tiny answers, half of them as streams. Windows without swaps come before and after, so that what the
flips cost shows in the same run. Everything, clients too, runs on one machine: counts and ratios carry over.
"""

import argparse
import asyncio
import json
import ssl
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.live.moves import Shelf, push
from tests.live.site import GPUS, SECRETS, find_status, node_door, read_agent, restore, wait

HOST, PORT = "10.99.0.10", 443
SHARES = (5, 25, 50, 100)
WHO = ("--who", "bench", "--reason", "swaps")
PATIENCE = 30.0


@dataclass
class Window:
    """What clients saw. latencies: seconds of whole answers."""

    name: str
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def render(self) -> str:
        rate = len(self.latencies) / self.seconds if self.seconds else 0.0
        cells = f"{self.percentile(0.5):8.1f}{self.percentile(0.99):9.1f}{1e3 * max(self.latencies, default=0):9.1f}"
        return f"{self.name:<10}{self.seconds:9.0f}{len(self.latencies):10}{rate:8.0f}{cells}{len(self.lost):7}"


@dataclass
class Flips:
    """What the nodes did. switches: seconds that the helper took from being asked to the turned lanes."""

    warm: int = 0
    cold: int = 0
    switches: list[float] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


class Clients:
    """Kept connections that are used again at once, without a look whether they still live."""

    def __init__(self, *, count: int) -> None:
        self.context = ssl.create_default_context(cafile=str(SECRETS / "ca.pem"))
        self.key = (SECRETS / "operators-api-key").read_text().strip()
        self.count = count
        self.window = Window("warm-up")
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Until `over` is set."""
        await asyncio.gather(*(self._work(streamed=number % 2 == 1) for number in range(self.count)))

    def begin(self, name: str) -> Window:
        """What ends from now on counts there."""
        self.window.seconds = time.monotonic() - self.window.began
        self.window = Window(name)
        return self.window

    async def _work(self, *, streamed: bool) -> None:
        while not self.over.is_set():
            try:
                reader, writer = await asyncio.open_connection(HOST, PORT, ssl=self.context)
            except OSError as error:
                self.window.lost.append(f"connect: {error}")
                await asyncio.sleep(0.1)
                continue
            try:
                while not self.over.is_set():
                    since = time.monotonic()
                    async with asyncio.timeout(PATIENCE):
                        await self._ask(reader, writer, streamed=streamed)
                    self.window.latencies.append(time.monotonic() - since)
            except (OSError, ValueError, EOFError, TimeoutError) as error:
                self.window.lost.append(f"{'stream' if streamed else 'answer'}: {type(error).__name__} {error}")
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, streamed: bool) -> None:
        asked = {"model": "tiny-r1", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 1}
        body = json.dumps(asked | {"stream": streamed, "temperature": 0}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self.key}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in answer.partition("\r\n")[0] + " ":
            raise ValueError(answer.partition("\r\n")[0])
        if "content-length:" in answer:
            await reader.readexactly(int(answer.split("content-length:")[1].split("\r\n")[0]))
            return
        said = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            said += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        if not said.rstrip().endswith(b"data: [DONE]"):
            raise ValueError(f"the stream ended early: {said[-60:]!r}")


def cycle(node: str, release: str, flips: Flips) -> None:
    """In as a canary, through all its shares, and back."""
    good = read_agent(node)["release"]
    if do(node, flips, "release", "activate", release, "--share", "1", *WHO, "--wait", "80"):
        flips.cold += 1
        flips.warm += 1
        for share in SHARES:
            flips.warm += do(node, flips, "release", "widen", release, "--share", str(share), *WHO, "--wait", "30")
        flips.warm += do(node, flips, "rollback", "--to", good, *WHO)
    wait(f"{node} serves {good}", lambda: (find_status(node) or {}).get("release") == good, seconds=90)
    do(node, flips, "release", "unmark-bad", release, *WHO)


def do(node: str, flips: Flips, *words: str) -> bool:
    """One word to the node's door; what it refuses is kept."""
    done = node_door(node, *words, "--json")
    if done.returncode:
        flips.trouble.append(f"{node}: {' '.join(words[:3])}: {(done.stderr or done.stdout).strip()[-200:]}")
        return False
    said = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    flips.switches += [float(said["seconds"])] if "seconds" in said else []
    return True


async def measure(clients: Clients, release: str, *, requests: int, warm: int) -> tuple[list[Window], Flips]:
    """Windows without and with swaps in turn, until there are enough requests and flips."""
    flips, windows = Flips(), []
    task = asyncio.create_task(clients.run())
    await asyncio.sleep(3)
    with ThreadPoolExecutor(len(GPUS)) as pool:
        while flips.warm < warm or sum(len(window.latencies) for window in windows) < requests:
            windows.append(clients.begin("no swaps"))
            await asyncio.sleep(10)
            windows.append(clients.begin("swaps"))
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, cycle, node, release, flips) for node in GPUS))
            print(f"{flips.warm} warm flips, {flips.cold} starts, {len(flips.trouble)} refused", flush=True)
            if len(flips.trouble) > 20:
                break
    clients.begin("end")
    clients.over.set()
    await task
    return windows, flips


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--warm", type=int, default=180, help="flips between warm slots; a sixth as many starts")
    parser.add_argument("--clients", type=int, default=24)
    said = parser.parse_args()
    restore()
    with tempfile.TemporaryDirectory() as folder:
        release = Shelf(Path(folder))["calm"]
        done = push(release, *GPUS)
        assert done.returncode == 0, done.stdout + done.stderr
        clients = Clients(count=said.clients)
        windows, flips = asyncio.run(measure(clients, release.name, requests=said.requests, warm=said.warm))
    print(render(windows, flips))


def render(windows: list[Window], flips: Flips) -> str:
    """One row for each kind of window, and the ratio of neighbours."""
    rows = [f"{'':<10}{'seconds':>9}{'answers':>10}{'1/s':>8}{'P50 ms':>8}{'P99 ms':>9}{'most ms':>9}{'lost':>7}"]
    for name in ("no swaps", "swaps"):
        all_of = [window for window in windows if window.name == name]
        total = Window(name, seconds=sum(window.seconds for window in all_of))
        total.latencies = [one for window in all_of for one in window.latencies]
        total.lost = [one for window in all_of for one in window.lost]
        rows.append(total.render())
    ratios = [b.percentile(0.99) / a.percentile(0.99) for a, b in zip(windows[::2], windows[1::2], strict=False)]
    if ratios:
        least, most = min(ratios), max(ratios)
        rows.append(f"P99 with swaps / without: {statistics.median(ratios):.2f} ({least:.2f}..{most:.2f})")
    rows.append(f"{flips.warm} flips between warm slots, {flips.cold} with start and stop")
    if flips.switches:
        rows.append(f"longest switch, journal and locks included: {1e3 * max(flips.switches):.1f} ms")
    lost = [one for window in windows for one in window.lost]
    return "\n".join(
        [*rows, *(f"lost: {one}" for one in lost[:10]), *(f"refused: {one}" for one in flips.trouble[:10])]
    )


if __name__ == "__main__":
    main()
