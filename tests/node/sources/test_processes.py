"""A process that is followed tells its end at once, and only once."""

import asyncio
import subprocess
import time
from collections.abc import Coroutine
from typing import Any

from dsops.node.sources.processes import Processes


def start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "60"])


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def test_a_kill_is_told_within_50_ms() -> None:
    async def story() -> None:
        told: list[tuple[str, int, float]] = []
        processes = Processes(lambda name, pid: told.append((name, pid, time.perf_counter())))
        took = []
        for _ in range(5):  # a busy machine may hold up some of them
            told.clear()
            child = start()
            processes.follow("a", child.pid)
            await asyncio.sleep(0.05)
            assert told == []
            began = time.perf_counter()
            child.kill()
            while not told:
                await asyncio.sleep(0.001)
            assert told[0][:2] == ("a", child.pid)
            took.append(told[0][2] - began)
            processes.follow("a", child.pid)  # systemd may still name the one that died
            await asyncio.sleep(0.02)
            child.wait()
            processes.follow("a", child.pid)
            assert len(told) == 1
        assert min(took) < 0.05
        processes.close()

    play(story())


def test_one_that_was_dead_already_is_told_too() -> None:
    async def story() -> None:
        told: list[int] = []
        processes = Processes(lambda _, pid: told.append(pid))
        child = start()
        child.kill()
        child.wait()
        processes.follow("a", child.pid)
        assert told == [child.pid]

    play(story())


def test_a_successor_does_not_hide_the_death_before_it() -> None:
    async def story() -> None:
        told: list[int] = []
        processes = Processes(lambda _, pid: told.append(pid))
        first, second = start(), start()
        processes.follow("a", first.pid)
        first.kill()
        first.wait()
        processes.follow("a", second.pid)
        assert told == [first.pid]
        processes.follow("a", 0)
        second.kill()
        second.wait()
        await asyncio.sleep(0.02)
        assert told == [first.pid]

    play(story())
