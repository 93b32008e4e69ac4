"""The checks of the machine itself: what each finds, when, and when it is over; and what is no proof of anything."""

import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dsops.core.checks import ORDER, Kind
from dsops.core.status import Condition, Measure, Phase, Slot, Verdict
from dsops.node.checks.check import look
from dsops.node.checks.host import CHECKS
from dsops.node.checks.host.judging import find_card
from dsops.node.sources.kernel_log import Record
from dsops.node.sources.machine import HostSeen
from dsops.node.sources.timekeeping import Clock
from dsops.node.sources.unread import Unread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.node.checks.bare_metal import (
    BOOT,
    CARD,
    COLD,
    DOWN,
    FILES,
    MOUNTS,
    PCI,
    PORT,
    RULES,
    STORE,
    WALL,
    Change,
    Server,
    leave,
    make_utmp,
    raise_counter,
)

LATE, WELL = Clock(is_followed=False), Clock(is_followed=True, error_seconds=0.01)
STATS = f"{CARD}/statistics"
STATS_OF_DISKS = "proc/diskstats"
EDAC = "sys/devices/system/edac/mc/mc0"
TRACK = "proc/sys/net/netfilter/nf_conntrack"
COR = f"{PCI}/aer_dev_correctable"
HEAT = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server(tmp_path)
    made.live(60, step=15)
    return made


def set_clock(clock: Clock) -> Change:
    return lambda server: setattr(server, "clock", lambda: clock)


def set_free(path: str, bytes_: float, inodes: float = 500.0) -> Change:
    return lambda server: server.free.__setitem__(path, (bytes_, inodes))


def restart(server: Server) -> None:
    unit = server.units["triton@a.service"]
    server.set_unit(restarts=unit.restarts + 1, started=server.now)


def use_disk(done: int, wait_ms: int, *, busy_ms: int = 100, name: str = "nvme0n1", in_flight: int = 0) -> Change:
    """A disk gets so much done with every step."""

    def change(server: Server) -> None:
        rows = [line.split() for line in (server.root / STATS_OF_DISKS).read_text().splitlines()]
        [row] = [row for row in rows if row[2] == name]
        for place, by in ((3, done), (6, wait_ms), (12, busy_ms)):
            row[place] = str(int(row[place]) + by)
        row[11] = str(in_flight)
        server.write(STATS_OF_DISKS, "".join(f"{' '.join(row)}\n" for row in rows))

    return change


def hold_requests(count: int) -> Change:
    """So many are with the disk, and nothing comes back."""
    return use_disk(0, 0, busy_ms=0, in_flight=count)


@dataclass(frozen=True)
class Fault:
    """found: `entity code`. do: once; grow: in every step. early: seconds after which it is not told yet, and late:
    after which it is. over: seconds after `mend` in which it ends; 0: a person, or the next boot, ends it."""

    found: str
    do: Change = leave
    grow: Change = leave
    early: float = 0.0
    late: float = 30.0
    mend: Change = leave
    over: float = 60.0
    measure: Measure = Measure.ALERT


def toggle(name: str, well: str, ill: str) -> Any:
    """`do` and `mend` of a word in a file."""
    return {
        "do": lambda server: server.swap(name, well, ill),
        "mend": lambda server: server.swap(name, ill, well),
    }


