"""A node's store, and a helper that answers on a real socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from dsops.node.helper.client import call
from dsops.node.helper.desk import Desk
from dsops.node.helper.keeper import Keeper
from dsops.node.helper.peers import Caller, Peer
from dsops.node.helper.server import Server, get_listener

from tests.node.store.bed import Bed, Made, Signer, make_release, make_root, make_signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def bed(tmp_path: Path, signer: Signer) -> Bed:
    return Bed(make_root(tmp_path / "store"), signer)


class Talk:
    """A running helper as its clients see it. peer: who they are taken for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.peer = Peer.ROOT

    def __call__(self, verb: str, **words: Any) -> dict[str, Any]:
        return call(self.path, verb, timeout=20, **words)

    def find_caller(self, connection: socket.socket) -> Caller:
        return Caller(self.peer, 1)

    def push(self, made: Made) -> dict[str, Any]:
        """As `dsops release push` does it."""
        missing = self("have", sums=list(made.blobs))["missing"]
        for one in missing:
            data, held = made.blobs[one["sha256"]], one["held"]
            self("receive", sha256=one["sha256"], size=len(data), offset=held, payload=data[held:])
        return self("admit", manifest=made.manifest.decode(), signature=made.signature.decode())

    def bring_passports(self, made: Made, *pairs: dict[str, str]) -> dict[str, Any]:
        """A release that is there already, with its passports."""
        return self("admit", manifest=made.manifest.decode(), signature=made.signature.decode(), passports=list(pairs))

    def bring(self, release: str, **words: Any) -> dict[str, Any]:
        """Activates and proves."""
        self("activate", release=release, who="kim", reason="new", **words)
        return self("proven", release=release, evidence="8 of 8")


@contextmanager
def serving(desk: Desk, path: Path, *, idle_seconds: float = 60.0, keeper: Keeper | None = None) -> Iterator[Talk]:
    talk = Talk(path)
    listener = get_listener(path)
    server = Server(desk, listener, idle_seconds=idle_seconds, find_caller=talk.find_caller, keeper=keeper)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield talk
    finally:
        server.ended.set()
        with suppress(OSError), socket.socket(socket.AF_UNIX) as wakes:
            wakes.connect(str(path))
        thread.join(5)
        listener.close()


@pytest.fixture
def talk(bed: Bed) -> Iterator[Talk]:
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield talk


@pytest.fixture
def one(signer: Signer) -> Made:
    return signer.sign(make_release("one"))


@pytest.fixture
def two(signer: Signer) -> Made:
    return signer.sign(make_release("two"))
