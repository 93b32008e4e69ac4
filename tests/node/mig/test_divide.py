"""`python -m dsops.node.mig` on simulated GPUs, with a systemctl and a gateway that only tell what they were told."""

import fcntl
import http.server
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.mig import Kind, Part
from dsops.core.mig_plan import Change, Gpu
from dsops.lab import gpus
from dsops.lab.place import Server
from dsops.node.mig.apply import Host, Wanted, apply
from dsops.node.mig.driver import Driver
from dsops.node.run import Done

from tests.lab.conftest import env_of

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc builds the simulated library")
SEVEN = ["7x1g.5gb"]
HALVES = ["2x3g.20gb"]
BOUND = ["a: 0/0", "b: 0/1"]
AGENT, A, B, GATEWAY = "dsops-agent.service", "triton@a.service", "triton@b.service", "dsops-gateway.service"
SYSTEMCTL = """
case "$1" in
show) [ -e {units}/"$5" ] && echo active || echo inactive ;;
stop) echo "stop $2" >> {log}; rm -f {units}/"$2" ;;
start) echo "start $3" >> {log}; [ "$2" = --no-block ] || exit 9; touch {units}/"$3" ;;
esac
"""


@dataclass
class Node:
    """One server: its GPUs' files, its units, its gateway's socket."""

    folder: Path
    library: Path

    @property
    def cards(self) -> Path:
        return self.folder / "gpus"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        return self.folder / "gateway.sock"

    def make(self, profile: str = "a100", *, cards: int = 1, units: Sequence[str] = ()) -> "Node":
        gpus.reset(self.cards, Server("gpu1", 11, gpus=cards), profile=profile)
        (self.folder / "units").mkdir()
        for unit in units:
            (self.folder / "units" / unit).touch()
        program = self.folder / "bin/systemctl"
        program.parent.mkdir()
        program.write_text("#!/bin/sh" + SYSTEMCTL.format(units=self.folder / "units", log=self.folder / "log"))
        program.chmod(0o755)
        return self

    def say(self, verb: str, layouts: Sequence[str], slots: Sequence[str]) -> subprocess.CompletedProcess[str]:
        config = self.folder / "mig.toml"
        config.write_text(f"layouts = {json.dumps(list(layouts))}\nslots = {json.dumps(list(slots))}\n")
        argv = [sys.executable, "-m", "dsops.node.mig", verb, "--config", str(config)]
        argv += ["--folder", str(self.run), "--socket", str(self.socket)]
        env = env_of(self.library, self.cards)
        env |= {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PYTHONPATH": f"{env['PYTHONPATH']}/agent"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    def apply(self, layouts: Sequence[str], slots: Sequence[str] = ()) -> list[str]:
        """What it did."""
        done = self.say("apply", layouts, slots)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def refused(self, layouts: Sequence[str], slots: Sequence[str] = BOUND) -> str:
        """What it says while it ends with 1, as an error with its mend."""
        done = self.say("apply", layouts, slots)
        assert done.returncode == 1, done.stdout
        assert done.stderr.startswith("error: ")
        assert "\n  mend: " in done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def plan(self, layouts: Sequence[str], slots: Sequence[str] = ()) -> Any:
        done = self.say("plan", layouts, slots)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def told(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def made(self, gpu: int = 0) -> list[str]:
        """The simulated card's own record."""
        path = self.cards / f"gpu{gpu}.mig"
        return path.read_text().splitlines() if path.exists() else []

    def devices(self) -> dict[str, str]:
        return {slot: path.read_text() for slot in "ab" if (path := self.run / f"{slot}.env").exists()}

    @contextmanager
    def gateway(self, said: object) -> Iterator[None]:
        body = json.dumps(said).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "-"

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        (self.folder / "units" / GATEWAY).touch()
        server = socketserver.ThreadingUnixStreamServer(str(self.socket), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            self.socket.unlink()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpus.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def node(library: Path, tmp_path: Path) -> Node:
    return Node(tmp_path, library)


DRAINED = {"drained": {"reason": "MIG", "who": "somebody"}, "in_flight": 0}


def test_a_drained_node_is_divided_and_each_slot_is_told_its_instance(node: Node) -> None:
    node.make(units=[A, AGENT])
    plan = node.plan(SEVEN, BOUND)
    assert plan == {
        "changes": ["GPU 0: turns MIG on; creates 7x1g.5gb"],
        "refused": "",
        "traffic": "",
        "devices": {},
    }
    assert node.made() == node.told() == []
    with node.gateway(DRAINED):
        assert node.apply(SEVEN, BOUND) == ["GPU 0: turns MIG on; creates 7x1g.5gb"]
    assert node.made()[:2] == ["mode=1", "pending=1"]
    assert [line for line in node.made() if line.startswith("gi.")] == [f"gi.{i}=19 {i - 1} 1" for i in range(1, 8)]
    devices = node.devices()
    assert devices["a"].startswith("CUDA_VISIBLE_DEVICES=MIG-")
    assert devices["a"] != devices["b"]
    # Only what ran stood still, and it runs again.
    assert node.told() == [f"stop {A}", f"stop {AGENT}", f"start {AGENT}", f"start {A}"]
    assert node.plan(SEVEN, BOUND)["devices"] == {slot: text.strip() for slot, text in devices.items()}


def test_what_is_as_wanted_is_left_alone_even_with_traffic(node: Node) -> None:
    node.make()
    node.apply(HALVES, BOUND)
    before = node.made()
    (node.folder / "units" / A).touch()
    with node.gateway({"drained": None, "in_flight": 9}):
        assert node.apply(HALVES, BOUND) == ["as wanted"]
        assert node.plan(HALVES, BOUND)["changes"] == []
    assert node.made() == before
    assert node.told() == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"drained": None, "in_flight": 0}, "the node has traffic"),
        ({**DRAINED, "in_flight": 2}, "2 requests are in flight"),
        ({"drained": DRAINED["drained"]}, "an unknown number of requests are in flight"),
        (["?"], "nobody can say whether there is traffic"),
    ],
)
def test_a_change_with_traffic_on_the_node_is_refused(node: Node, said: object, words: str) -> None:
    node.make(units=[A, AGENT])
    with node.gateway(said):
        assert node.plan(SEVEN, BOUND)["traffic"].startswith(words)
        assert f"the GPUs are not divided anew: {words}" in (text := node.refused(SEVEN))
    assert "nothing was changed" in text
    assert "dsops drain NODE" in text
    assert node.made() == node.told() == []