FAULTS = (
    Fault("/ storage.readonly", **toggle(MOUNTS, "rw,errors", "ro,errors"), early=5, measure=Measure.DRAIN),
    Fault(f"{STORE} storage.readonly", **toggle(MOUNTS, "rw,attr2", "ro,attr2"), early=5, measure=Measure.DRAIN),
    Fault(f"{COLD} storage.missing", **toggle(MOUNTS, "dsops-cold", "other"), early=30, late=60),
    Fault(f"{STORE} storage.low", set_free(STORE, 49), early=290, late=320, mend=set_free(STORE, 60)),
    Fault(f"{STORE} storage.full", set_free(STORE, 3), late=5, mend=set_free(STORE, 500)),
    Fault("/ storage.inodes_low", set_free("/", 500, 49.9), early=290, late=320, mend=set_free("/", 500)),
    Fault("/ storage.inodes_full", set_free("/", 500, 0.5), late=5, mend=set_free("/", 500)),
    Fault(f"{STORE} storage.stuck", hold_requests(9), mend=hold_requests(0), early=25, late=90, over=120),
    Fault(f"{STORE} storage.slow", grow=use_disk(200, 30000), early=175, late=260, over=700),
    Fault("/ storage.slow", grow=use_disk(200, 120000, name="sda1"), early=175, late=260, over=700),
    Fault(f"{STORE} storage.busy", grow=use_disk(500, 10, busy_ms=4900), early=1795, late=2200, over=1000),
    Fault("cpu host.cpu", **toggle("proc/pressure/cpu", "avg60=20.00", "avg60=80.00"), early=595, late=620),
    Fault("raid storage.raid", **toggle("proc/mdstat", "[2/2] [UU]", "[2/1] [U_]"), early=5),
    Fault("raid storage.raid", **toggle("proc/mdstat", "sdb2[1]", "sdb2[1](F)"), early=5),
    Fault("raid storage.raid", **toggle("proc/mdstat", "md1 : active", "md1 : broken"), early=5),
    Fault("memory host.memory", **toggle("proc/meminfo", "600000", "9000"), early=55, late=80),
    Fault("memory host.stalled", **toggle("proc/pressure/memory", "avg60=0.50", "avg60=70.0"), early=55, late=80),
    Fault("memory host.swap", grow=raise_counter("proc/vmstat", 20000, key="pswpin"), early=300, late=400, over=180),
    Fault("host host.oom", raise_counter("proc/vmstat", 1, key="oom_kill"), late=5, over=3700),
    Fault("mc0 host.edac", raise_counter(f"{EDAC}/ue_count", 1), late=5, over=0),
    Fault("mc0 host.edac_corrected", grow=raise_counter(f"{EDAC}/ce_count", 2), early=100, late=300, over=2500),
    Fault("cpu package 0 host.throttle", grow=raise_counter(HEAT, 10), early=300, late=480, over=1300),
    Fault("processes host.dstate", **toggle("proc/77/task/78/stat", ") R", ") D"), early=55, late=80),
    Fault("kernel host.fds", **toggle("proc/sys/fs/file-nr", "4000", "90000"), early=25, late=50),
    Fault("kernel host.conntrack", **toggle(f"{TRACK}_count", "10", "900"), early=25, late=50),
    Fault("clock host.clock", set_clock(LATE), early=890, late=920, mend=set_clock(WELL)),
    Fault("clock host.clock", set_clock(Clock(True, 0.0, 7300.0)), early=890, late=920, mend=set_clock(WELL)),
    Fault("clock host.clock", set_clock(Clock(True, 5.5)), early=890, late=920, mend=set_clock(WELL)),
    Fault("net eth0 net.link", **toggle(f"{CARD}/operstate", "up", "down"), early=5),
    Fault("net eth0 net.flaps", raise_counter(f"{CARD}/carrier_changes", 4), late=5, over=700),
    Fault("net eth0 net.errors", grow=raise_counter(f"{STATS}/rx_errors", 100), early=290, late=400, over=250),
    Fault("net eth0 net.drops", grow=raise_counter(f"{STATS}/tx_dropped", 9000), early=290, late=400, over=250),
    Fault("ib mlx5_0/1 ib.port", **toggle(f"{PORT}/state", "4: ACTIVE", "1: DOWN"), early=5, over=700),
    Fault("ib mlx5_0/1 ib.errors", raise_counter(f"{PORT}/counters/link_downed", 1), late=5, over=1300),
    Fault("ib mlx5_0/1 ib.errors", raise_counter(f"{PORT}/counters/symbol_error", 30), late=5, over=1300),
    Fault("gpu3 pcie.aer", raise_counter(f"{PCI}/aer_dev_fatal", 1, key="TOTAL"), late=5, over=1300),
    Fault("gpu3 pcie.corrected", grow=raise_counter(COR, 500, key="TOTAL"), early=300, late=500, over=800),
    Fault("triton@a.service unit.restarts", grow=restart, early=20, late=40, over=360),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.found)
def test_a_fault_is_found_in_time_and_not_early_and_it_ends(server: Server, fault: Fault) -> None:
    fault.do(server)
    if fault.early:
        assert fault.found not in server.live(fault.early, fault.grow)
    assert server.live(fault.late - fault.early, fault.grow) == {fault.found}
    [finding] = server.find()
    assert (finding.measure, finding.mend != "", finding.reason != "") == (fault.measure, True, True)
    fault.mend(server)
    if fault.over:
        assert server.live(fault.over, step=15 if fault.over < 600 else 30) == set()
    else:
        assert server.live(3600, step=30) == {fault.found}


