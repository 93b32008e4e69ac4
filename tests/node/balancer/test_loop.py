"""The balancer as a whole: its links, its polls against gateways that die, and the process itself."""

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.balancer.app import build_app
from dsops.node.balancer.config import BalancerConfig, NodeConfig, check_config, get_config
from dsops.node.balancer.links import Links
from dsops.node.balancer.loop import Loop
from dsops.node.balancer.state import Look, Observation
from starlette.testclient import TestClient

from tests.node.sources.server import Canned, serve
from tests.ports import find_free_port

DRAINED = b'{"status": "unavailable", "phase": "drained", "reason": "drained by ann: fan"}'


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for folder in ("nodes", "inner"):
        (tmp_path / folder).mkdir()
    return tmp_path


def target(run_dir: Path, node: str) -> str:
    return str((run_dir / "nodes" / f"{node}.sock").readlink())


def make_loop(run_dir: Path, *ports: int, admin: int = 0) -> Loop:
    nodes = tuple(NodeConfig(f"gpu{n}", "127.0.0.1", port, admin) for n, port in enumerate(ports, start=1))
    return Loop(BalancerConfig(nodes, interval_seconds=0.05, timeout_seconds=0.2), Links(run_dir))


async def run_until(loop: Loop, done: Callable[[], bool], *, limit: float = 5.0) -> float:
    start = time.monotonic()
    tasks = [asyncio.create_task(loop.run_polls(node)) for node in loop.config.nodes]
    try:
        async with asyncio.timeout(limit):
            while not done():
                await asyncio.sleep(0.005)
    finally:
        for task in tasks:
            task.cancel()
    return time.monotonic() - start


def test_a_link_is_switched_by_rename_and_read_back(run_dir: Path) -> None:
    links = Links(run_dir)
    links.point("gpu1", is_in=True)
    links.point("gpu2", is_in=False)
    assert links.read(["gpu1", "gpu2", "gpu3"]) == {"gpu1": True, "gpu2": False, "gpu3": False}
    assert (target(run_dir, "gpu1"), target(run_dir, "gpu2")) == ("../inner/gpu1.sock", "../out/gpu2.sock")


def test_what_is_left_by_a_kill_is_swept_and_a_stale_socket_is_replaced(run_dir: Path) -> None:
    (run_dir / "nodes/.gpu1.sock.new").symlink_to("../inner/gpu1.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run_dir / "nodes/gpu1.sock"))
    links = Links(run_dir)
    assert links.read(["gpu1"]) == {"gpu1": False}
    assert [p.name for p in (run_dir / "nodes").iterdir()] == ["gpu1.sock"]
    links.point("gpu1", is_in=True)
    assert target(run_dir, "gpu1") == "../inner/gpu1.sock"


def test_the_links_are_never_missing_while_they_switch(run_dir: Path) -> None:
    links, seen = Links(run_dir), set()
    links.point("gpu1", is_in=True)
    for n in range(300):
        links.point("gpu1", is_in=n % 2 == 0)
        seen.add(target(run_dir, "gpu1"))
    assert seen == {"../inner/gpu1.sock", "../out/gpu1.sock"}


def test_a_missing_directory_is_said_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="is not there") as caught:
        Links(tmp_path).read(["gpu1"])
    assert caught.value.mend
    with pytest.raises(DsopsError, match="cannot switch gpu1"):
        Links(tmp_path).point("gpu1", is_in=True)


def test_a_good_node_comes_in_and_a_dead_one_goes(run_dir: Path) -> None:
    with serve(Canned({"/healthz": (200, b"{}")})) as one:
        with serve(Canned({"/healthz": (200, b"{}")})) as two:
            loop = make_loop(run_dir, one.port, two.port)
            asyncio.run(run_until(loop, lambda: loop.state.members == {"gpu1", "gpu2"}))
            assert target(run_dir, "gpu2") == "../inner/gpu2.sock"
        again = make_loop(run_dir, one.port, two.port)
        assert again.state.members == {"gpu1", "gpu2"}
        asyncio.run(run_until(again, lambda: again.state.members == {"gpu1"}))
    assert target(run_dir, "gpu2") == "../out/gpu2.sock"


def test_a_hung_node_is_out_one_timeout_later_and_delays_no_other(run_dir: Path) -> None:
    with serve(Canned({"/healthz": (200, b"{}")})) as one, serve(Canned({"/healthz": (200, b"{}")})) as two:
        loop = make_loop(run_dir, one.port, two.port)
        asyncio.run(run_until(loop, lambda: len(loop.state.members) == 2))
        two.delay = 3.0
        asked = len(one.asked)
        took = asyncio.run(run_until(loop, lambda: loop.state.members == {"gpu1"}))
        # interval 0.05 + timeout 0.2, and room for a busy machine.
        assert took < 1.5
        assert len(one.asked) - asked >= 3
        assert loop.state.nodes["gpu2"].look is Look.TIMEOUT