def test_a_gateway_that_hangs_up_says_nothing_and_nothing_is_changed(node: Node) -> None:
    node.make(units=[A, GATEWAY])
    node.socket.touch()  # its socket is there, and nobody answers
    assert "nobody can say whether there is traffic" in node.refused(SEVEN)
    assert node.made() == []


def test_a_process_on_the_gpu_is_named_and_what_stood_still_runs_again(node: Node) -> None:
    node.make(units=[A])
    gpus.change(node.cards, 0, {"process.4711": 5})
    assert "GPU 0 (NVIDIA A100-SXM4-40GB): processes use it: 4711" in node.refused(SEVEN)
    assert node.made() == []
    assert node.told() == [f"stop {A}", f"start {A}"]
    gpus.change(node.cards, 0, {"process.4711": None})
    node.apply(SEVEN, BOUND)
    (node.folder / "units" / A).touch()
    (node.folder / "log").unlink(missing_ok=True)
    gpus.change(node.cards, 0, {"process.4711": 5})
    assert "processes use it: 4711" in node.refused(HALVES)
    assert node.told() == [f"stop {A}", f"start {A}"]


@pytest.mark.parametrize(
    ("profile", "layouts", "slots", "words"),
    [
        ("t4", SEVEN, BOUND, "GPU 0 (Tesla T4): it cannot be divided: it has no MIG"),
        ("a100", ["7x1g.10gb"], BOUND, "7x1g.10gb does not fit A100 40GB: A100 40GB holds 4 of 1g.10gb at most"),
        ("h100", ["3x3g.40gb"], BOUND, "H100 80GB holds 2 of 3g.40gb at most, 3 are wanted"),
        ("a100", SEVEN, ["a: 0/0", "b: 0/7"], "slots: b: GPU 0 is to have 7 instances"),
        ("a100", SEVEN, [], "no slot is bound to an instance"),
        ("a100", ["off", "off"], [], "2 layouts for 1 GPUs"),
        ("a100", ["seven"], [], "'seven' is no part of a layout"),
    ],
)
def test_what_cannot_be_had_is_refused_by_plan_and_by_apply(
    node: Node, profile: str, layouts: list[str], slots: list[str], words: str
) -> None:
    node.make(profile, units=[A])
    assert words in node.plan(layouts, slots)["refused"]
    assert words in node.refused(layouts, slots)
    assert node.made() == node.told() == []