LEVELS = [fault for fault in FAULTS if fault.early and fault.grow is leave]


@pytest.mark.parametrize("fault", LEVELS, ids=lambda fault: fault.found)
def test_what_comes_and_goes_with_every_look_is_no_finding(server: Server, fault: Fault) -> None:
    for _ in range(20):
        fault.do(server)
        assert server.live(5) == set()
        fault.mend(server)
        assert server.live(5) == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_cannot_be_read_is_neither_well_nor_worth_more_than_an_alert(server: Server, name: str) -> None:
    """Every file of a server, one after the other: what went by it is not OK any more."""
    healthy = find_ok(server)
    server.break_file(name)
    server.now += 5
    seen = look(CHECKS, server.look())
    assert not [sight for sight in seen.sights if sight.verdict is Verdict.BAD]
    if name not in BESIDE:
        assert healthy - find_ok(server), f"nothing looks at {name}"
    server.live(75, step=15)
    assert_blind_at_most(server)


# What only adds words to another value, tells that a card is there, is somebody else's, or an event, which is never OK.
BESIDE = {
    f"{PORT}/phys_state",
    f"{PORT}/rate",
    f"{CARD}/speed",
    f"{CARD}/device/vendor",
    "sys/class/net/veth0/operstate",
    "sys/fs/pstore/dmesg-old",
    "sys/class/block/nvme0n1/queue/rotational",
    f"{EDAC}/ue_count",
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broken=st.sets(st.sampled_from(sorted(FILES))), gone=st.sets(st.sampled_from(sorted(FILES))), at=st.randoms())
def test_no_mix_of_unreadable_and_missing_files_leads_to_an_act(
    tmp_path_factory: pytest.TempPathFactory, broken: set[str], gone: set[str], at: object
) -> None:
    server = Server(tmp_path_factory.mktemp("server"))
    server.live(30)
    for name in broken:
        server.break_file(name)
    for name in gone - broken:
        (server.root / name).unlink()
    server.live(90, step=15)
    assert_blind_at_most(server)


def assert_blind_at_most(server: Server) -> None:
    for one in server.find():
        assert one.status is Verdict.UNKNOWN or one.code in ("net.link", "ib.port"), one
        assert ORDER.index(one.measure) <= ORDER.index(Measure.ALERT), one


def find_ok(server: Server) -> set[tuple[str, str]]:
    sights = look(CHECKS, server.find_scene()).sights
    return {(one.code, one.entity) for one in sights if one.verdict is Verdict.OK and one.code != "check.broken"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (MOUNTS, "/ storage.readonly"),
        ("proc/mdstat", "raid storage.raid"),
        ("proc/meminfo", "memory host.memory"),
        ("proc/pressure/memory", "memory host.stalled"),
        ("proc/pressure/cpu", "cpu host.cpu"),
        (STATS_OF_DISKS, f"{STORE} storage.stuck"),
        ("proc/vmstat", "memory host.swap"),
        ("proc/vmstat", "host host.oom"),
        (f"{EDAC}/ue_count", "mc0 host.edac"),
        (f"{EDAC}/ce_count", "mc0 host.edac_corrected"),
        (HEAT, "cpu package 0 host.throttle"),
        ("proc/77/task/78/stat", "processes host.dstate"),
        ("proc/sys/fs/file-nr", "kernel host.fds"),
        (f"{TRACK}_max", "kernel host.conntrack"),
        (f"{CARD}/operstate", "net eth0 net.link"),
        (f"{CARD}/carrier_changes", "net eth0 net.flaps"),
        (f"{STATS}/rx_errors", "net eth0 net.errors"),
        (f"{STATS}/tx_dropped", "net eth0 net.drops"),
        (f"{PORT}/state", "ib mlx5_0/1 ib.port"),
        (f"{PORT}/counters/link_downed", "ib mlx5_0/1 ib.errors"),
        (f"{PCI}/aer_dev_nonfatal", "gpu3 pcie.aer"),
        (COR, "gpu3 pcie.corrected"),
    ],
)
def test_what_cannot_be_read_is_told_after_a_minute(server: Server, name: str, found: str) -> None:
    server.break_file(name)
    server.live(70)
    blind = {f"{one.entity} {one.code}": one for one in server.find()}
    assert (blind[found].status, blind[found].condition) == (Verdict.UNKNOWN, Condition.BLIND)
    assert "cannot be read" in blind[found].reason


