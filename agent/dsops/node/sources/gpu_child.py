"""Keeps the child process that reads the GPUs, with a deadline: a hung sweep is itself a reading."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence

from dsops.node.sources.gpus import Reading, Sweep, parse_reading

ARGV = (sys.executable, "-m", "dsops.node.sources.gpus")
# A child stuck inside the driver cannot be killed; another one each sweep would only pile up.
RETRY_STUCK_SECONDS = 600.0
# One reading is one line: 16 GPUs of which nothing can be read take some 150 KB.
LINE_BYTES = 1 << 20


class GpuChild:
    """One child at a time. `read` never blocks longer than the deadline and never raises."""

    def __init__(
        self,
        argv: Sequence[str] = ARGV,
        *,
        deadline: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._argv = argv
        self._deadline = deadline
        self._clock = clock
        self._child: asyncio.subprocess.Process | None = None
        self._stuck: list[asyncio.subprocess.Process] = []
        self._stuck_at = 0.0

    async def read(self) -> Reading:
        """One sweep: what the child said, or that it hangs or died."""
        if stuck := self._find_stuck():
            return stuck
        try:
            async with asyncio.timeout(self._deadline):
                return await self._ask()
        except TimeoutError:
            await self._drop()
            return Reading(Sweep.HUNG, reason=f"the driver did not answer NVML in {self._deadline:g} s")
        except (OSError, ValueError) as error:
            await self._drop()
            return Reading(Sweep.DEAD, reason=f"the GPU reader cannot run ({error})")

    async def close(self) -> None:
        """Ends the child."""
        await self._drop()

    async def _ask(self) -> Reading:
        if self._child is None or self._child.returncode is not None:
            pipe = asyncio.subprocess.PIPE
            self._child = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(b"sweep\n")
        await self._child.stdin.drain()
        line = await self._child.stdout.readline()
        if line:
            return parse_reading(line)
        code = await self._child.wait()
        self._child = None
        return Reading(Sweep.DEAD, reason=f"the GPU reader ended with {_exit(code)}")

    async def _drop(self) -> None:
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        try:
            await asyncio.wait_for(child.wait(), 1.0)
        except TimeoutError:
            self._stuck.append(child)
            self._stuck_at = self._clock()

    def _find_stuck(self) -> Reading | None:
        self._stuck = [child for child in self._stuck if child.returncode is None]
        if not self._stuck or self._clock() - self._stuck_at >= RETRY_STUCK_SECONDS:
            return None
        return Reading(
            Sweep.HUNG,
            reason=f"a GPU reader hangs in the driver and cannot be killed (pid {self._stuck[-1].pid})",
        )


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"