def test_a_drained_node_shows_who_drained_it(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serve(Canned({"/healthz": (503, DRAINED)})) as admin:
        with serve(Canned({"/healthz": (200, b"{}")})) as two:
            with serve(Canned({"/healthz": (200, b"{}")})) as one:
                loop = make_loop(run_dir, one.port, two.port, admin=admin.port)
                asyncio.run(run_until(loop, lambda: len(loop.state.members) == 2))
            asyncio.run(run_until(loop, lambda: loop.state.nodes["gpu1"].look is Look.DRAINED))
        assert loop.state.members == {"gpu2"}
    assert loop.state.nodes["gpu1"].reason == "drained by ann: fan"
    assert "gpu1 out: refused (connection refused)" in caplog.messages
    assert "gpu1 is drained (drained by ann: fan)" in caplog.messages


def test_a_link_that_cannot_be_written_is_tried_again(run_dir: Path) -> None:
    with serve(Canned({"/healthz": (200, b"{}")})) as one:
        loop = make_loop(run_dir, one.port)
        (run_dir / "nodes").rename(run_dir / "gone")
        asyncio.run(run_until(loop, lambda: "gpu1" in loop.unwritten))
        page = TestClient(build_app(loop)).get("/metrics").text
        assert "dsops_balancer_links_unwritten 1.0" in page
        (run_dir / "gone").rename(run_dir / "nodes")
        asyncio.run(run_until(loop, lambda: not loop.unwritten))
    assert target(run_dir, "gpu1") == "../inner/gpu1.sock"


def test_the_status_says_in_out_why_and_since_when(run_dir: Path) -> None:
    now = [100.0]
    config = BalancerConfig((NodeConfig("gpu1", "127.0.0.1"), NodeConfig("gpu2", "127.0.0.1")))
    Links(run_dir).point("gpu1", is_in=True)
    Links(run_dir).point("gpu2", is_in=True)
    loop = Loop(config, Links(run_dir), clock=lambda: now[0])
    loop.observe(Observation("gpu2", Look.TIMEOUT, "no answer in 1 s", 1.0, 100.0))
    now[0] = 107.0
    client = TestClient(build_app(loop, wall=lambda: 1007.0))
    node = client.get("/v1/status").json()["nodes"][1]
    assert (node["in"], node["look"], node["reason"]) == (False, "timeout", "no answer in 1 s")
    assert (node["since"], node["latency_seconds"]) == (1000.0, 1.0)
    page = client.get("/metrics").text
    assert 'dsops_balancer_node_in{node="gpu2"} 0.0' in page
    assert "dsops_balancer_changes_total 1.0" in page
    loop.observe(Observation("gpu1", Look.TIMEOUT, "no answer in 1 s", 1.0, 107.0))
    assert client.get("/v1/status").json()["kept"] is True


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((), "there is no node"),
        ((NodeConfig("../x", "a"),), "cannot be a node's name"),
        ((NodeConfig("gpu1", "a"), NodeConfig("gpu1", "b")), "gpu1 stands there twice"),
    ],
)
def test_a_wrong_configuration_is_refused(nodes: tuple[NodeConfig, ...], said: str) -> None:
    with pytest.raises(DsopsError, match=said):
        check_config(BalancerConfig(nodes), where="f")


@pytest.mark.slow
def test_the_daemon_takes_a_killed_gateway_out_within_two_seconds(run_dir: Path) -> None:
    """With the contract's own figures: every 500 ms, 1 s timeout."""
    port = find_free_port()
    with serve(Canned({"/healthz": (200, b"{}")})) as one, serve(Canned({"/healthz": (200, b"{}")})) as two:
        text = f'listen = "127.0.0.1:{port}"\nrun_dir = "{run_dir}"\n'
        for name, canned in (("gpu1", one), ("gpu2", two)):
            text += f'[[nodes]]\nname = "{name}"\naddress = "127.0.0.1"\nport = {canned.port}\nadmin_port = 0\n'
        (run_dir / "balancer.toml").write_text(text)
        assert len(get_config(run_dir / "balancer.toml").nodes) == 2
        argv = [sys.executable, "-m", "dsops.node.balancer", "--config", str(run_dir / "balancer.toml")]
        daemon = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        try:
            for node in ("gpu1", "gpu2"):
                wait_for(run_dir, f"../inner/{node}.sock", limit=20, node=node)
            took: list[float] = []
            back: list[float] = []
            # More than one round only where a busy machine held up the first.
            while len(took) < 3 and not (took and min(took) < 2.0 and min(back) < 3.0):
                two.delay = 5.0
                took.append(wait_for(run_dir, "../out/gpu2.sock", limit=20, node="gpu2"))
                two.delay = 0.0
                back.append(wait_for(run_dir, "../inner/gpu2.sock", limit=20, node="gpu2"))
            assert min(took) < 2.0
            assert min(back) < 3.0
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status") as answer:
                assert json.load(answer)["nodes"][1]["in"]
        finally:
            daemon.send_signal(signal.SIGTERM)
        said = daemon.communicate(timeout=10)[1]
    assert daemon.returncode == 0
    assert "INFO gpu2 out: timeout (no answer in 1 s)" in said
    changes = [line.endswith("INFO gpu2 in") for line in said.splitlines() if "INFO gpu2 " in line]
    # Each change is told once: in, out, in again.
    assert changes[:3] == [True, False, True]
    assert all(one != after for one, after in pairwise(changes))
    assert "Traceback" not in said


def wait_for(run_dir: Path, wanted: str, *, limit: float, node: str = "gpu1") -> float:
    start = time.monotonic()
    while time.monotonic() - start < limit:
        link = run_dir / "nodes" / f"{node}.sock"
        if link.is_symlink() and str(link.readlink()) == wanted:
            return time.monotonic() - start
        time.sleep(0.01)
    raise AssertionError(f"{wanted} did not come in {limit} s")
