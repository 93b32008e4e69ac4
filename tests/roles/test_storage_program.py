"""The program that makes a tier, on loop devices, with real file systems: cut after every step, and run again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from roles.storage.choice import HOT, MAKING
from roles.storage.templates.tier import find_others, prove
from roles.storage.tiers import PROGRAM, render_unit

# What the program calls, in a whole run: each may be the last thing that it does.
CALLED = (
    "lsblk",
    "wipefs",
    "mkfs.xfs",
    "blkid",
    "mount",
    "setpriv",
    "sync",
    "umount",
    "systemctl",
    "findfs",
    "udevadm",
)
SIZE = 400 << 20
UNIT = "place.mount"
USERS = ["dsops-gateway.service", "dsops-helper.service"]

can_mount = shutil.which("mkfs.xfs") and os.geteuid() == 0 and "\txfs\n" in Path("/proc/filesystems").read_text()
needs_disks = pytest.mark.skipif(not can_mount, reason="needs root, xfsprogs and a kernel with xfs")

# Stands in for systemd: mounts what a unit file says in the server's namespace, and remembers what is active.
SYSTEMCTL = """
for last; do :; done
case "$1 $last" in
list-units*) sed "s/$/ loaded active/" {active} ;;
"start "*.mount)
  uuid=$(sed -n 's,^What=/dev/disk/by-uuid/,,p' {units}/$last)
  nsenter -t {init} -m mount -t xfs -o noatime "$(findfs UUID=$uuid)" {place} ;;
start*) echo "$last" >> {active} ;;
stop*) sed -i "/$last/d" {active} ;;
esac
"""
# Ends the program, as a power cut would, once so many calls were made. The call itself is done, or is not.
WRAPPER = """
echo {name} >> {calls}
if [ "$(wc -l < {calls})" = "$(cat {cut} 2>/dev/null)" ]; then
  [ -e {cut}.before ] || {real} "$@" >/dev/null 2>&1
  kill -9 $PPID
  exit 1
