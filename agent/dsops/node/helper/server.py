"""The helper's socket: one thread a connection, one request each; ends itself when nobody asks."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.tiers import ColdError
from dsops.node.helper.asked import Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.keeper import Keeper
from dsops.node.helper.peers import Caller, get_caller
from dsops.node.helper.request import LIMIT, parse_request
from dsops.node.helper.verbs import VERBS, answer

FIRST_FD = 3  # systemd hands sockets over from here on
SILENT_SECONDS = 60.0
THREADS = 32
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Server:
    """idle_seconds: how long nobody must ask before it ends. ended: set from outside, it ends at once.

    keeper: looks after the tiers whenever something changed; None where there is only one.
    """

    desk: Desk
    listener: socket.socket
    idle_seconds: float = 60.0
    find_caller: Callable[[socket.socket], Caller] = get_caller
    ended: threading.Event = field(default_factory=threading.Event)
    keeper: Keeper | None = None

    def serve(self) -> None:
        """Until nobody asked for a while, and nothing is under way."""
        self.listener.settimeout(min(POLL_SECONDS, self.idle_seconds))
        room = threading.Semaphore(THREADS)
        last = time.monotonic()
        threads: set[threading.Thread] = set()
        self._wake_keeper()
        while (self._is_busy(threads) or time.monotonic() - last < self.idle_seconds) and not self.ended.is_set():
            threads = {thread for thread in threads if thread.is_alive()}
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            last = time.monotonic()
            room.acquire()
            thread = threading.Thread(target=self._serve_one, args=(connection, room), daemon=True)
            thread.start()
            threads.add(thread)

    def _is_busy(self, threads: set[threading.Thread]) -> bool:
        return bool(threads) or self.desk.beside.is_busy or (self.keeper is not None and self.keeper.is_busy)

    def _wake_keeper(self) -> None:
        if self.keeper:
            self.keeper.wake()

    def _serve_one(self, connection: socket.socket, room: threading.Semaphore) -> None:
        with connection:
            try:
                connection.settimeout(SILENT_SECONDS)
                said = self._answer(connection)
                with suppress(OSError):  # whoever asked is gone
                    connection.sendall(json.dumps(said).encode() + b"\n")
            finally:
                room.release()

    def _answer(self, connection: socket.socket) -> dict[str, Any]:
        try:
            caller = self.find_caller(connection)
            with connection.makefile("rb") as stream:
                request = parse_request(stream.readline(LIMIT))
                said = answer(self.desk, Asked(request, caller, stream))
                if not VERBS[request.verb].reads:
                    self._wake_keeper()
                return said
        except DsopsError as error:
            return _render_error(error)
        except (TimeoutError, ConnectionError) as error:
            return _render_error(DsopsError(f"the connection broke ({error})", mend="ask again"))
        except Exception as error:  # a bug: its traceback goes to the journal, whoever asked gets an answer
            traceback.print_exc(file=sys.stderr)
            mend = "please report it; `dsops node logs dsops-helper` has the details"
            return _render_error(DsopsError(f"the helper failed: {type(error).__name__}: {error}", mend=mend))


def _render_error(error: DsopsError) -> dict[str, Any]:
    cold = {"cold": error.release} if isinstance(error, ColdError) else {}
    return {"error": {"what": error.what, "where": error.where, "mend": error.mend} | cold}


def get_listener(path: Path | None) -> socket.socket:
    """systemd's socket, or a new one at `path`. Raises DsopsError when there is neither."""
    if path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(64)
        return listener
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise DsopsError("systemd gave no socket", mend="`systemctl start dsops-helper.socket`, or --socket PATH")
    return socket.socket(fileno=FIRST_FD)
