"""What is read of a machine out of /proc and /sys; and what of it is no number."""

import errno
import os
import socket
import threading
from pathlib import Path

import pytest
from dsops.node.sources.boots import add_boot, read_panics
from dsops.node.sources.kernel_state import Quota, read_files_open, read_stuck
from dsops.node.sources.links import Link, count_ports, read_links, read_ports
from dsops.node.sources.machine import MachineReader, StorageReader, is_container
from dsops.node.sources.memory import Memory, read_memory
from dsops.node.sources.storage import Array, Mount, find_mount, read_arrays
from dsops.node.sources.timekeeping import Clock, ask_chrony, parse_tracking, read_clock
from dsops.node.sources.unread import Unread, attempt

# Of a container of the lab, as the agent in it sees it below ProtectSystem=strict.
NSPAWN = """\
700 600 0:45 / / ro,relatime master:300 - overlay dsops-lab rw,lowerdir=/base,upperdir=/up,workdir=/work
701 700 0:60 / /run rw,nosuid,nodev - tmpfs tmpfs rw,mode=755
702 701 254:0 /lab/gpus /run/dsops-lab-gpus ro,relatime - ext4 /dev/vda rw
703 700 7:4 / /var/lib/dsops ro,relatime - ext4 /dev/loop4 rw
704 703 0:70 / /var/lib/dsops/slots ro - tmpfs tmpfs ro
705 700 0:71 / /var/lib/dsops-agent rw - ext4 /dev/vda rw
"""


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_this_very_machine_is_read_without_an_error() -> None:
    reader = MachineReader(Path("/"))
    machine = reader.read()
    assert (machine.reason, machine.memory.total) == ("", read_memory(Path("/")).total)
    assert reader.read() is machine
    storage = StorageReader(Path("/"), {"/": False, "/nowhere": True}).read()
    assert not isinstance(storage.places[0].space, Unread)
    assert (storage.places[1].is_mount, storage.places[1].wants_mount) == (False, True)


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", ("/", False)),
        ("/var/lib/dsops", ("/var/lib/dsops", False)),
        ("/var/lib/dsops/blobs", ("/var/lib/dsops", False)),
        ("/var/lib/dsops-cold", ("/", False)),
        ("/run/dsops-lab-gpus", ("/run/dsops-lab-gpus", False)),
    ],
)
def test_what_a_sandbox_or_a_bind_made_read_only_is_no_broken_disk(path: str, mount: tuple[str, bool]) -> None:
    found = find_mount(NSPAWN, path)
    assert (found.point, found.is_readonly) == mount


@pytest.mark.parametrize(
    ("line", "is_readonly"),
    [
        ("27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/sda1 ro,errors=remount-ro", True),
        ("27 1 254:0 / / ro,relatime - xfs /dev/sda1 rw,norecovery", False),
        ("27 1 254:0 / / ro,relatime - squashfs /dev/loop0 ro", False),
    ],
)
def test_the_file_systems_own_word_counts(line: str, is_readonly: bool) -> None:
    assert find_mount(line, "/").is_readonly == is_readonly


def test_the_last_mount_on_a_place_is_the_one_that_is_seen() -> None:
    lines = "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /data rw - ext4 b rw\n3 2 8:3 / /data rw - ext4 c ro\n"
    assert find_mount(lines, "/data") == Mount("/data", True, "8:3", "c")


def test_arrays_of_a_raid_by_what_mdstat_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        "proc/mdstat",
        "Personalities : [raid1] [raid0]\n"
        "md0 : active raid1 sdb1[1] sda1[0]\n      100 blocks super 1.2 [2/2] [UU]\n"
        "      [=>...]  check =  9.1% (9/100) finish=5min\n\n"
        "md1 : active raid1 sda2[0]\n      100 blocks super 1.2 [2/1] [U_]\n      bitmap: 1/1 pages\n\n"
        "md2 : active (auto-read-only) raid0 nvme1n1[1] nvme0n1[0]\n      100 blocks super 1.2 512k chunks\n\n"
        "md3 : inactive sdc[0](S)\n      100 blocks super 1.2\n\n"
        "unused devices: <none>\n",
    )
    assert read_arrays(tmp_path) == (
        Array("md0", ""),
        Array("md1", "has 1 of 2 disks"),
        Array("md2", ""),
        Array("md3", "is inactive"),
    )


@pytest.mark.parametrize(
    ("code", "missing", "denied"),
    [
        (errno.ENOENT, True, False),
        (errno.ENODEV, True, False),
        (errno.EOPNOTSUPP, True, False),
        (errno.ESRCH, True, False),
        (errno.EACCES, False, True),
        (errno.EPERM, False, True),
        (errno.EIO, False, False),
        (errno.EINVAL, False, False),
    ],
)
def test_why_a_value_is_not_there(code: int, missing: bool, denied: bool) -> None:
    def fail() -> int:
        raise OSError(code, os.strerror(code), "/sys/x")

    assert attempt(fail) == Unread(f"/sys/x: {os.strerror(code)}", is_missing=missing, is_denied=denied)


