"""What this server computes with, and what lies beside a release about such hardware."""

import json
import os
import sys
from pathlib import Path

import pytest
from dsops.core.passport import Hardware
from dsops.core.state import Kind, Move, Step
from dsops.core.status import Gpu
from dsops.node.sources.cache import find_cached, forget, list_files
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.hardware import find_hardware, is_without_gpus, read_hardware
from dsops.node.sources.passports import find_demand, read_passports

from tests.core.passports import CPU, H100, T4, make

R = "r0123456789ab"
CPUINFO = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: x\n\nprocessor\t: 1\nmodel name\t: Xeon\n"


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    return path


def gpu(name: str) -> Gpu:
    return Gpu(0, name, "GPU-0", None, None, None, None, None)


def test_gpus_count_and_without_any_the_cpu_does(cpuinfo: Path) -> None:
    reading = Reading(Sweep.OK, (gpu("H100"), gpu("H100")))
    assert find_hardware(reading, cpuinfo=cpuinfo) == Hardware(("H100", "H100"), "Xeon", 2)
    assert find_hardware(Reading(Sweep.ABSENT), cpuinfo=cpuinfo) == CPU
    assert find_hardware(Reading(Sweep.OK), cpuinfo=cpuinfo) == CPU


@pytest.mark.parametrize("sweep", [Sweep.HUNG, Sweep.DEAD, Sweep.ERROR, Sweep.PENDING])
def test_a_driver_that_does_not_answer_makes_no_cpu_server(cpuinfo: Path, sweep: Sweep) -> None:
    assert find_hardware(Reading(sweep), cpuinfo=cpuinfo) is None


def test_a_cpu_that_nobody_names_is_its_architecture(tmp_path: Path) -> None:
    found = find_hardware(Reading(Sweep.ABSENT), cpuinfo=tmp_path / "none")
    assert found
    assert found.cpu == os.uname().machine
    assert found.cores >= 1


def test_the_door_asks_the_driver_in_a_child_that_may_hang_or_die(cpuinfo: Path) -> None:
    def read(script: str) -> Hardware | None:
        argv = (sys.executable, "-c", script)
        return read_hardware(argv=argv, seconds=30, agent=cpuinfo.with_name("none"), cpuinfo=cpuinfo)

    one = {"sweep": "ok", "gpus": [vars(gpu("H100"))], "lost": [], "reason": ""}
    assert read(f"input(); print({json.dumps(one)!r})") == Hardware(("H100",), "Xeon", 2)
    assert read("raise SystemExit(1)") is None
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    assert read_hardware(argv=argv, seconds=0.1, agent=cpuinfo, cpuinfo=cpuinfo) is None


def test_a_server_that_is_meant_to_have_no_gpu_is_not_asked_for_one(cpuinfo: Path) -> None:
    agent = cpuinfo.with_name("agent.toml")
    agent.write_text("[gpus]\nexpected = 0\n")
    assert read_hardware(argv=("/bin/false",), agent=agent, cpuinfo=cpuinfo) == CPU
    for text in ("[gpus]\nexpected = 8\n", "node = 'gpu1'\n", "gpus = 5\n", "not TOML"):
        agent.write_text(text)
        assert not is_without_gpus(agent)


def test_what_lies_beside_a_release_is_read_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / f"{R}.aa.json").write_bytes(make().render())
    (tmp_path / f"{R}.bb.json").write_bytes(make(hardware=T4).render()[:-30])
    (tmp_path / f"{R}.cc.json").write_bytes(make(release="r0").render())
    (tmp_path / f"{R}.dd.json.sig").write_text("x")
    (tmp_path / "r999999999999.json").write_text("x")
    papers = read_passports(tmp_path, R)
    assert papers.passports == (make(),)
    assert len(papers.damage) == 2
    assert "not a whole passport" in papers.damage[0]
    assert "a passport for r0, not for" in papers.damage[1]
    assert read_passports(tmp_path / "none", R).passports == ()


def test_a_release_must_meet_it_where_it_comes_in_and_not_on_the_way_back(tmp_path: Path) -> None:
    (tmp_path / "passports").mkdir()
    (tmp_path / f"passports/{R}.aa.json").write_bytes(make().render())
    comes = Move(Kind.ACTIVATE, R, "b", Step.PROVE, 1.0, "kim", "new")
    back = Move(Kind.ROLLBACK, R, "b", Step.PROVE, 1.0, "kim", "wrong")
    assert find_demand(tmp_path, comes, H100) == make()
    assert find_demand(tmp_path, comes, T4) is None
    assert find_demand(tmp_path, comes, None) is None
    assert find_demand(tmp_path, back, H100) is None


def test_the_page_cache_is_looked_into_and_may_forget(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/a.bin").write_bytes(b"x" * 300_000)
    (tmp_path / "b.json").write_bytes(b"{}")
    files = list_files(tmp_path)
    assert [path.name for path in files] == ["b.json", "a.bin"]
    held = find_cached(files)
    if held is None:
        pytest.skip("this file system cannot be asked what of it is cached")
    assert held == 1.0
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    forget(files)
    after = find_cached(files)
    assert after is not None
    assert after <= held  # a file system in memory never forgets
    assert find_cached([]) is None
    assert find_cached([tmp_path / "none"]) is None
