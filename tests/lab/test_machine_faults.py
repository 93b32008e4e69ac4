"""Faults of a server as a machine: what is asked of it, what is refused, and how all of it is mended."""

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import gpu_faults, gpus, machine_faults
from dsops.lab.faults import FAULTS, Hit
from dsops.lab.place import LAB, Lab

FAKE = """#!/bin/sh
for last; do :; done
printf '%s %s\\n' "$(basename "$0")" "$last" >>"{log}"
case "$(basename "$0") $*" in
  ssh*MemAvailable*) echo 2000000 ;;
  ssh*'date +%s.%N') cat "{clock}" ;;
  ssh*fallocate*) echo 17 ;;
  ssh*lab-fault-full*) echo 'the disk has room' ;;
  nft\\ delete*) exit {joined} ;;
esac
"""


@dataclass(frozen=True)
class World:
    """Servers that are not there: programs that only note what they were asked to do."""

    lab: Lab
    path: Path

    def do(self, name: str, *words: str, server: str = "gpu1") -> str:
        one = self.lab.find_server(server)
        assert one
        return FAULTS[name].do(Hit(self.lab, one, words, 0))

    def asked(self) -> str:
        return (self.path / "log").read_text() if (self.path / "log").exists() else ""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    # A bridge that no lab has: nothing here may meet the servers of a real one.
    lab = replace(LAB, root=tmp_path / "lab", bridge="dsopsno0", subnet=IPv4Network("10.97.0.0/24"))

    def make(*, clock: float | None = None, joined: int = 1) -> World:
        (tmp_path / "bin").mkdir()
        (tmp_path / "clock").write_text(str(time.time() if clock is None else clock))
        text = FAKE.format(log=tmp_path / "log", clock=tmp_path / "clock", joined=joined)
        for name in ("ssh", "ip", "nft"):
            (tmp_path / "bin" / name).write_text(text)
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        return World(lab, tmp_path)

    return make


def test_what_needs_a_kernel_of_its_own_is_refused_in_words(make: Callable[..., World]) -> None:
    world = make()
    with pytest.raises(DsopsError, match="no clock of its own") as clock:
        world.do("clock", "60")
    with pytest.raises(DsopsError, match="no kernel of its own"):
        world.do("log-flood")
    assert "metal1" in clock.value.mend
    assert world.asked() == ""