def test_a_driver_that_lays_instances_elsewhere_than_the_catalog_is_believed(node: Node) -> None:
    node.make()
    gpus.change(node.cards, 0, {"mig_profile.2": "9 3g.20gb 3 2 19968 4 0 2"})
    assert "the driver lays 3g.20gb at 0:4, 2:4, the catalog elsewhere" in node.refused(HALVES)
    assert node.made() == []
    node.apply(SEVEN, BOUND)


@pytest.mark.parametrize("line", ["9 3g.21gb 3 2 19968 4 0 4", "10 3g.20gb 3 2 19968 4 0 4"])
def test_a_driver_that_names_or_numbers_a_profile_otherwise_is_believed(node: Node, line: str) -> None:
    node.make()
    gpus.change(node.cards, 0, {"mig_profile.2": line})
    said = node.refused(HALVES)
    number, name = line.split()[:2]
    assert "the driver has no 3g.20gb (9); it has 1g.5gb (19), " in said
    assert f"{name} ({number})" in said
    assert node.made() == []


def test_a_mode_that_waits_for_a_reset_leaves_the_slots_down_until_it_came(node: Node) -> None:
    node.make(units=[A, AGENT])
    gpus.change(node.cards, 0, {"mig_reset": 1})
    said = node.refused(SEVEN)
    assert "GPU 0: MIG turns on only after a reset (GPU requires reset)" in said
    assert "reboot" in said
    assert node.devices() == {}
    assert node.told() == [f"stop {A}", f"stop {AGENT}", f"start {AGENT}"]
    (node.cards / "gpu0.mig").write_text("mode=1\npending=1\n")  # as a reboot does
    assert node.apply(SEVEN, BOUND) == ["GPU 0: creates 7x1g.5gb"]
    assert set(node.devices()) == {"a", "b"}


@pytest.mark.parametrize("call", ["nvmlGpuInstanceCreateComputeInstance", "nvmlDeviceCreateGpuInstanceWithPlacement"])
def test_a_change_that_broke_midway_is_made_good_by_the_next_run(node: Node, call: str) -> None:
    node.make(units=[A])
    node.apply(HALVES, BOUND)
    gpus.change(node.cards, 0, {f"return.{call}": 999})
    assert "GPU 0: NVML: Unknown Error" in node.refused(SEVEN)
    assert node.devices() == {}, "a slot would start on an instance that is gone"
    gpus.change(node.cards, 0, {f"return.{call}": None})
    assert "creates" in node.apply(SEVEN, BOUND)[0]
    assert node.plan(SEVEN, BOUND)["changes"] == []


def test_a_change_that_the_driver_did_not_make_is_told(tmp_path: Path) -> None:
    """It answers «done», and what is read afterwards is as it was."""

    class Idle(Driver):
        def read(self) -> tuple[Gpu, ...]:
            return (Gpu(0, "A100", "20b0", "GPU-0", mode=True, pending=True),)

        def check_places(self, gpu: Gpu, kind: Kind, parts: Sequence[Part]) -> None:
            """All is where it should be."""

        def change(self, change: Change, kind: Kind | None) -> None:
            """Nothing."""

    host = Host(tmp_path / "run", tmp_path / "no.sock", lambda argv, **_: Done(0, "inactive\n", ""))
    with pytest.raises(DsopsError, match=r"GPU 0: it is not as wanted afterwards: creates 7x1g\.5gb"):
        apply(Wanted(tuple(SEVEN), tuple(BOUND)), Idle(None), host)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.suffix == ".env"] == []


