"""The agent as a whole: its loop, its HTTP, and the process as systemd starts it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.status import Condition, NodeStatus, Phase, Verdict
from dsops.node.agent.app import build_app
from dsops.node.agent.config import AgentConfig, GpuConfig, get_config
from dsops.node.agent.loop import Loop
from dsops.node.agent.serve import bind, notify
from dsops.node.run import Done
from dsops.node.sources.gpu_child import GpuChild
from dsops.node.sources.gpus import Sweep
from dsops.node.sources.probe import GENERATE
from dsops.node.sources.slots import Ports
from starlette.testclient import TestClient

from tests.node.agent.releases import ALWAYS, make_release
from tests.node.sources.server import Canned, serve
from tests.node.sources.talker import event
from tests.ports import find_free_port

ONE_GPU = """
import sys
gpu = '{"index": 0, "name": "H100", "uuid": "GPU-0", "temperature_c": 40, "memory_used_bytes": 1,'
gpu += ' "memory_total_bytes": 2, "utilization_percent": null, "power_w": 9.5}'
values = '{"gpu": 0, "key": "ecc_corrected", "number": 7.0},'
values += ' {"gpu": 0, "key": "remap_pending", "error": "Unknown Error"}'
for n, _ in enumerate(sys.stdin):
    both = (gpu, values) if n == 0 else ('', '')
    print('{"sweep": "ok", "gpus": [%s], "values": [%s]}' % both, flush=True)