def test_a_guests_clock_jumps(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("clock", "-90", server="metal1") == "its clock has jumped by -90 s"
    assert "date -s @$(($(date +%s) + -90))" in world.asked()


def test_a_guests_log_is_flooded_within_a_bound(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("log-flood", "500", server="metal1") == "500 lines are in its kernel's log"
    assert "-lt 500" in world.asked()
    with pytest.raises(DsopsError, match="no number up to 200000"):
        world.do("log-flood", "200001", server="metal1")


def test_an_xid_of_a_guest_is_in_its_kernels_log(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("xid", "79", "13", server="metal1") == "its kernel's log says Xid 79, 13"
    commands = [line.removeprefix("ssh ").removesuffix(" >/dev/kmsg") for line in world.asked().splitlines()]
    assert [shlex.split(command)[1:] for command in commands] == [
        [f"<4>{gpu_faults.render_xid('0000:10:00', xid)}"] for xid in (79, 13)
    ]
    with pytest.raises(DsopsError, match="'x' is no number"):
        world.do("xid", "x", server="metal1")


def test_the_disk_is_filled(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("disk-full") == "/var/lib/dsops is full (17 MiB more)"
    assert machine_faults.FULL in world.asked()


def test_a_guests_disk_is_slowed_by_its_own_systemd(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("disk-slow", "3", server="metal1") == "/var/lib/dsops takes and gives 3 MB/s"
    assert "IOReadBandwidthMax='/var/lib/dsops 3000000' IOWriteBandwidthMax='/var/lib/dsops 3000000'" in world.asked()
    with pytest.raises(DsopsError, match="'fast' is no number"):
        world.do("disk-slow", "fast")


def test_a_server_whose_disk_is_not_mounted_cannot_be_slowed(make: Callable[..., World]) -> None:
    with pytest.raises(DsopsError, match="is not mounted"):
        make().do("disk-slow")


def test_a_guests_memory_is_taken_but_for_what_is_left(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("memory", "100", server="metal1") == "1853 MiB are taken, 100 are left"
    assert "head -c 1943142400 /dev/zero" in world.asked()
    with pytest.raises(DsopsError, match="fewer than 3000 MiB are free"):
        world.do("memory", "3000", server="metal1")


def test_memory_is_never_taken_without_a_bound(make: Callable[..., World]) -> None:
    world = make()
    with pytest.raises(DsopsError, match="cannot bound memory"):
        world.do("memory")
    assert world.asked() == ""


def test_a_cable_is_pulled_on_this_machines_end(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("nic-down") == "its cable is out"
    assert "still says that the link is up" in world.do("nic-down", server="metal1")
    assert world.asked() == "ip down\nip down\n"


def test_a_mend_ends_everything_and_says_what(make: Callable[..., World]) -> None:
    world = make(joined=0)
    gpu1 = world.lab.servers[1]
    with pytest.raises(DsopsError, match="no simulated gpu0"):
        world.do("gpu-lost")
    gpus.reset(world.lab.home(gpu1).gpus, gpu1)
    (world.lab.home(gpu1).root / gpus.library_path()).parent.mkdir(parents=True)
    world.do("gpu-lost")
    assert world.do("mend") == "it is cut off no more; the disk has room; its GPUs are healthy"
    assert "return" not in gpus.read_gpu(world.lab.home(gpu1).gpus, 0)


def test_a_guests_clock_is_set_right_only_when_it_is_wrong(make: Callable[..., World]) -> None:
    assert "its clock is right" in make(clock=time.time() - 3600).do("mend", server="metal1")


def test_nothing_is_said_to_be_mended_that_was_well(make: Callable[..., World]) -> None:
    world = make()
    assert world.do("mend", server="metal1") == "the disk has room"
    assert "date -s" not in world.asked()
    assert "IOReadBandwidthMax= IOWriteBandwidthMax=" in world.asked()


def test_a_server_that_stays_silent_after_its_cable_is_in_is_told(make: Callable[..., World]) -> None:
    nowhere = replace(make().lab, subnet=IPv4Network("240.0.0.0/24"))  # no network takes packets for these
    with pytest.raises(DsopsError, match="does not answer"):
        machine_faults.wait_answer(nowhere, nowhere.servers[1], patience=0.1)


# --- control groups ---


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A server's groups in the first version of control groups, one in another."""
    for folder in (tmp_path, tmp_path / "boot1"):
        folder.mkdir(exist_ok=True)
        for way in ("read", "write"):
            (folder / f"blkio.throttle.{way}_bps_device").write_text("")
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "memory.usage_in_bytes").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {60 << 20}\ntotal_active_file {40 << 20}\n")
    return tmp_path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    for name, text in (("io.max", ""), ("memory.max", "max\n"), ("memory.current", f"{300 << 20}\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {60 << 20}\nactive_file {40 << 20}\n")
    return tmp_path


def test_each_group_of_the_old_kind_is_slowed_and_quick_again(old: Path) -> None:
    limits = [
        folder / f"blkio.throttle.{way}_bps_device" for folder in (old, old / "boot1") for way in ("read", "write")
    ]
    assert machine_faults.limit_disk([old], "7:5", 1_000_000, where="gpu1")
    assert [file.read_text() for file in limits] == ["7:5 1000000"] * 4
    assert machine_faults.limit_disk([old], "7:5", None, where="gpu1")
    assert [file.read_text() for file in limits] == ["7:5 0"] * 4


def test_the_whole_group_of_the_new_kind_is_slowed_and_quick_again(new: Path) -> None:
    assert not machine_faults.limit_disk([new], "7:5", None, where="gpu1")
    machine_faults.limit_disk([new], "7:5", 2_000_000, where="gpu1")
    assert (new / "io.max").read_text() == "7:5 rbps=2000000 wbps=2000000"
    machine_faults.limit_disk([new], "7:5", None, where="gpu1")
    assert (new / "io.max").read_text() == "7:5 rbps=max wbps=max"


def test_a_limit_of_another_disk_is_none_of_ours(new: Path) -> None:
    (new / "io.max").write_text("17:5 rbps=1 wbps=1\n")
    assert not machine_faults.limit_disk([new], "7:5", None, where="gpu1")


def test_where_nothing_can_slow_a_disk_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="cannot slow a disk"):
        machine_faults.limit_disk([tmp_path], "7:5", 1, where="gpu1")
    assert not machine_faults.limit_disk([tmp_path], "7:5", None, where="gpu1")


@pytest.mark.parametrize(
    ("kind", "limit", "none"), [("old", "memory.limit_in_bytes", "-1"), ("new", "memory.max", "max")]
)
def test_memory_is_bounded_above_what_cannot_be_given_back(
    request: pytest.FixtureRequest, kind: str, limit: str, none: str
) -> None:
    group: Path = request.getfixturevalue(kind)
    machine_faults.bound_memory([group / "nothing", group], 50, where="gpu1")
    assert int((group / limit).read_text()) == (300 - 60 - 40 + 50) << 20
    machine_faults.free_memory([group])
    assert (group / limit).read_text() == none


def test_a_bound_that_the_kernel_does_not_take_is_told(new: Path) -> None:
    (new / "memory.max").unlink()
    (new / "memory.max").mkdir()
    with pytest.raises(DsopsError, match=r"memory\.max does not take"):
        machine_faults.bound_memory([new], 50, where="gpu1")
