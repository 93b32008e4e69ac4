"""Peers are asked at once; who is silent, or of another version, is left out."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from dsops.core.status import Phase, Verdict
from dsops.node.sources.peers import PeerAddress, read_peers

from tests.core.test_status import make_status
from tests.node.sources.server import Canned, serve


def canned(**changes: Any) -> Canned:
    well: dict[str, Any] = {"verdict": Verdict.OK, "strikes": 0, "ejected": None, "findings": ()}
    status = replace(make_status(), **(well | {"phase": Phase.SERVING} | changes))
    return Canned({"/v1/status": (200, status.to_json().encode())})


def test_those_that_answer_are_told() -> None:
    silent = Canned({"/v1/status": (200, b"late")}, delay=30)
    old = Canned({"/v1/status": (200, b'{"version": 1}')})
    well, ill = canned(node="gpu2"), canned(node="gpu3", verdict=Verdict.BAD)
    with serve(well), serve(ill), serve(silent), serve(old):
        ports = (well.port, ill.port, silent.port, old.port, 1)
        addresses = [PeerAddress(str(port), f"127.0.0.1:{port}") for port in ports]
        began = time.perf_counter()
        peers = asyncio.run(read_peers(addresses, timeout=3))
        assert time.perf_counter() - began < 15
    assert [(peer.node, peer.serves, peer.fails) for peer in peers] == [("gpu2", True, False), ("gpu3", False, True)]