def test_a_gpu_is_made_whole_again_and_slots_have_all_of_it(node: Node) -> None:
    node.make(units=[B])
    node.apply(SEVEN, BOUND)
    assert node.apply(["off"]) == [f"GPU 0: destroys {', '.join(f'1g.5gb@{i}' for i in range(7))}; turns MIG off"]
    assert node.made() == ["mode=0", "pending=0"]
    assert node.devices() == {"a": "", "b": ""}


def test_each_gpu_has_a_layout_of_its_own_and_one_that_is_right_is_not_touched(node: Node) -> None:
    node.make(cards=2)
    bound = ["a: 0/1", "b: 1"]
    assert node.apply(["2x3g.20gb", "off"], bound) == ["GPU 0: turns MIG on; creates 2x3g.20gb"]
    assert node.made(1) == []
    devices = node.devices()
    assert devices["a"].startswith("CUDA_VISIBLE_DEVICES=MIG-")
    assert devices["b"].startswith("CUDA_VISIBLE_DEVICES=GPU-")
    assert node.apply(["4g.20gb", "7g.40gb"], ["a: 0/0", "b: 1/0"]) == [
        "GPU 0: destroys 3g.20gb@0, 3g.20gb@4; creates 1x4g.20gb",
        "GPU 1: turns MIG on; creates 1x7g.40gb",
    ]


def test_a_slot_that_runs_gets_another_instance_only_while_the_node_is_drained(node: Node) -> None:
    node.make()
    node.apply(SEVEN, BOUND)
    (node.folder / "units" / A).touch()
    other = ["a: 0/5", "b: 0/1"]
    (change,) = node.plan(SEVEN, other)["changes"]
    assert change.startswith("slot a: CUDA_VISIBLE_DEVICES=MIG-")
    with node.gateway({"drained": None, "in_flight": 0}):
        assert "the node has traffic" in node.refused(SEVEN, other)
        seen = node.plan(SEVEN, other)
        assert (seen["changes"], seen["traffic"].split(";")[0]) == ([change], "the node has traffic")
    with node.gateway(DRAINED):
        assert node.apply(SEVEN, other) == [change]
    assert node.told() == [f"stop {A}", f"start {A}"]
    assert node.devices()["a"].strip() == change.removeprefix("slot a: ")


def test_after_a_reboot_it_is_divided_before_a_slot_may_start(node: Node) -> None:
    """Instances live in the GPU's own memory; the folder in /run is as empty."""
    node.make()
    node.apply(SEVEN, BOUND)
    shutil.rmtree(node.run)
    (node.cards / "gpu0.mig").write_text("mode=1\npending=1\n")
    node.apply(SEVEN, BOUND)
    assert set(node.devices()) == {"a", "b"}


def test_two_at_once_are_refused(node: Node) -> None:
    node.make()
    node.run.mkdir()
    with (node.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "the GPUs are being divided already" in node.refused(SEVEN)
    node.apply(SEVEN, BOUND)


def test_a_server_without_a_driver_or_a_configuration_says_so(node: Node) -> None:
    node.make()
    gpus.change(node.cards, "driver", {"return.nvmlInit": 9})
    assert "NVML: Driver Not Loaded" in node.refused(SEVEN)
    assert "NVML: Driver Not Loaded" in node.plan(SEVEN)["refused"]
    gpus.change(node.cards, "driver", {"return.nvmlInit": None, "count": 0})
    assert "the driver lists no GPU" in node.refused(SEVEN)
    gpus.change(node.cards, "driver", {"count": 1})
    gpus.change(node.cards, 0, {"return": 15})
    assert "GPU 0 (?): NVML: GPU is lost" in node.refused(SEVEN)
