"""Rollouts of the lab as an operator runs them: to their end, or as a process that a test watches, stops or kills."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletionMessageParam

from tests.live.load import MODEL, Asked, Load, run_beside
from tests.live.moves import Done
from tests.live.site import GPUS, INVENTORY, ROOT, dsops, node_door, note_close, on, read_agent, ssh, unmark, wait

# Other live tests roll back, which alerts for a quarter of an hour: nothing would go forward.
WITHOUT = ("--without-alerts",)
QUICK = ("--canary-minutes", "0.4", "--step-minutes", "0.1", "--yes", "--every", "1", *WITHOUT)
WHY = ("--reason", "live test")
# Whatever is done to a node makes a record, but for a release that only grows older.
READ_SEQ = """
from pathlib import Path
from dsops.node.store.journal import journal_path, read_history
records = read_history(journal_path(Path("/var/lib/dsops")))
print(max(one.seq for one in records if one.event not in ("baked", "known_good", "tidied")))
"""
T = TypeVar("T")


def rollout(*words: str, timeout: float = 300) -> Done:
    """`dsops rollout WORDS`, to its end."""
    return dsops("rollout", *words, "-i", INVENTORY, timeout=timeout)


def read_rollout(*words: str) -> dict[str, Any]:
    """The active one, or the last, as `dsops rollout status` knows it."""
    done = rollout("status", "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def show_rollout() -> str:
    """The picture, as people see it; printed, so that a failed test shows it."""
    done = rollout("status")
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout


def forgive() -> None:
    """Ends what an earlier test or run left: a rollout under way, a halt, bans."""
    said = read_rollout()
    if said["active"]:
        rollout("abort", *WHY)
        wait("no rollout", lambda: not read_rollout()["active"], seconds=60)
    for banned in said["fleet"].get("bad", ()):
        rollout("reset", *WHY, "--unmark", banned["release"])
        for node in GPUS:
            unmark(node, banned["release"])
    if read_rollout()["fleet"].get("halted"):
        rollout("reset", *WHY)


def get_share(node: str, release: str) -> int:
    """Percent of the node's traffic that a release has."""
    status = read_agent(node)
    canary = status["canary"]
    if canary and canary["release"] == release:
        return int(canary["share"])
    return 100 - (int(canary["share"]) if canary else 0) if status["release"] == release else 0


def wait_share(node: str, release: str, share: int, *, seconds: float = 60) -> None:
    wait(f"{node} gives {release} {share} %", lambda: get_share(node, release) == share, seconds=seconds)


def remove(release: Path | str, *nodes: str) -> None:
    """Off the nodes and off their bad lists, whatever an earlier run left."""
    name = release.name if isinstance(release, Path) else release
    for node in nodes or GPUS:
        unmark(node, name)
        node_door(node, "release", "remove", name, "--who", "live test", *WHY)


# --- as a process -----------------------------------------------------------------------------------------------


@dataclass
class Controller:
    """`dsops rollout WORDS` as a process of its own, whose words can be read while it runs."""

    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, seconds: float = 90) -> None:
        """Until it said so. Fails the test when it ends, or takes longer, without."""
        since = time.monotonic()
        while text not in self.said:
            is_over = self.process.poll() is not None or time.monotonic() - since > seconds
            assert not is_over or text in self.said, f"it never said {text!r}:\n{self.said}"
            time.sleep(0.05)
        note_close(f"it says {text!r}", time.monotonic() - since, seconds=seconds)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As if the control host had lost its power."""
        self.send(signal.SIGKILL)
        self.process.wait(10)

    def end(self, *, seconds: float = 200) -> int:
        """Waits for its end; the exit status."""
        return self.process.wait(seconds)


@contextmanager
def controlling(log: Path, *words: str) -> Iterator[Controller]:
    """One that is gone afterwards, however the test ends."""
    argv = [sys.executable, "-m", "dsops", "rollout", *words, "-i", str(INVENTORY)]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Controller(log, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


# --- nothing changed --------------------------------------------------------------------------------------------


def read_seq(node: str) -> int:
    """The number of the last record in the node's journal that somebody asked for."""
    done = ssh(node, "/opt/dsops/venv/bin/python -", stdin=READ_SEQ)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def take_picture(nodes: Sequence[str] = GPUS) -> dict[str, object]:
    """All that a refused command must leave as it is: the nodes' journals, this control host's epoch and rollouts."""
    with ThreadPoolExecutor(len(nodes) + 2) as pool:
        epoch = pool.submit(dsops, "epoch", "show", "--json", "-i", INVENTORY)
        rollouts = pool.submit(rollout, "list", "--json")
        seqs = dict(zip(nodes, pool.map(read_seq, nodes), strict=True))
        return {**seqs, "epoch": json.loads(epoch.result().stdout), "rollouts": json.loads(rollouts.result().stdout)}


# --- what a server says of itself -------------------------------------------------------------------------------


@contextmanager
def drop_in(node: str, unit: str, text: str, *, before: str = "true") -> Iterator[None]:
    """A unit started afresh with other words of systemd, and as it was afterwards. before: a command first."""
    folder = f"/run/systemd/system/{unit}.service.d"
    begin = f"{before}; mkdir -p {folder}; cat >{folder}/live-test.conf"
    afresh = f"systemctl daemon-reload && systemctl reset-failed {unit}; systemctl restart {unit}"
    try:
        done = ssh(node, f"{begin} && {afresh}", stdin=text)
        assert done.returncode == 0, done.stderr
        yield
    finally:
        on(node, f"rm -f {folder}/live-test.conf; {afresh}")


@contextmanager
def memory(node: str, *, total: int, free: int) -> Iterator[None]:
    """The node's helper finds so many bytes of memory, and so many of them free."""
    told = f"printf 'MemTotal: %d kB\\nMemAvailable: %d kB\\n' {total // 1024} {free // 1024} >/run/live-meminfo"
    with drop_in(node, "dsops-helper", "[Service]\nBindReadOnlyPaths=/run/live-meminfo:/proc/meminfo\n", before=told):
        yield


# --- load -------------------------------------------------------------------------------------------------------


@dataclass
class Many(Load):
    """As many tiny requests as the service takes: for samples, not for answers, so that only errors are problems."""

    async def _ask(self, chance: random.Random, *, streamed: bool) -> None:
        start, problem = time.monotonic(), ""
        question = f"What is {chance.randrange(1000)}+{chance.randrange(1000)}?"
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
        create = self.client.chat.completions.create
        try:
            if streamed:
                async for _ in await create(model=MODEL, messages=messages, max_tokens=2, stream=True):
                    pass
            else:
                await create(model=MODEL, messages=messages, max_tokens=2)
        except (openai.OpenAIError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            problem = "still waiting when all was over"
        self.asked.append(Asked(start, time.monotonic(), streamed, problem))


def run_under_many(client: openai.AsyncOpenAI, act: Callable[[], T]) -> tuple[T, Load]:
    """What `act` returned while 16 clients asked as much as they could, and what they got."""

    async def run() -> tuple[T, Load]:
        load = Many(client, parallel=16, total=None, patience=3.0)
        return await run_beside(load, act, before=1.0, after=0.0), load

    return asyncio.run(run())