def test_rubbish_is_no_number(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: lots kB\nMemAvailable 5\nrubbish")
    write(tmp_path, "proc/pressure/memory", "some avg60=1\n")
    write(tmp_path, "proc/sys/fs/file-nr", "1 2\n")
    memory = read_memory(tmp_path)
    assert all(isinstance(value, Unread) and not value.is_missing for value in vars(memory).values())
    assert isinstance(memory, Memory)
    assert read_files_open(tmp_path) == Unread(
        f"ValueError: {tmp_path}/proc/sys/fs/file-nr: '1 2' are not three numbers"
    )
    write(tmp_path, "proc/sys/fs/file-nr", "1 0 9223372036854775807\n")
    assert read_files_open(tmp_path) == Quota(1, 9223372036854775807)


def test_a_card_says_its_speed_only_where_it_knows_it(tmp_path: Path) -> None:
    for name, state, speed in (("eth0", "up", "25000"), ("eth1", "up", "-1"), ("eth2", "down", "9"), ("lo", "up", "9")):
        write(tmp_path, f"sys/class/net/{name}/operstate", f"{state}\n")
        write(tmp_path, f"sys/class/net/{name}/speed", speed)
        if name != "lo":
            write(tmp_path, f"sys/class/net/{name}/device/vendor", "")
    assert read_links(tmp_path) == (Link("eth0", "up", 25000), Link("eth1", "up"), Link("eth2", "down"))
    write(tmp_path, "sys/class/net/bonding_masters", "")
    assert len(read_links(tmp_path)) == 3  # type: ignore[arg-type]


def test_a_containers_card_is_its_end_of_a_pair(tmp_path: Path) -> None:
    for name, own, other in (("host0", 2, 17), ("lo", 1, 1), ("docker0", 3, 3)):
        for key, text in (("operstate", "up"), ("ifindex", str(own)), ("iflink", str(other)), ("speed", "10000")):
            write(tmp_path, f"sys/class/net/{name}/{key}", f"{text}\n")
    assert read_links(tmp_path) == ()
    assert read_links(tmp_path, in_container=True) == (Link("host0", "up", 10000),)


def test_a_port_of_soft_roce_has_few_counters(tmp_path: Path) -> None:
    """As the guests have it: no folder of counters, and its own ones have other names."""
    port = "sys/class/infiniband/rxe0/ports/1"
    for name, text in (("state", "4: ACTIVE"), ("phys_state", "5: LinkUp"), ("rate", "2.5 Gb/sec (1X SDR)")):
        write(tmp_path, f"{port}/{name}", f"{text}\n")
    write(tmp_path, f"{port}/hw_counters/sent_pkts", "5\n")
    ports = read_ports(tmp_path)
    assert not isinstance(ports, Unread)
    assert [(one.name, one.state, one.physical, one.rate) for one in ports] == [("rxe0/1", "ACTIVE", "LinkUp", 2.5)]
    assert count_ports(tmp_path, ports) == {}


def test_only_the_drivers_and_tritons_own_threads_count_as_stuck(tmp_path: Path) -> None:
    assert read_stuck(tmp_path) == Unread("other users' processes are hidden from the agent", is_denied=True)
    stats = {"1": "S", "1/task/1": "S", "5": "D", "5/task/5": "D", "6": "S", "6/task/6": "S", "6/task/7": "D"}
    names = {"1": "systemd", "5": "dd", "6": "tritonserver"}
    for place, state in stats.items():
        pid = place.partition("/")[0]
        write(tmp_path, f"proc/{place}/stat", f"{pid} ({names[pid]}) {state} 1 1\n")
    assert read_stuck(tmp_path) == ("tritonserver",)
    write(tmp_path, "proc/9/stat", "9 (nv_queue) ")
    stuck = read_stuck(tmp_path)
    assert isinstance(stuck, Unread)
    assert "nv_queue" in stuck.reason


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no time server is configured here"),
        ("# server x\ndriftfile /x\n", "no time server is configured here"),
        ("pool ntp.example iburst\ncmdport 0\n", "chrony answers nobody (cmdport 0)"),
    ],
)
def test_a_clock_that_nobody_should_set_is_not_judged(tmp_path: Path, config: str | None, said: str) -> None:
    if config is not None:
        write(tmp_path, "etc/chrony/chrony.conf", config)
    assert read_clock(tmp_path, ask=lambda: Clock(True)) == Unread(said, is_missing=True)


def test_a_clock_that_somebody_should_set_is_asked_of_chrony(tmp_path: Path) -> None:
    def hang() -> Clock:
        raise TimeoutError("timed out")

    write(tmp_path, "etc/chrony.conf", "server 192.0.2.1\n")
    assert read_clock(tmp_path, ask=lambda: Clock(True, 0.25)) == Clock(True, 0.25)
    assert read_clock(tmp_path, ask=hang) == Unread("timed out")
    (tmp_path / "etc/chrony").mkdir()
    (tmp_path / "etc/chrony/chrony.conf").mkdir()
    assert isinstance(read_clock(tmp_path, ask=lambda: Clock(True)), Unread)