def test_a_clock_a_disk_and_a_unit_that_do_not_answer_are_told_too(server: Server) -> None:
    def fail() -> Clock:
        raise OSError(5, "Input/output error")

    server.clock, server.statvfs_fails = fail, True
    server.set_unit(active="unknown", reason="systemd did not answer")
    server.live(70)
    found = {f"{one.entity} {one.code}" for one in server.find() if one.status is Verdict.UNKNOWN}
    assert found == {
        "clock host.clock", "/ storage.full", f"{STORE} storage.full", f"{COLD} storage.full",
        "triton@a.service unit.restarts",
    }  # fmt: skip


def test_proc_and_disks_that_hang_are_told_and_what_was_known_of_them_is_no_proof(server: Server) -> None:
    server.hangs = True
    before = server.look().host.machine.sample
    server.live(70)
    assert {one.entity for one in server.find()} == {"/proc and /sys", "file systems"}
    assert all((one.code, one.status) == ("host.blind", Verdict.UNKNOWN) for one in server.find())
    assert server.look().host.machine.sample == before
    server.hangs = False
    server.live(10)
    assert server.find() == ()


GONE = {
    "storage.raid": ["proc/mdstat"],
    "host.memory": ["proc/meminfo"],
    "host.oom": ["proc/vmstat"],
    "host.edac": [f"{EDAC}/ue_count", f"{EDAC}/ce_count"],
    "host.throttle": [HEAT],
    "host.dstate": ["proc/1/stat"],
    "host.fds": ["proc/sys/fs/file-nr"],
    "host.conntrack": [f"{TRACK}_count"],
    "host.clock": ["etc/chrony/chrony.conf"],
}


@pytest.mark.parametrize("name", GONE)
def test_what_is_not_there_is_skipped_with_its_reason(tmp_path: Path, name: str) -> None:
    server = Server(tmp_path)
    for file in GONE[name]:
        (tmp_path / file).unlink()
    if name == "host.edac":
        (tmp_path / EDAC).rmdir()
    server.live(30)
    assert server.checkup.skipped[name]
    assert server.find() == ()
    assert not {code for code, _ in find_ok(server) if code.startswith(name)}