"""


def show(argv: Sequence[str]) -> Done:
    blocks = [f"Id={name}\nLoadState=loaded\nActiveState=active\nSubState=running" for name in argv[4:]]
    return Done(0, "\n\n".join(blocks), "")


def make_loop(tmp_path: Path, port: int, **changes: Any) -> Loop:
    for folder in ("slots", "lanes"):
        (tmp_path / folder).mkdir(exist_ok=True)
    if not (tmp_path / "slots/a").is_symlink():
        (tmp_path / "slots/a").symlink_to(f"../releases/{make_release(tmp_path)}")
        (tmp_path / "lanes/l50").symlink_to("../slots/a")
    config = AgentConfig(
        "gpu1",
        "gpu",
        state=str(tmp_path),
        slots=(Ports("a", port, port),),
        tick_seconds=0.01,
        answer_seconds=5,
    )
    gpus = GpuChild([sys.executable, "-c", ONE_GPU])
    return Loop(config, **{"run": show, "gpus": gpus, **changes})


def triton(**changes: tuple[int, bytes]) -> Canned:
    page = (200, b"dsops_engine_generated_tokens_total 5\n")
    said = event(text_output=ALWAYS, finish_reason="stop", num_output_tokens=1)
    ok = {"/v2/health/live": (200, b""), "/v2/health/ready": (200, b""), GENERATE: (200, said)}
    return Canned({**ok, "/metrics": page, **changes})


def test_a_tick_reads_judges_and_shows(tmp_path: Path) -> None:
    with serve(triton()) as canned:
        loop = make_loop(tmp_path, canned.port)
        client = TestClient(build_app(loop))
        assert client.get("/v1/status").status_code == 503
        asyncio.run(tick_and_sweep(loop, sweeps=1))
        status = NodeStatus.from_json(client.get("/v1/status").content, where="x")
        release = make_release(tmp_path)
        assert (status.release, status.phase, status.condition) == (release, Phase.SERVING, Condition.OK)
        assert status.gpus[0].temperature_c == 40
        page = client.get("/metrics").text
        assert 'dsops_gpu_temperature_celsius{gpu="0",name="H100",uuid="GPU-0"} 40.0' in page
        assert 'dsops_gpu_ecc_corrected_errors{gpu="0",name="H100",uuid="GPU-0"} 7.0' in page
        assert "dsops_gpu_remap_pending{" not in page  # what could not be read is no number
        assert 'dsops_node_condition{condition="ok"} 1.0' in page
        assert f'dsops_slot_phase{{phase="serving",release="{release}",slot="a"}} 1.0' in page
        assert client.get("/metrics/slots/a").text.startswith("dsops_engine_generated_tokens_total 5")


async def tick_and_sweep(loop: Loop, *, sweeps: int) -> None:
    try:
        for _ in range(sweeps):
            await loop.sweep()
        await loop.tick()
    finally:
        await loop.close()


def test_a_gpu_that_went_leaves_no_series(tmp_path: Path) -> None:
    with serve(triton()) as canned:
        loop = make_loop(tmp_path, canned.port)
        asyncio.run(tick_and_sweep(loop, sweeps=2))
        page = TestClient(build_app(loop)).get("/metrics").text
    assert "dsops_gpu_temperature_celsius{" not in page
    assert "dsops_gpu_ecc_corrected_errors{" not in page
    assert 'dsops_gpu_sweep{result="ok"} 1.0' in page


def test_the_relay_says_which_slots_there_are_and_that_one_is_down(tmp_path: Path) -> None:
    port = find_free_port()
    client = TestClient(build_app(make_loop(tmp_path, port)))
    assert (client.get("/metrics/slots/c").status_code, client.get("/metrics/slots/a").status_code) == (
        404,
        502,
    )
    assert client.get("/metrics/slots/c").json() == {"reason": "no slot 'c'; known: a"}
    assert client.get("/metrics/slots/a").json() == {"reason": "slot a: connection refused"}


def test_a_slot_without_a_release_is_no_dead_target(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, 1)
    (Path(loop.config.state) / "slots/a").unlink()
    answer = TestClient(build_app(loop)).get("/metrics/slots/a")
    assert (answer.status_code, answer.text) == (200, "# slot a holds no release\n")


def test_nobody_can_write(tmp_path: Path) -> None:
    client = TestClient(build_app(make_loop(tmp_path, 1)))
    assert {client.post(path).status_code for path in ("/v1/status", "/metrics")} == {405}


def test_a_hung_driver_stops_neither_ticks_nor_answers(tmp_path: Path) -> None:
    async def watch(loop: Loop) -> int:
        ticks = 0

        def count() -> None:
            nonlocal ticks
            ticks += 1

        tasks = [asyncio.create_task(loop.run_ticks(after=count)), asyncio.create_task(loop.run_sweeps())]
        end = time.monotonic() + 20
        while not (ticks > 5 and find_codes(loop) == ["gpu.hung"]) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.close()
        return ticks

    with serve(triton()) as canned:
        gpus = GpuChild([sys.executable, "-c", "import time; time.sleep(60)"], deadline=0.3)
        loop = make_loop(tmp_path, canned.port, gpus=gpus)
        assert asyncio.run(watch(loop)) > 5
    assert loop.status is not None
    assert (loop.status.phase, loop.status.condition) == (Phase.SERVING, Condition.BLIND)
    assert loop.gpus.sweep is Sweep.HUNG
    assert find_codes(loop) == ["gpu.hung"]


def find_codes(loop: Loop) -> list[str]:
    """Of what cannot be known."""
    findings = loop.status.findings if loop.status else ()
    return [finding.code for finding in findings if finding.status is Verdict.UNKNOWN]


def test_a_tick_that_raises_makes_the_node_blind_and_does_not_feed_the_watchdog(tmp_path: Path) -> None:
    fed: list[int] = []
    broken = [False]

    def show_or_break(argv: Sequence[str]) -> Done:
        if broken[0]:
            broken[0] = False
            raise RuntimeError("a bug")
        return show(argv)

    async def watch(loop: Loop) -> None:
        await loop.tick()
        broken[0] = True
        task = asyncio.create_task(loop.run_ticks(after=lambda: fed.append(1)))
        while not loop.status or loop.status.condition is not Condition.BLIND:
            await asyncio.sleep(0.001)
        assert fed == []
        while not fed:
            await asyncio.sleep(0.001)
        task.cancel()

    with serve(triton()) as canned:
        loop = make_loop(tmp_path, canned.port, run=show_or_break)
        asyncio.run(asyncio.wait_for(watch(loop), 5))
    assert loop.status is not None
    assert loop.status.condition is Condition.OK


def test_no_sweep_runs_where_no_gpu_is_promised() -> None:
    loop = Loop(AgentConfig("lb1", "lb", gpus=GpuConfig(expected=0)), gpus=GpuChild(["/nonexistent"]))
    assert (loop.gpus.sweep, loop.gpus.reason) == (
        Sweep.ABSENT,
        "this server has no GPUs, says its configuration",
    )


CONFIG = """
node = "lb1"
role = "lb"
listen = "127.0.0.1:{port}"
units = ["nginx.service"]
[gpus]
expected = 0
"""


def start(*argv: str, **environment: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "dsops.node.agent", *argv]
    env = {**os.environ, **environment}
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_daemon_says_ready_answers_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = find_free_port()
    (tmp_path / "agent.toml").write_text(CONFIG.format(port=port))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        agent = start("--config", str(tmp_path / "agent.toml"), NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(64) == b"READY=1"
        assert systemd.recv(64) == b"WATCHDOG=1"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.makefile("rb").read()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["node"] == "lb1"
    agent.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert agent.wait(10) == 0
    assert time.monotonic() - begun < 3
    assert "Traceback" not in agent.communicate()[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFIG.replace("units", "unit"), "unknown key 'unit'\n  mend: did you mean units?"),
        (CONFIG.replace("{port}", "99999"), "is not host:port"),
        (CONFIG + "every_seconds = 0", "gpus: every_seconds: should be over 0"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "agent.toml").write_text(text.replace("{port}", "0"))
    agent = start("--config", str(tmp_path / "agent.toml"), "--check")
    out, err = agent.communicate(timeout=20)
    assert (agent.returncode, out, "Traceback" in err) == (1, "", False)
    assert said in err


def test_check_reads_the_configuration_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG.format(port=1))
    agent = start("--config", str(tmp_path / "agent.toml"), "--check")
    assert agent.communicate(timeout=20) == (f"{tmp_path}/agent.toml: ok\n", "")
    assert get_config(tmp_path / "agent.toml").gpus.expected == 0


def test_an_address_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DsopsError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            bind(f"127.0.0.1:{port}", where="f: listen")
    assert "ss -ltnp" in caught.value.mend


def test_a_systemd_that_does_not_listen_is_no_failure(tmp_path: Path) -> None:
    notify("READY=1", address=str(tmp_path / "none"))
    notify("READY=1", address=None)