# What chronyd 4.3 answered at 1795372077.5755577, and its chronyc: stratum 4, root delay 0.000004772, Normal.
TRACKED = bytes.fromhex(
    "060200000021000500000000000000000000000100000000000000007f0000017f000001000000000000000000000000"
    "0001000000040000000000006b03342c196b9782dd3fdf0cd29ed1e5d6bf1aeefcab92fdf2db1b6d00c37fa4e0a01f2bdcea51e20081700a"
)


def test_what_chrony_tells_is_understood() -> None:
    clock = parse_tracking(TRACKED, now=1795372077.5755577)
    assert clock.is_followed
    assert clock.error_seconds == pytest.approx(1.433e-6 + 1.75e-6 + 4.772e-6 / 2, abs=1e-7)
    assert clock.age_seconds == pytest.approx(1.58, abs=0.01)
    lost = TRACKED[:54] + b"\x00\x03" + TRACKED[56:]
    assert not parse_tracking(lost, now=0).is_followed
    for wrong in (b"", TRACKED[:50], b"\x05" + TRACKED[1:], TRACKED[:8] + b"\x00\x06" + TRACKED[10:]):
        with pytest.raises(ValueError, match="chrony"):
            parse_tracking(wrong, now=0)


def test_chrony_is_asked_on_its_port_and_where_it_does_not_run_nobody_sets_the_clock() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chrony:
        chrony.bind(("127.0.0.1", 0))
        port, asked = chrony.getsockname()[1], []

        def answer() -> None:
            data, who = chrony.recvfrom(1024)
            asked.append(len(data))
            chrony.sendto(TRACKED, who)

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask_chrony(port=port, wall=lambda: 1795372080.0).age_seconds == pytest.approx(4.0, abs=0.01)
        thread.join()
        # An answer longer than its question is not given.
        assert asked == [len(TRACKED)]
        silent = attempt(lambda: ask_chrony(port=port))
        assert silent == Unread("timed out")
    assert ask_chrony(port=port) == Clock(is_followed=False)


def test_boots_are_remembered_and_rubbish_is_not() -> None:
    assert add_boot(None, "b1", began=5.0) == {"b1": 5.0}
    assert add_boot({"b1": 5.0}, "b1", began=9.0) == {"b1": 5.0}
    assert add_boot({"b2": 7, "b1": 5.0, "x": "y"}, "b3", began=9.0) == {"b1": 5.0, "b2": 7.0, "b3": 9.0}
    assert add_boot([1, 2], "", began=9.0) == {}
    many = {f"b{n}": float(n) for n in range(100)}
    assert list(add_boot(many, "now", began=500.0))[-2:] == ["b99", "now"]
    assert len(add_boot(many, "now", began=500.0)) == 32


def test_a_panic_is_seen_where_the_kernel_or_systemd_left_it(tmp_path: Path) -> None:
    assert read_panics(tmp_path, began=1000.0, before=500.0) == Unread(
        f"{tmp_path}/sys/fs/pstore: No such file or directory", is_missing=True
    )
    for name, at in (("sys/fs/pstore/dmesg-efi-1", 100), ("var/lib/systemd/pstore/1", 100)):
        os.utime(write(tmp_path, name, ""), (at, at))
    assert read_panics(tmp_path, began=1000.0, before=500.0) == 0
    os.utime(write(tmp_path, "var/lib/systemd/pstore/2", ""), (1010, 1010))
    assert read_panics(tmp_path, began=1000.0, before=500.0) == 1
    os.utime(write(tmp_path, "sys/fs/pstore/dmesg-efi-2", ""), (700, 700))
    assert read_panics(tmp_path, began=1000.0, before=500.0) == 2
    (tmp_path / "var/lib/systemd/pstore").rename(tmp_path / "kept")
    (tmp_path / "var/lib/systemd/pstore").symlink_to("pstore")
    assert isinstance(read_panics(tmp_path, began=1000.0, before=500.0), Unread)


def test_a_container_is_known_by_what_its_manager_leaves(tmp_path: Path) -> None:
    assert not is_container(tmp_path)
    write(tmp_path, "run/systemd/container", "systemd-nspawn")
    assert is_container(tmp_path)


def test_a_reader_that_breaks_says_so_and_goes_on(tmp_path: Path) -> None:
    now, fails = [100.0], [True]

    def ask(path: str) -> os.statvfs_result:
        return os.statvfs("/")

    class Paths(dict[str, bool]):
        def items(self):  # type: ignore[no-untyped-def]
            if fails[0]:
                raise KeyError("a bug")
            return super().items()

    reader = StorageReader(tmp_path, Paths({"/": False}), ticks=lambda: now[0], statvfs=ask)
    assert "a bug" in reader.read().reason
    now[0] += 1
    assert "a bug" in reader.read().reason
    fails[0] = False
    now[0] += 5
    assert (reader.read().reason, len(reader.read().places)) == ("", 1)