fi
exec {real} "$@"
"""


@dataclass
class Machine:
    """A server: a mount namespace of its own, a disk, a place with content, and units that are active."""

    folder: Path
    disk: str
    server: subprocess.Popen[bytes]
    calls: Path = field(init=False)

    def __post_init__(self) -> None:
        self.calls, self.bin = self.folder / "calls", self.folder / "bin"
        for name in ("bin", "units", "run", "place"):
            (self.folder / name).mkdir(exist_ok=True)
        self.active.write_text("\n".join(USERS) + "\n")
        values = {"active": self.active, "units": self.folder / "units", "init": self.server.pid, "place": self.place}
        self.write("systemctl.real", SYSTEMCTL.format(**values))
        self.write("udevadm.real", "exit 0")
        for name in CALLED:
            real = self.bin / f"{name}.real"
            path = real if real.exists() else shutil.which(name)
            cut = self.folder / "cut"
            self.write(name, WRAPPER.format(name=name, calls=self.calls, cut=cut, real=path))

    @property
    def place(self) -> Path:
        return self.folder / "place"

    @property
    def live(self) -> Path:
        """The place as the whole server sees it."""
        return Path(f"/proc/{self.server.pid}/root{self.place}")

    @property
    def active(self) -> Path:
        return self.folder / "active"

    def write(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def say(self, **more: Any) -> dict[str, Any]:
        disk = {"path": self.disk, "size": SIZE, "names": [], "erase": False}
        said = {
            "label": HOT.label,
            "place": str(self.place),
            "disks": [disk],
            "array": False,
            "unit": UNIT,
            "units": str(self.folder / "units"),
            "text": render_unit(HOT),
            "users": USERS,
            "run": str(self.folder / "run"),
            "init": self.server.pid,
        }
        return said | more

    def run(self, *, cut: int = 0, before: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
        """cut: the call at which it is killed, counted from 1."""
        self.calls.write_text("")
        (self.folder / "cut").write_text(f"{cut}")
        (self.folder / "cut.before").touch() if before else (self.folder / "cut.before").unlink(missing_ok=True)
        words = ["nsenter", "-t", str(self.server.pid), "-m", "unshare", "--mount", sys.executable, "-I", str(PROGRAM)]
        env = os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        argv = [*words, json.dumps(self.say(**more))]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    def reboot(self) -> None:
        """What is mounted is gone, then what the unit file names is mounted; /run is empty; the units start."""
        self.sh(f"while mountpoint -q {self.place}; do umount {self.place}; done")
        shutil.rmtree(self.folder / "run")
        if (self.folder / "units" / UNIT).exists():
            self.sh(f"PATH={self.bin}:$PATH; systemctl.real start {UNIT}")
        self.active.write_text("\n".join(USERS) + "\n")

    def sh(self, command: str) -> str:
        words = ["nsenter", "-t", str(self.server.pid), "-m", "sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def label(self) -> str:
        done = subprocess.run(
            ["wipefs", "--no-act", "--noheadings", "--output", "LABEL", self.disk], capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def check_whole(self) -> None:
        """Everything is on the disk and nothing under it; what was active is so again."""
        assert (self.live / "blobs/one").read_text() == "content"
        assert (self.live / "blobs/one").stat().st_ino == (self.live / "releases/r1/one").stat().st_ino
        assert (self.live / "slots/a").readlink() == Path("../releases/r1")
        assert self.live.stat().st_dev != self.folder.stat().st_dev
        assert self.label() == HOT.label
        assert set(self.active.read_text().split()) == set(USERS)
        under = f"umount {self.place} && ls -A {self.place} && lsattr -d {self.place} | cut -c5"
        assert self.sh(f"unshare --mount sh -c '{under}'") in {"i", "-", ""}
        assert not list((self.folder / "run").glob("*.stopped"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    image = tmp_path / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(SIZE)
    disk = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True)
    server = subprocess.Popen(["unshare", "--mount", "sleep", "600"])
    while Path(f"/proc/{server.pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
        pass
    made = Machine(tmp_path, disk.stdout.strip(), server)
    for folder in ("blobs", "releases/r1", "slots"):
        (made.place / folder).mkdir(parents=True)
    (made.place / "blobs/one").write_text("content")
    (made.place / "releases/r1/one").hardlink_to(made.place / "blobs/one")
    (made.place / "slots/a").symlink_to("../releases/r1")
    yield made
    made.sh(f"while mountpoint -q {made.place}; do umount {made.place}; done")
    server.kill()
    server.wait()
    subprocess.run(["chattr", "-i", made.place], check=False, capture_output=True)
    subprocess.run(["losetup", "--detach", made.disk], check=True)


@needs_disks
def test_a_tier_is_made_filled_proven_and_mounted_and_a_second_run_changes_nothing(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 0, done.stderr
    machine.check_whole()
    assert "mkfs.xfs" in machine.calls.read_text()
    uuid = machine.sh(f"findmnt -no UUID {machine.place} || true")
    again = machine.run()
    assert again.returncode == 0, again.stderr
    assert "mkfs.xfs" not in machine.calls.read_text()
    assert machine.sh(f"findmnt -no UUID {machine.place} || true") == uuid
    machine.check_whole()


@needs_disks
@pytest.mark.parametrize(
    ("before", "reboots"),
    [
        pytest.param(False, True, id="power cut after it", marks=pytest.mark.slow),
        pytest.param(True, True, id="power cut before it", marks=pytest.mark.thorough),
        pytest.param(False, False, id="killed after it", marks=pytest.mark.thorough),
        pytest.param(True, False, id="killed before it", marks=pytest.mark.thorough),
    ],
)
def test_a_run_that_was_cut_at_any_call_converges_the_next_time(machine: Machine, before: bool, reboots: bool) -> None:
    image = machine.folder / "disk.img"
    cut = 0
    while True:
        cut += 1
        done = machine.run(cut=cut, before=before)
        if done.returncode == 0:
            break
        assert "Traceback" not in done.stderr, done.stderr
        if reboots:
            machine.reboot()
            assert (machine.live / "blobs/one").read_text() == "content", f"lost after call {cut}"
        done = machine.run()
        assert done.returncode == 0, f"after call {cut}: {done.stderr}"
        machine.check_whole()
        _start_over(machine, image)
    assert cut > len(CALLED)


def _start_over(machine: Machine, image: Path) -> None:
    """A server as before its first run, with the same content."""
    place, saved = machine.place, machine.folder / "saved"
    machine.sh(f"mkdir -p {saved} && cp -a {place}/. {saved}")
    machine.sh(f"umount {place} && chattr -i {place} 2>/dev/null; cp -a {saved}/. {place}")
    shutil.rmtree(machine.folder / "units")
    (machine.folder / "units").mkdir()
    subprocess.run(["wipefs", "--all", "--quiet", machine.disk], check=True)
    assert image.exists()


@needs_disks
def test_a_copy_that_does_not_fit_leaves_everything_as_it_was(machine: Machine) -> None:
    (machine.place / "blobs/big").write_bytes(os.urandom(1 << 20) * 200)
    done = machine.run()
    assert done.returncode == 1
    assert "holds 0.2 GB; its new file system would have 0.4 GB" in done.stderr
    assert "mkfs.xfs" not in machine.calls.read_text()
    assert sorted(machine.active.read_text().split()) == USERS


@needs_disks
def test_what_has_the_place_open_is_named_and_what_was_stopped_runs_again(machine: Machine) -> None:
    with (machine.place / "blobs/one").open():
        done = machine.run()
    assert done.returncode == 1
    assert f"is in use by process {os.getpid()} (" in done.stderr
    assert sorted(machine.active.read_text().split()) == USERS
    assert machine.label() == MAKING
    assert machine.run().returncode == 0
    machine.check_whole()


@needs_disks
def test_a_disk_that_got_data_meanwhile_is_refused_and_one_that_may_be_erased_is_not(machine: Machine) -> None:
    subprocess.run(["mkfs.xfs", "-q", "-L", "mine", machine.disk], check=True)
    done = machine.run()
    assert "is not empty any more" in done.stderr
    assert machine.label() == "mine"
    disk = {"path": machine.disk, "size": SIZE, "names": [], "erase": True}
    assert machine.run(disks=[disk]).returncode == 0
    machine.check_whole()


@needs_disks
def test_an_array_is_made_over_all_disks_with_its_name_in_every_member(machine: Machine, tmp_path: Path) -> None:
    # This machine's kernel may have no md: the array is a link to its first disk.
    link = f"mkdir -p /dev/md && ln -sfn {machine.disk} /dev/md/{HOT.label}"
    machine.write("mdadm", f'echo "$*" > {tmp_path}/mdadm; {link}')
    disk = {"path": machine.disk, "size": SIZE, "names": [], "erase": False}
    try:
        done = machine.run(disks=[disk, disk], array=True)
    finally:
        Path(f"/dev/md/{HOT.label}").unlink(missing_ok=True)
        with suppress(OSError):
            Path("/dev/md").rmdir()
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "mdadm").read_text()
    assert words.startswith(f"--create /dev/md/{HOT.label} --run --level=0 --raid-devices=2 --metadata=1.2")
    assert words.endswith(f"--name={HOT.label} {machine.disk} {machine.disk}\n")
    machine.check_whole()


@needs_disks
def test_another_disk_under_the_same_name_is_refused(machine: Machine) -> None:
    disk = {"path": machine.disk, "size": SIZE, "names": ["S1"], "erase": False}
    assert "is another disk now" in machine.run(disks=[disk]).stderr


@needs_disks
def test_a_mount_that_fails_leaves_the_old_place_in_use(machine: Machine) -> None:
    machine.write("systemctl.real", (machine.bin / "systemctl.real").read_text().replace("-t xfs", "-t ext4"))
    done = machine.run()
    assert done.returncode == 1
    assert "systemctl start" in done.stderr
    assert not list((machine.folder / "units").glob("*.mount"))
    assert (machine.live / "blobs/one").read_text() == "content"
    assert sorted(machine.active.read_text().split()) == USERS


def test_a_copy_is_proven_by_name_owner_time_link_and_byte(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "a").mkdir(parents=True)
    (here / "a/one").write_text("x" * 3_000_000)
    (here / "two").hardlink_to(here / "a/one")
    subprocess.run(["cp", "-a", here, there], check=True)
    prove(here, there)
    before = (there / "two").stat()
    (there / "two").write_text("x" * 2_999_999 + "y")
    os.utime(there / "two", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Exception, match=r"the copy of .* is not the same"):
        prove(here, there)
    shutil.rmtree(there)
    subprocess.run(["cp", "-a", "--no-preserve=links", here, there], check=True)
    with pytest.raises(Exception, match=r"the hard links of .* were not kept"):
        prove(here, there)
    (there / "three").touch()
    with pytest.raises(Exception, match="changed while it was copied"):
        prove(here, there)


def test_processes_that_have_a_place_open_are_found(tmp_path: Path) -> None:
    assert not find_others(tmp_path)
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        assert find_others(tmp_path) == [f"process {process.pid} (sleep)"]
        process.kill()
