"""Which processes are the lab's: told by their facts, on a made-up /proc."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dsops.lab.place import LAB, MARK, Lab
from dsops.lab.processes import Part, end_parts, find_parts, is_gone, started_at


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab", "dsopst0", LAB.subnet, LAB.servers, tmp_path / "base")


def add(proc: Path, pid: str, *, environ: str = "", upper: str = "", ids: str = "") -> None:
    (proc / pid / "ns").mkdir(parents=True)
    (proc / pid / "ns/mnt").symlink_to("mnt:[2]" if upper else "mnt:[1]")
    (proc / pid / "environ").write_text(environ)
    (proc / pid / "status").write_text(f"Name:\tx\nNSpid:\t{ids or pid}\n")
    (proc / pid / "mountinfo").write_text(f"9 1 0:9 / / rw - overlay o rw,lowerdir=/b,upperdir={upper},workdir=/w\n")


@pytest.fixture
def proc(tmp_path: Path, lab: Lab) -> Path:
    folder = tmp_path / "proc"
    add(folder, "self")
    add(folder, "100", environ="HOME=/root")
    add(folder, "200", environ=f"A=b\0{MARK}={lab.root}:gpu1\0")
    add(folder, "201", upper=f"{lab.root}/hosts/gpu1/upper", ids="201\t1")
    add(folder, "202", upper=f"{lab.root}/hosts/gpu1/upper", ids="202\t35")
    add(folder, "300", environ=f"{MARK}={lab.root}:sink\0")
    add(folder, "400", environ=f"{MARK}={lab.root}-two:gpu1\0")
    add(folder, "401", upper=f"{lab.root}-two/hosts/gpu1/upper", ids="401\t1")
    (folder / "500").mkdir()
    return folder


def test_processes_are_known_by_their_mark_and_by_their_root(lab: Lab, proc: Path) -> None:
    assert sorted(find_parts(lab, proc=proc), key=lambda part: part.pid) == [
        Part(200, "gpu1", inside=False, leader=False),
        Part(201, "gpu1", inside=True, leader=True),
        Part(202, "gpu1", inside=True, leader=False),
        Part(300, "sink", inside=False, leader=False),
    ]


def test_one_part_is_found_alone(lab: Lab, proc: Path) -> None:
    assert [part.pid for part in find_parts(lab, "sink", proc=proc)] == [300]


def test_a_marked_process_is_ended_and_an_unmarked_one_lives(lab: Lab) -> None:
    argv = [sys.executable, "-c", "import time; print('.', flush=True); time.sleep(60)"]
    ours = subprocess.Popen(argv, env={**os.environ, MARK: lab.mark("build")}, stdout=subprocess.PIPE)
    other = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        for process in (ours, other):
            assert process.stdout
            process.stdout.readline()
        # Our child stays a zombie until we wait for it; zombies have no environment, so it is found once.
        assert end_parts(lab, thaw=lambda: None) == 1
        assert ours.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


def test_the_start_of_a_process_is_a_time_in_the_past() -> None:
    began = started_at(os.getpid())
    assert began is not None
    assert began > 0
    assert started_at(2**22 + 1) is None


PART = Part(7, "gpu3", inside=False, leader=False)


@pytest.mark.parametrize(
    ("looks", "gone"),
    [([[PART]], False), ([[], [PART]], False), ([[], []], True)],
    ids=["is there", "just begins", "is gone"],
)
def test_a_program_that_just_begins_is_not_taken_for_gone(lab: Lab, looks: list[list[Part]], *, gone: bool) -> None:
    left = iter(looks)
    assert is_gone(lab, "gpu3", find=lambda *_: next(left), pause=0) == gone
    assert not list(left)
