"""The traffic door: open or closed, by whom and why, and what /healthz says."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.gateway.config import STABLE_LANE
from dsops.node.gateway.listener import Listener
from dsops.node.gateway.release import Releases
from dsops.node.gateway.state import Closed, load_state, save_state
from dsops.node.gateway.triton import Slot

_log = logging.getLogger(__name__)


class Door:
    """Opens and closes the traffic listener.

    It is open unless somebody drained it, which outlives a restart, or ejected it, which does not: the agent takes
    sick engines out of traffic, and one that is gone must not leave the door closed for ever.
    """

    def __init__(self, *, state_file: Path, linger: float, bind: Callable[[], socket.socket]) -> None:
        self._state_file = state_file
        self._linger = linger
        self._bind = bind
        self._listener: Listener | None = None
        self._refuses = False
        self.drained = load_state(state_file, now=time.time())
        self.ejected: Closed | None = None
        self.stopping = False
        # Why what still comes on kept-alive connections is answered 503; "" while it is served.
        self.refusing = ""

    @property
    def is_closing(self) -> bool:
        """Answers carry `Connection: close` while this holds."""
        return self.stopping or self.drained is not None or self.ejected is not None

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        if self.drained is None:
            await listener.open(self._bind())

    async def drain(self, *, reason: str, who: str, refuse: bool) -> bool:
        """Closes the door at once; True when that will also survive a restart.

        refuse: also answer 503 to what still comes on kept-alive connections (for a sick slot).
        """
        self.drained = Closed(reason=reason, who=who, since=time.time())
        self._refuses = refuse
        self._close()
        _log.warning("drained by %s: %s", who, reason)
        return await self._save()

    async def undrain(self) -> bool:
        """Opens the door again; raises DsopsError, and stays drained, when the address is taken."""
        if self.drained is None:
            return True
        await self._open(still_closed=self.ejected is not None)
        self.drained, self._refuses = None, False
        self._settle()
        _log.warning("undrained")
        return await self._save()

    def eject(self, *, reason: str, who: str) -> None:
        """Closes the door at once, and answers 503 to what still comes; only in memory."""
        if self.ejected is None:
            _log.warning("ejected by %s: %s", who, reason)
        since = self.ejected.since if self.ejected else time.time()
        self.ejected = Closed(reason=reason, who=who, since=since)
        self._close()

    async def admit(self, *, who: str) -> None:
        """Ends the ejection; raises DsopsError, and stays ejected, when the address is taken."""
        if self.ejected is None:
            return
        await self._open(still_closed=self.drained is not None)
        self.ejected = None
        self._settle()
        _log.warning("admitted by %s", who)

    async def _open(self, *, still_closed: bool) -> None:
        if self._listener is not None and not still_closed and not self.stopping:
            await self._listener.open(self._bind())

    def _settle(self) -> None:
        """Whoever closed the door while it was being opened wins."""
        if self.is_closing:
            self._close()
        else:
            self.refusing = ""

    async def stop(self, *, grace: float) -> int:
        """Closes the door and waits for the answers under way; the number that did not end in time."""
        self.stopping = True
        self._close()
        listener = self._listener
        if listener is None:
            return 0
        end = time.monotonic() + grace
        while (listener.tasks or listener.has_connections) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        left = list(listener.tasks)
        for task in left:
            task.cancel()
        listener.end_connections()
        if left:
            await asyncio.wait(left, timeout=1.0)
        return len(left)

    def _close(self) -> None:
        self.refusing = "ejected" if self.ejected else "drained" if self._refuses else ""
        if self._listener is not None:
            self._listener.close(linger=self._linger)

    async def _save(self) -> bool:
        try:
            await asyncio.wait_for(asyncio.to_thread(save_state, self._state_file, self.drained), timeout=2.0)
        except (OSError, TimeoutError) as error:
            _log.error("%s: the drain state was not saved (%s)", self._state_file, error)
            return False
        return True


class Health:
    """What balancer and agent ask: would a request on the stable lane be served now?"""

    def __init__(self, *, door: Door, releases: Releases, slots: Mapping[str, Slot]) -> None:
        self._door = door
        self._releases = releases
        self._slots = slots

    async def ask(self, *, patient: bool = True) -> tuple[int, dict[str, object]]:
        """HTTP status and body. patient: a Triton that is slow to answer is waited for."""
        if self._door.stopping:
            return _unwell("stopping", "the gateway is shutting down")
        if drained := self._door.drained:
            return _unwell("drained", f"drained by {drained.who}: {drained.reason}")
        if ejected := self._door.ejected:
            return _unwell("ejected", f"ejected by {ejected.who}: {ejected.reason}")
        try:
            target = self._releases.get_target(STABLE_LANE)
        except DsopsError as error:
            return _unwell("stopped", str(error))
        slot = self._slots.get(target.slot)
        if slot is None:
            return _unwell("stopped", f"lane {STABLE_LANE} leads to slot {target.slot!r}, which is not configured")
        readiness = await (slot.readiness() if patient else slot.glance())
        if not readiness.ready:
            return _unwell(readiness.phase, readiness.reason)
        return 200, {"status": "ok", "phase": "serving", "release": target.release.id, "slot": target.slot}


def _unwell(phase: str, reason: str) -> tuple[int, dict[str, object]]:
    return 503, {"status": "unavailable", "phase": phase, "reason": reason}
