"""The same faults on a node of dsops: what is done, since when its door refuses, and how it gets well again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.bench.eject.measure import QUIET_SECONDS, WATCHED_SECONDS, Span, find_shut
from tests.bench.eject.plain import FROZEN, KILLED, NODE, WRONG, XID
from tests.live.faults import Fault, ill, killed, stopped
from tests.live.site import dsops, find_left, find_status, forget_restarts, healthy, node_door, on, ssh, wait
from tests.live.test_truth_drills import mend as mend_gpus

# The simulated driver's words lie in a file: its time of change is the onset, not the start of our command.
KERNEL_LOG = "/run/dsops-lab-gpus/kmsg"
LOOK_SECONDS = 0.02
CONNECT_SECONDS = 0.5
ALONE_SECONDS, BACK_SECONDS = 45.0, 150.0
WHO = ("--who", "bench", "--reason", "eject times")


@dataclass(frozen=True)
class Drill:
    """mend: what ends the fault, where dsops' own restart has not."""

    fault: str
    strike: Fault
    mend: Callable[[], object]


def make_drills() -> list[Drill]:
    """In their order. The first one is there while faults begin at the peers' Tritons too."""
    return [
        Drill(XID, strike_xid, partial(mend_gpus, NODE)),
        Drill(KILLED, killed(NODE), lambda: None),
        Drill(FROZEN, stopped(NODE), partial(ssh, NODE, "systemctl kill --signal=CONT triton@a triton@b")),
        Drill(WRONG, ill(NODE, "wrong"), partial(ssh, NODE, "rm -f /var/cache/dsops-triton/*/ill")),
    ]


def strike_xid() -> float:
    """The GPU's driver says that it has left the bus; Unix seconds of the line."""
    done = dsops("lab", "fault", NODE, "xid", "79")
    assert done.returncode == 0, done.stderr
    return float(on(NODE, f"stat -c %.9Y {KERNEL_LOG}"))


class DoorWatch:
    """Connects to a node's traffic door fifty times a second: what is refused can be sent nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.changes: list[tuple[float, bool]] = []

    async def run(self) -> None:
        """Until it is cancelled. A connection that hangs is none that was refused."""
        while True:
            is_open = await self._is_open()
            if not self.changes or self.changes[-1][1] != is_open:
                self.changes.append((time.time(), is_open))
            await asyncio.sleep(LOOK_SECONDS)

    async def wait_shut(self, *, since: float, seconds: float = WATCHED_SECONDS) -> float | None:
        """Unix seconds of when it shut, known once it has stayed shut; None when it did not."""
        while (now := time.time()) < since + seconds + QUIET_SECONDS:
            if (at := find_shut(self.changes, since=since, now=now)) is not None:
                return at
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def _is_open(self) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except ConnectionRefusedError:
            return False
        except (OSError, TimeoutError):
            return True
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True


async def suffer(drill: Drill, door: DoorWatch, *, release: str, onset: float | None = None) -> Span:
    """From the fault until the node is as before. onset: of a fault that is there already."""
    onset = await asyncio.to_thread(drill.strike) if onset is None else onset
    shut = await door.wait_shut(since=onset)
    until = time.time()
    await asyncio.to_thread(drill.mend)
    await asyncio.to_thread(wait_back, release)
    return Span(onset, until, shut)


def wait_back(release: str) -> None:
    """In traffic with the release, nothing held against it, and nothing remembered: faults so close look like one."""
    with suppress(AssertionError):  # it comes back by itself, or when a person says so
        wait(f"{NODE} is back", partial(_is_back, release), seconds=ALONE_SECONDS)
    done = node_door(NODE, "clear", *WHO)
    assert done.returncode == 0, done.stderr
    forget_restarts(NODE)
    wait(f"{NODE} is back", partial(_is_back, release), seconds=BACK_SECONDS)


def _is_back(release: str) -> bool:
    return healthy(NODE) and not find_left(find_status(NODE), good=release)
