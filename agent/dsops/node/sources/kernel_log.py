"""Reads the kernel's log from the start of this boot, record by record, as /dev/kmsg gives it.

What was overwritten before it could be read is counted, never hidden. A plain file of the same lines does as well: a
container has no kernel of its own, and a test wants to write one.
"""

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATH = Path("/dev/kmsg")
# The kernel gives one record a read; its longest is 8 KiB with all that belongs to it.
RECORD_BYTES = 16384
# So many a turn: in a flood the agent's other work goes on between.
TURN = 2000
# Nothing to read for so long: it is tried all the same.
WAIT_SECONDS = 30.0
_HEAD = re.compile(rb"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")


@dataclass(frozen=True)
class Record:
    """seq: its number since boot. at: seconds of the monotonic clock."""

    seq: int
    priority: int
    at: float
    text: str


def parse_record(data: bytes) -> Record | None:
    """One record; None for what is none, such as a continued line of the one before."""
    found = _HEAD.match(data)
    if not found:
        return None
    priority, seq, micros, text = found.groups()
    return Record(int(seq), int(priority) & 7, int(micros) / 1e6, text.decode(errors="replace"))


class KernelLog:
    """One open log. `reason`: why it cannot be read, "" when it can. lost: records that nobody saw."""

    def __init__(self, path: Path = PATH, *, wants: Callable[[bytes], object] = lambda _: True) -> None:
        self.path = path
        self.reason = "not opened yet"
        self.lost = 0
        self.seen = 0
        self._wants = wants
        self._file = -1
        self._is_device = False
        self._next = -1
        self._rest = b""

    @property
    def is_open(self) -> bool:
        return self._file >= 0

    def open(self) -> bool:
        """From the first record of this boot that is still there; whether it is open now."""
        if self._file >= 0:
            return True
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.reason = f"{self.path}: {error.strerror}"
            return False
        self._is_device = not self.path.is_file()
        self._next, self._rest, self.reason = -1, b"", ""
        return True

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def read(self) -> list[Record]:
        """What came since, at most TURN records of those that `wants` takes; [] when there is nothing, or it broke."""
        if not self.open():
            return []
        lines = self._read_device() if self._is_device else self._read_file()
        records = []
        for line in lines:
            self._count(line)
            if self._wants(line) and (record := parse_record(line)):
                records.append(record)
        return records

    def _count(self, line: bytes) -> None:
        found = _HEAD.match(line)
        if not found:
            return
        seq = int(found[2])
        if 0 <= self._next < seq:
            self.lost += seq - self._next
        self._next = seq + 1
        self.seen += 1

    def _read_device(self) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < TURN:
            try:
                data = os.read(self._file, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EPIPE:
                    continue  # overwritten before it was read: the next number tells how many
                self._break(error)
                break
            if not data:
                break
            lines.append(data)
        return lines

    def _read_file(self) -> list[bytes]:
        try:
            if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
                os.lseek(self._file, 0, os.SEEK_SET)
                self._rest = b""
            data = self._rest + os.read(self._file, RECORD_BYTES * 16)
        except OSError as error:
            self._break(error)
            return []
        *lines, self._rest = data.split(b"\n")
        return lines

    async def wait(self, seconds: float) -> None:
        """Until there is something to read, or so long; a plain file cannot be waited for."""
        if not (self.is_open and self._is_device):
            await asyncio.sleep(seconds)
            return
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._file, ready.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ready.wait(), WAIT_SECONDS)
        finally:
            loop.remove_reader(self._file)

    def _break(self, error: OSError) -> None:
        self.close()
        self.reason = f"{self.path}: {error.strerror}"
