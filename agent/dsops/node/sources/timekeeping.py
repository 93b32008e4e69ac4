"""Asks chrony whether the clock follows a time server: on its local port, where anybody may ask for that.

The kernel knows too, but the agent's sandbox keeps it from the calls that set a clock, and reading is one of them.
"""

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, read_text

CHRONY = ("etc/chrony/chrony.conf", "etc/chrony.conf")
PORT = 323
SECONDS = 0.5
_SERVERS = re.compile(r"^\s*(?:server|pool|peer|refclock)\s", re.MULTILINE)
_CLOSED = re.compile(r"^\s*cmdport\s+0\b", re.MULTILINE)
# Version 6 of chrony's own protocol (candm.h): a request for `tracking`, as long as its answer.
_REQUEST = struct.pack("!BBHHHI8x84x", 6, 1, 0, 33, 0, 1)
_HEAD = struct.Struct("!BBHHHHHHHIII")
_TRACKING = struct.Struct("!I20sHHIII9I")
_REPLY, _TRACKING_REPLY, _SUCCESS = 2, 5, 0
_UNSYNCHRONISED = 3


@dataclass(frozen=True)
class Clock:
    """is_followed: chrony sets it by a time server. error_seconds: it is off by no more, as far as chrony knows.

    age_seconds: since a time server was last heard.
    """

    is_followed: bool
    error_seconds: float = 0.0
    age_seconds: float = 0.0


def read_clock(root: Path, *, ask: Callable[[], Clock]) -> Clock | Unread:
    """Missing where nobody was told to follow a time server, or the one who does answers nobody."""
    texts = [read_text(root / name) for name in CHRONY]
    if broken := [text for text in texts if isinstance(text, Unread) and not text.is_missing]:
        return broken[0]
    config = "\n".join(text for text in texts if isinstance(text, str))
    if not _SERVERS.search(config):
        return Unread("no time server is configured here", is_missing=True)
    if _CLOSED.search(config):
        return Unread("chrony answers nobody (cmdport 0)", is_missing=True)
    return attempt(ask)


def ask_chrony(*, port: int = PORT, wall: Callable[[], float] = time.time) -> Clock:
    """Raises OSError. Where nobody listens nobody sets the clock."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(SECONDS)
        asking.connect(("127.0.0.1", port))
        try:
            asking.send(_REQUEST)
            answer = asking.recv(1024)
        except ConnectionRefusedError:
            return Clock(is_followed=False)
    return parse_tracking(answer, now=wall())


def parse_tracking(answer: bytes, *, now: float) -> Clock:
    """Raises ValueError on anything but a full answer to the request."""
    if len(answer) < _HEAD.size + _TRACKING.size:
        raise ValueError(f"chrony's answer has {len(answer)} bytes only")
    version, kind, _, _, reply, status, *_ = _HEAD.unpack_from(answer)
    if (version, kind, reply, status) != (6, _REPLY, _TRACKING_REPLY, _SUCCESS):
        raise ValueError(f"chrony answers otherwise: version {version}, reply {reply}, status {status}")
    _, _, _, leap, high, low, _, *floats = _TRACKING.unpack_from(answer, _HEAD.size)
    offset, *_, delay, dispersion, _ = (parse_float(word) for word in floats)
    heard = low + (0 if high == 0x7FFFFFFF else high << 32)
    return Clock(leap != _UNSYNCHRONISED, abs(offset) + dispersion + delay / 2, max(0.0, now - heard))


def parse_float(word: int) -> float:
    """chrony's own: seven bits of exponent and 25 of coefficient, both with a sign."""
    exponent, coefficient = word >> 25, word & 0x1FFFFFF
    exponent -= 128 if exponent >= 64 else 0
    coefficient -= 1 << 25 if coefficient >= 1 << 24 else 0
    return float(coefficient * 2.0 ** (exponent - 25))