def test_a_server_of_other_hardware_has_nothing_to_look_at_there(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.units.clear()
    server.swap("proc/meminfo", "SwapTotal: 500000", "SwapTotal: 0")
    server.write("proc/mdstat", "Personalities :\nunused devices: <none>\n")
    for name in ("net/eth0", "infiniband", "../bus/pci"):
        shutil.rmtree(tmp_path / "sys/class" / name)
    server.live(30)
    assert server.find() == ()
    skipped = server.checkup.skipped
    assert skipped["ib.port"] == skipped["ib.errors"] == "no InfiniBand or RoCE here"
    assert skipped["net.link"] == skipped["net.errors"] == "no network card of its own"
    assert {"storage.raid", "host.swap", "net.speed", "pcie.aer", "unit.restarts"} <= set(skipped)


def test_before_anything_was_read_nothing_is_judged(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.now = -math.inf
    seen = look(CHECKS, replace(server.find_scene(), host=HostSeen()))
    assert set(seen.skipped) == {check.name for check in CHECKS}


def test_in_a_container_only_what_is_its_own_is_looked_at(tmp_path: Path) -> None:
    """Its kernel is its host's, and the host's trouble is none of each container on it."""
    server = Server(tmp_path)
    server.write("run/systemd/container", "systemd-nspawn\n")
    server.swap("proc/meminfo", "600000", "10")
    server.swap("proc/mdstat", "[UU]", "[U_]")
    server.swap(MOUNTS, "59 27 8:16", "#")
    server.clock = lambda: LATE
    server.boots = tuple(WALL + n for n in range(9))
    server.free["/"] = (40.0, 500.0)
    assert server.live(1000, raise_counter("proc/vmstat", 90000, key="pswpin")) == set()
    apply = {check.name for check in CHECKS} - set(server.checkup.skipped)
    assert apply == {
        "storage.readonly", "storage.space", "host.dstate", "host.conntrack", "net.link", "net.errors",
        "unit.restarts", "host.blind",
    }  # fmt: skip


def test_what_is_roots_alone_is_skipped_since_the_agent_has_no_privileges(server: Server) -> None:
    denied = Unread("/x: Permission denied", is_denied=True)
    scene = server.find_scene()
    machine = replace(scene.host.machine, clock=denied, panics=denied, stuck=denied)
    seen = look(CHECKS, replace(scene, host=replace(scene.host, machine=machine)))
    assert [seen.skipped[name] for name in ("host.clock", "host.panic", "host.dstate")] == [denied.reason] * 3


def test_a_panic_is_told_once_a_boot_and_two_in_a_day_take_the_server_out_of_traffic(server: Server) -> None:
    def crash(record: str, *, after: float) -> None:
        server.now += after
        server.write(f"sys/fs/pstore/{record}", "")
        os.utime(server.root / "sys/fs/pstore" / record, (WALL + server.now,) * 2)
        server.now += 60
        server.boot, server.boots = record, (*server.boots, WALL + server.now)
        server.checkup.take_kept(server.checkup.keep(), boot=server.boot)
        server.start_agent()

    crash("dmesg-1", after=100)
    assert server.live(300, step=15) == {"kernel host.panic"}
    assert [one.measure for one in server.find()] == [Measure.ALERT]
    crash("dmesg-2", after=3600)
    assert server.live(300, step=15) == {"kernel host.panic"}
    assert [one.measure for one in server.find()] == [Measure.DRAIN]
    # The next boot without one: the old records still lie there, and are not news.
    server.now += 100
    server.boot, server.boots = "b9", (*server.boots, WALL + server.now)
    server.checkup.take_kept(server.checkup.keep(), boot="b9")
    server.start_agent()
    assert server.live(300, step=15) == set()


def reboot(server: Server, name: str, *marks: bytes) -> None:
    server.now += 600
    server.boot, server.boots = name, (*server.boots, WALL + server.now)
    server.log_boots(*marks)
    server.checkup.take_kept(server.checkup.keep(), boot=name)
    server.start_agent()


def test_a_boot_without_a_shutdown_before_is_told_and_two_in_a_day_are_an_alert(server: Server) -> None:
    reboot(server, "b2", BOOT, DOWN, BOOT, BOOT)
    assert server.live(60) == {"kernel host.crash"}
    assert [(one.measure, one.condition) for one in server.find()] == [(Measure.NONE, Condition.OK)]
    reboot(server, "b3", BOOT, BOOT)
    assert server.live(60) == {"kernel host.crash"}
    assert [one.measure for one in server.find()] == [Measure.ALERT]
    reboot(server, "b4", BOOT, BOOT, DOWN, BOOT)
    assert server.live(60) == set()


def test_a_panic_says_more_than_that_there_was_no_shutdown(server: Server) -> None:
    server.write("sys/fs/pstore/dmesg-1", "")
    os.utime(server.root / "sys/fs/pstore/dmesg-1", (WALL + server.now,) * 2)
    reboot(server, "b2", BOOT, BOOT)
    assert server.live(60) == {"kernel host.panic"}


def test_what_wtmp_does_not_tell_is_no_crash_and_no_proof(server: Server) -> None:
    path = server.root / "var/log/wtmp"
    for content, why in (
        (b"", "does not tell of this boot"),
        (make_utmp(BOOT, int(WALL - 9000)), "does not tell of this boot"),
        (make_utmp(BOOT, int(WALL)), "does not tell of a boot before this one"),
        (b"rubbish", "does not tell of this boot"),
    ):
        path.write_bytes(content)
        server.start_agent()
        server.live(5)
        assert why in server.checkup.skipped["host.crash"]
    server.break_file("var/log/wtmp")
    server.live(70)
    assert {one.status for one in server.find()} == {Verdict.UNKNOWN}
    assert [one.code for one in server.find()] == ["host.crash"]


def test_a_disk_that_cannot_be_found_is_skipped_and_one_with_few_requests_is_not_slow(server: Server) -> None:
    assert server.live(400, use_disk(4, 60000)) == set()
    server.write(STATS_OF_DISKS, "")
    server.live(5)
    assert "no disk of its own" in server.checkup.skipped["storage.disk"]


def test_an_engine_may_use_up_the_cpu_that_it_computes_on(server: Server) -> None:
    scene = replace(server.find_scene(), expected_gpus=0, slots=(Slot("a", "r1", "active", Phase.SERVING, ""),))
    assert "computes on this CPU" in look(CHECKS, scene).skipped["host.cpu"]
    assert "host.cpu" not in look(CHECKS, replace(scene, expected_gpus=8)).skipped


def test_many_boots_in_a_day_are_told_until_the_day_is_over(server: Server) -> None:
    server.boots = tuple(WALL + 1000 + 60 * n for n in range(6))
    assert server.live(30) == set()
    server.boots = (*server.boots, WALL + 1360)
    assert server.live(30) == {"host host.boots"}
    server.now += 86400
    assert server.live(60) == set()


def test_a_card_or_port_that_never_was_up_is_nobodys_fault_but_one_that_is_gone_is(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.swap(f"{CARD}/operstate", "up", "down")
    server.swap(f"{PORT}/state", "4: ACTIVE", "1: DOWN")
    assert server.live(60) == set()
    server.baseline = {("net eth0", "up"): 1.0, ("ib mlx5_0/1", "up"): 1.0}
    assert server.live(60) == {"net eth0 net.link", "ib mlx5_0/1 ib.port"}
    shutil.rmtree(tmp_path / CARD)
    server.live(60)
    assert "the card is gone" in {one.reason for one in server.find()}


def test_what_is_slower_than_at_its_commissioning_is_told(server: Server) -> None:
    scene = server.find_scene()
    normal = {key: value for check in CHECKS if check.normal for key, value in check.normal(scene).items()}
    assert normal == {
        ("net eth0", "up"): 1.0, ("net eth0", "speed_mbps"): 25000.0,
        ("ib mlx5_0/1", "up"): 1.0, ("ib mlx5_0/1", "rate_gbps"): 400.0,
    }  # fmt: skip
    server.baseline = dict(normal)
    assert server.live(60) == set()
    assert "net.speed" not in server.checkup.skipped
    server.swap(f"{CARD}/speed", "25000", "10000")
    server.swap(f"{PORT}/rate", "400 Gb", "100 Gb")
    assert server.live(60) == {"net eth0 net.speed", "ib mlx5_0/1 ib.rate"}
    # Why it is slow is not asked while it is down.
    server.swap(f"{CARD}/operstate", "up", "down")
    server.swap(f"{PORT}/state", "4: ACTIVE", "1: DOWN")
    assert server.live(60) == {"net eth0 net.link", "ib mlx5_0/1 ib.port"}


def test_the_kernels_own_line_says_more_than_its_counter(server: Server) -> None:
    server.checkup.take_records(
        [Record(1, 3, server.now, "Out of memory: Killed process 7 (tritonserver)")], now=server.now, wall=WALL
    )
    raise_counter("proc/vmstat", 1, key="oom_kill")(server)
    assert server.live(30) == {"host km.oom"}


def test_memory_that_failed_twice_takes_the_server_out_of_traffic(server: Server) -> None:
    grow = raise_counter(f"{EDAC}/ue_count", 1)
    grow(server)
    server.live(60)
    grow(server)
    assert server.live(60) == {"mc0 host.edac"}
    assert [one.measure for one in server.find()] == [Measure.DRAIN]


def test_an_engine_that_runs_for_a_while_since_its_last_death_is_well(server: Server) -> None:
    for _ in range(5):
        restart(server)
        server.live(15)
    assert server.live(15) == {"triton@a.service unit.restarts"}
    assert server.live(360, step=15) == set()


def test_an_agent_that_is_started_again_takes_no_old_count_for_news(server: Server) -> None:
    for name in (f"{EDAC}/ue_count", f"{CARD}/carrier_changes", f"{PORT}/counters/link_downed"):
        raise_counter(name, 50)(server)
    server.start_agent()
    assert server.live(60) == set()


def test_nothing_here_excuses_a_release_but_a_disk_that_takes_no_more() -> None:
    codes = [code for check in CHECKS for code in check.codes]
    excuse = {code for code in codes if RULES.rules[code].find_excuse(RULES.rules[code].measure)}
    assert excuse == {"storage.readonly", "storage.full", "storage.inodes_full"}
    events = {code for code in codes if RULES.rules[code].kind is Kind.EVENT}
    assert events == {"host.oom", "host.edac", "host.panic", "host.crash"}


def test_a_gpu_is_known_by_its_name_and_another_card_by_its_address(server: Server) -> None:
    scene = server.find_scene()
    assert find_card(scene, "0000:3b:00.0") == "gpu3"
    assert find_card(scene, "0000:86:00.0") == "pci 0000:86:00.0"
