"""Watches the slots' main processes by pidfd: a death is told at once, without asking systemd once a second."""

import asyncio
import contextlib
import logging
import os
import select
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("dsops.agent")
Died = Callable[[str, int], None]


@dataclass(frozen=True)
class _Followed:
    pid: int
    fd: int


class Processes:
    """Follows one process a name. `died(name, pid)` is called from the event loop, once a process."""

    def __init__(self, died: Died) -> None:
        self._died = died
        self._followed: dict[str, _Followed] = {}
        self._last: dict[str, int] = {}

    def follow(self, name: str, pid: int) -> None:
        """From now on this process; 0 = none runs. The same again changes nothing."""
        before = self._followed.get(name)
        if (before and before.pid == pid) or (pid and self._last.get(name) == pid):
            return
        if before:
            self._leave(name, before)
        if pid:
            self._begin(name, pid)

    def close(self) -> None:
        """Follows nothing any more."""
        for name in list(self._followed):
            self._forget(name)

    def _begin(self, name: str, pid: int) -> None:
        self._last[name] = pid
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._died(name, pid)
            return
        except OSError as error:
            # Then the next tick sees what systemd says; slower, not blind.
            log.warning("process %d of %s cannot be watched: %s", pid, name, error.strerror)
            return
        self._followed[name] = _Followed(pid, fd)
        asyncio.get_running_loop().add_reader(fd, self._end, name, pid)

    def _end(self, name: str, pid: int) -> None:
        followed = self._followed.get(name)
        if followed and followed.pid == pid:
            self._forget(name)
            self._died(name, pid)

    def _leave(self, name: str, followed: _Followed) -> None:
        """Another process took its place: the death of the first may not have been told yet."""
        poll = select.poll()
        poll.register(followed.fd, select.POLLIN)
        is_over = bool(poll.poll(0))
        self._forget(name)
        if is_over:
            self._died(name, followed.pid)

    def _forget(self, name: str) -> None:
        followed = self._followed.pop(name, None)
        if followed is None:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(followed.fd)
        os.close(followed.fd)
