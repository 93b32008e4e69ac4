"""Who speaks to the helper, by the kernel's word, and what each may ask for."""

import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.errors import DsopsError


class Peer(StrEnum):
    """The three that may speak to the helper."""

    ROOT = "root"
    OPERATOR = "dsops"
    AGENT = "dsops-agent"


EVERYONE = frozenset(Peer)
PEOPLE = frozenset({Peer.ROOT, Peer.OPERATOR})


@dataclass(frozen=True)
class Caller:
    """One connection's other end."""

    peer: Peer
    pid: int


FindUser = Callable[[str], int | None]


def find_user(name: str) -> int | None:
    """The user id of an account, None where there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def get_caller(connection: socket.socket, *, find: FindUser = find_user) -> Caller:
    """Raises DsopsError for everybody else: the socket's mode should not have let them in."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    known = {0: Peer.ROOT, find(Peer.OPERATOR): Peer.OPERATOR, find(Peer.AGENT): Peer.AGENT}
    if uid not in known:
        mend = "ask as root, dsops or dsops-agent"
        raise DsopsError(f"user id {uid} may not speak to the helper", mend=mend)
    return Caller(known[uid], pid)
