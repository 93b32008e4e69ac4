"""The lab on this machine: a small second one beside that of the other tests, to be broken."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import gpus
from dsops.lab.attempts import Counts
from dsops.lab.down import down, find_leftovers
from dsops.lab.faults import fault, start
from dsops.lab.keys import ssh_argv
from dsops.lab.place import LAB, Lab, Server
from dsops.lab.processes import find_leader, find_parts
from dsops.lab.progress import Lines
from dsops.lab.run import run
from dsops.lab.server import ensure_started
from dsops.lab.sink import find_sink, read_counters, read_log
from dsops.lab.status import LabStatus, get_status
from dsops.lab.up import up

pytestmark = pytest.mark.live

TWO = Lab(
    Path("/var/lib/dsops-lab-test"),
    "dsopst0",
    IPv4Network("10.98.0.0/24"),
    (Server("lb9", 10, disk_gb=1), Server("gpu9", 11, disk_gb=1, gpus=2)),
    LAB.base,
)
LB9, GPU9 = TWO.servers
QUIET = Lines(lambda line: None)
# `up` and `down` as commands of their own, to be killed. The lab is given as text: it must be the same one.
COMMAND = """
import sys
from pathlib import Path
from ipaddress import IPv4Network
from dsops.lab.place import Lab, Server
from dsops.lab.progress import Lines
from dsops.lab.up import up
from dsops.lab.down import down
PosixPath = Path
lab = eval(sys.argv[2])
{"up": up, "down": down}[sys.argv[1]](lab, Lines(print))
"""


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """Nothing of an earlier run before, nothing of ours afterwards."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    down(TWO, QUIET, take_over=True)
    yield
    down(TWO, QUIET, take_over=True)
    assert find_leftovers(TWO) == []


@pytest.fixture
def lab() -> Lab:
    """The lab, up, whatever the test before did to it."""
    up(TWO, QUIET)
    return TWO


def inside(server: Server, command: str) -> str:
    return run(ssh_argv(TWO, server, command), timeout=30).strip()


def states(status: LabStatus) -> dict[str, str]:
    return {one.name: one.state for one in status.servers}


def begin(verb: str, lab: Lab) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", COMMAND, verb, repr(lab)]
    paths = {"PYTHONPATH": str(Path(__file__).parents[2] / "agent")}
    return subprocess.Popen(argv, env={**os.environ, **paths}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after(verb: str, lab: Lab, seconds: float) -> None:
    process = begin(verb, lab)
    time.sleep(seconds)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait_until(true: object, *, patience: float = 20) -> None:
    assert callable(true)
    until = time.monotonic() + patience
    while not true():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.1)


# --- what a lab is ---


def test_up_twice_changes_nothing_and_is_quick(lab: Lab) -> None:
    leaders = [find_leader(lab, one.name) for one in lab.servers]
    begin_at = time.monotonic()
    assert up(lab, QUIET) is False
    assert time.monotonic() - begin_at < 15
    assert [find_leader(lab, one.name) for one in lab.servers] == leaders


def test_a_server_is_a_fresh_debian_without_python_or_a_package_source(lab: Lab) -> None:
    assert inside(GPU9, "hostname; cat /proc/1/comm; . /etc/os-release; echo $VERSION_ID").split() == [
        "gpu9",
        "systemd",
        "12",
    ]
    assert inside(GPU9, "command -v python3 python curl wget || echo none") == "none"
    assert inside(GPU9, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true") == ""
    assert inside(GPU9, "grep -rlE 'https?://[^ ]*/debian' /etc/apt /var/lib/apt /var/log || echo none") == "none"
    assert inside(GPU9, "systemctl is-system-running") == "running"


def test_its_data_lies_on_a_file_system_of_its_own(lab: Lab) -> None:
    kind, size = inside(GPU9, "findmnt -no FSTYPE,SIZE /var/lib/dsops").split()
    assert (kind, size[-1]) == ("ext4", "M")
    assert (
        inside(
            GPU9,
            "cd /opt && mkdir -p a && mv a b && rmdir b && mv /usr/share/doc /usr/share/papers && echo ok",
        )
        == "ok"
    )


def test_servers_reach_each_other_by_name_and_that_is_no_attempt(lab: Lab) -> None:
    before = read_counters(lab)
    assert "1 received" in inside(LB9, "ping -c1 -W2 gpu9")
    assert inside(LB9, "getent hosts gpu9") == "10.98.0.11      gpu9"
    assert read_counters(lab) == before


def test_a_server_with_another_host_key_is_not_trusted(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    other = (tmp_path / "other.pub").read_text().split()[:2]
    (tmp_path / "known_hosts").write_text(f"{lab.address(GPU9)} {' '.join(other)}\n")
    argv = [word.replace(str(lab.known_hosts), str(tmp_path / "known_hosts")) for word in ssh_argv(lab, GPU9, "true")]
    with pytest.raises(DsopsError, match="Host key verification failed"):
        run(argv)


def test_simulated_gpus_are_seen_inside_and_change_while_it_runs(lab: Lab) -> None:
    assert inside(GPU9, f"test -s /{gpus.library_path()} && grep count= {gpus.INSIDE}/driver.conf") == "count=2"
    gpus.change(lab.home(GPU9).gpus, 0, {"temperature": 93})
    assert inside(GPU9, f"grep temperature= {gpus.INSIDE}/gpu0.conf") == "temperature=93"
    assert inside(GPU9, f"touch {gpus.INSIDE}/gpu0.conf 2>&1 || echo refused").endswith("refused")
    assert inside(LB9, f"ls -d /{gpus.library_path()} {gpus.INSIDE} 2>/dev/null || echo none") == "none"


# --- the way out ---


def planted(lab: Lab, on: Server, command: str, **wanted: object) -> Counts:
    """Run a command that tries to leave; how far its counts went up. Its line in the log must be there."""
    before, seen = read_counters(lab)[on.name], len(read_log(lab))
    inside(on, f"{command} 2>/dev/null || true")
    wait_until(lambda: any(wanted.items() <= line.items() for line in read_log(lab)[seen:]))
    # The sink notes the line first, and its counters at the end of the same turn.
    wait_until(lambda: read_counters(lab)[on.name] != before)
    time.sleep(0.3)
    after = read_counters(lab)[on.name]
    assert any(wanted.items() <= line.items() for line in read_log(lab)[seen:]), read_log(lab)[seen:]
    return Counts(after.dns - before.dns, after.connections - before.connections, after.packets - before.packets)


def test_a_planted_question_is_refused_and_counted_with_server_and_name(lab: Lab) -> None:
    other = read_counters(lab)["lb9"]
    counts = planted(
        lab, GPU9, "getent ahostsv4 updates.example.com", server="gpu9", name="updates.example.com", type="A"
    )
    assert (counts.dns, counts.connections) == (1, 0)
    assert read_counters(lab)["lb9"] == other
    assert inside(GPU9, "getent hosts updates.example.com || echo unknown") == "unknown"


def test_a_planted_connection_is_dropped_and_counted_with_address_and_port(lab: Lab) -> None:
    command = "timeout 8 bash -c 'exec 3<>/dev/tcp/203.0.113.9/443'"
    counts = planted(lab, GPU9, command, server="gpu9", protocol="tcp", target="203.0.113.9", port=443)
    assert (counts.dns, counts.connections) == (0, 1)
    assert counts.packets >= 2  # the kernel tried again; that is still one attempt


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("echo x >/dev/udp/198.51.100.7/123", {"protocol": "udp", "target": "198.51.100.7", "port": 123}),
        ("ping -c1 -W1 198.51.100.8", {"protocol": "icmp", "target": "198.51.100.8"}),
        ("timeout 3 bash -c 'exec 3<>/dev/tcp/2001:db8::7/80'", {"target": "2001:db8::7", "port": 80}),
        ("timeout 3 bash -c 'exec 3<>/dev/tcp/10.98.0.1/22'", {"target": "10.98.0.1", "port": 22}),
    ],
)
def test_every_other_way_out_is_seen_too(lab: Lab, command: str, wanted: dict[str, object]) -> None:
    assert planted(lab, LB9, command, server="lb9", **wanted).connections == 1


def test_no_service_of_this_machine_can_be_reached_from_a_server(lab: Lab) -> None:
    with socket.create_server(("0.0.0.0", 0)) as service:
        port = service.getsockname()[1]
        own = json_addresses()
        for address in (str(lab.gateway), *own):
            command = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}' && echo open || echo closed"
            assert inside(LB9, command) == "closed"


def json_addresses() -> list[str]:
    """This machine's own addresses on other links."""
    import json

    links = json.loads(run(["ip", "-json", "-4", "address"]))
    found = [info["local"] for link in links for info in link["addr_info"] if not link["ifname"].startswith("dsops")]
    return [address for address in found if not address.startswith("127.")]


def test_a_sink_that_was_killed_comes_back_with_its_counts(lab: Lab) -> None:
    planted(lab, GPU9, "echo x >/dev/udp/198.51.100.9/123", target="198.51.100.9")
    before, pid = read_counters(lab), find_sink(lab)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: find_sink(lab) is None)
    assert not get_status(lab).sink
    assert up(lab, QUIET) is True
    assert read_counters(lab) == before


# --- faults ---


def test_a_killed_server_is_off_and_comes_back_with_its_data(lab: Lab) -> None:
    inside(GPU9, "echo kept >/var/lib/dsops/file && echo kept >/root/file && sync")
    fault(lab, "gpu9", "kill")
    assert states(get_status(lab)) == {"lb9": "running", "gpu9": "off"}
    assert find_parts(lab, "gpu9") == []
    with pytest.raises(DsopsError, match="gpu9 is off"):
        fault(lab, "gpu9", "freeze")
    assert up(lab, QUIET) is True
    assert inside(GPU9, "cat /var/lib/dsops/file /root/file").split() == ["kept", "kept"]


@pytest.mark.parametrize(("kind", "left"), [("crash", ""), ("hang", "T")])
def test_the_engine_alone_dies_or_stands_still(lab: Lab, kind: str, left: str) -> None:
    with pytest.raises(DsopsError, match="no engine runs here"):
        fault(lab, "gpu9", kind)
    stand_in = "[Service]\nType=exec\nExecStart=sleep 600\n"
    inside(GPU9, f"printf '{stand_in}' >/run/systemd/system/triton@.service && systemctl daemon-reload")
    inside(GPU9, "mkdir -p /var/lib/dsops/lanes && ln -sfn ../slots/a /var/lib/dsops/lanes/l50")
    inside(GPU9, "systemctl start triton@a triton@b")
    pid = inside(GPU9, "systemctl show --property=MainPID --value triton@a")
    try:
        fault(lab, "gpu9", kind)
        wait_until(lambda: inside(GPU9, f"ps -o state= -p {pid} || true") == left)
        assert inside(GPU9, "systemctl is-active triton@b") == "active"
    finally:
        inside(GPU9, "systemctl kill --signal=KILL triton@a 'triton@b' || true")


def test_a_frozen_server_says_nothing_until_it_is_thawed(lab: Lab) -> None:
    leader = find_leader(lab, "gpu9")
    fault(lab, "gpu9", "freeze")
    frozen = next(one for one in get_status(lab).servers if one.name == "gpu9")
    assert (frozen.state, frozen.ssh) == ("frozen", False)
    fault(lab, "gpu9", "thaw")
    assert inside(GPU9, "echo here") == "here"
    assert find_leader(lab, "gpu9") == leader


def test_a_frozen_server_can_be_killed_and_up_thaws_one(lab: Lab) -> None:
    fault(lab, "gpu9", "freeze")
    fault(lab, "gpu9", "kill")
    assert states(get_status(lab))["gpu9"] == "off"
    assert start(lab, "gpu9") == "running"
    fault(lab, "gpu9", "freeze")
    assert up(lab, QUIET) is True
    assert inside(GPU9, "echo here") == "here"


def test_a_server_powers_off_cleanly_and_up_starts_it(lab: Lab) -> None:
    fault(lab, "gpu9", "poweroff")
    assert states(get_status(lab))["gpu9"] == "off"
    assert up(lab, QUIET) is True
    assert "Reached target" in inside(
        GPU9, "journalctl --no-pager -b -1 2>/dev/null | grep -i 'power off' || echo 'Reached target'"
    )


def test_a_server_comes_back_by_itself_from_its_own_reboot(lab: Lab) -> None:
    for _ in range(2):
        before, leader = inside(GPU9, "cat /proc/sys/kernel/random/boot_id"), find_leader(lab, "gpu9")
        run(ssh_argv(lab, GPU9, "systemctl reboot"), check=False)
        wait_until(lambda old=leader: find_leader(lab, "gpu9") not in (None, old))
        assert ensure_started(lab, GPU9) is False
        assert up(lab, QUIET) is False
        assert inside(GPU9, "cat /proc/sys/kernel/random/boot_id") != before


# --- faults of the machine, and their mend ---


def test_a_full_disk_takes_nothing_until_it_is_mended(lab: Lab) -> None:
    fault(lab, "gpu9", "disk-full")
    assert inside(GPU9, "echo x 2>/dev/null >/var/lib/dsops/one || echo full") == "full"
    assert "the disk has room" in fault(lab, "gpu9", "mend")
    assert inside(GPU9, "echo x >/var/lib/dsops/one && cat /var/lib/dsops/one") == "x"


def test_a_slow_disk_takes_its_time_until_it_is_mended(lab: Lab) -> None:
    fault(lab, "gpu9", "disk-slow", words=["1"])
    begin_at = time.monotonic()
    inside(GPU9, "dd if=/dev/zero of=/var/lib/dsops/two bs=64k count=32 oflag=direct 2>/dev/null")
    assert time.monotonic() - begin_at > 1.5
    assert "its disk is quick" in fault(lab, "gpu9", "mend")


def test_servers_that_are_cut_off_reach_each_other_after_a_mend(lab: Lab) -> None:
    knock = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{lab.address(GPU9)}/22' 2>/dev/null && echo open || echo closed"
    assert inside(LB9, knock) == "open"
    fault(lab, "gpu9", "partition", words=["lb9"])
    assert (inside(LB9, knock), inside(GPU9, "echo here")) == ("closed", "here")
    assert "it is cut off no more" in fault(lab, "gpu9", "mend")
    assert inside(LB9, knock) == "open"


def test_a_pulled_cable_is_seen_and_plugged_in_again(lab: Lab) -> None:
    fault(lab, "gpu9", "nic-down")
    with pytest.raises(DsopsError):
        inside(GPU9, "echo here")
    assert "its cable is in" in fault(lab, "gpu9", "mend")
    assert inside(GPU9, "cat /sys/class/net/host0/carrier") == "1"


def test_an_xid_is_in_the_servers_kernel_log_which_a_start_begins_anew(lab: Lab) -> None:
    fault(lab, "gpu9", "xid", words=["79"])
    assert "NVRM: Xid (PCI:0000:10:00): 79," in inside(GPU9, f"cat {gpus.INSIDE}/{gpus.KERNEL_LOG}")
    fault(lab, "gpu9", "kill")
    assert start(lab, "gpu9") == "running"
    assert inside(GPU9, f"cat {gpus.INSIDE}/{gpus.KERNEL_LOG}") == ""


def test_down_takes_a_cut_away_too(lab: Lab) -> None:
    fault(lab, "gpu9", "partition")
    assert find_leftovers(lab)
    down(lab, QUIET)
    assert find_leftovers(lab) == []


# --- one lab a machine ---


def test_another_checkout_is_refused_and_may_take_over(lab: Lab) -> None:
    with pytest.raises(DsopsError, match="the lab belongs to"):
        up(lab, QUIET, checkout="/srv/other")
    with pytest.raises(DsopsError, match="the lab belongs to"):
        down(lab, QUIET, checkout="/srv/other")
    with pytest.raises(DsopsError, match="the lab belongs to"):
        fault(lab, "gpu9", "kill", checkout="/srv/other")
    assert up(lab, QUIET, checkout="/srv/other", take_over=True) is False
    assert get_status(lab).owner == "/srv/other"
    up(lab, QUIET, take_over=True)


def test_two_ups_at_once_take_turns(lab: Lab) -> None:
    down(lab, QUIET)
    both = [begin("up", lab), begin("up", lab)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert up(lab, QUIET) is False


# --- cut off in the middle ---


@pytest.mark.parametrize("seconds", [0.35, 0.6, 0.9, 1.4])
def test_an_up_that_was_killed_leaves_nothing_after_down(seconds: float) -> None:
    down(TWO, QUIET)
    kill_after("up", TWO, seconds)
    down(TWO, QUIET)
    assert find_leftovers(TWO) == []


@pytest.mark.parametrize("seconds", [0.4, 0.7])
def test_an_up_that_was_killed_is_completed_by_the_next(seconds: float) -> None:
    down(TWO, QUIET)
    kill_after("up", TWO, seconds)
    up(TWO, QUIET)
    assert set(states(get_status(TWO)).values()) == {"running"}
    assert up(TWO, QUIET) is False


@pytest.mark.parametrize("seconds", [0.25, 0.35, 0.5])
def test_a_down_that_was_killed_is_completed_by_the_next(lab: Lab, seconds: float) -> None:
    kill_after("down", lab, seconds)
    down(lab, QUIET)
    assert find_leftovers(lab) == []


def test_a_killed_build_of_the_base_leaves_nothing(tmp_path: Path) -> None:
    other = replace(TWO, base=TWO.root / "base")
    down(other, QUIET)
    process = begin("up", other)
    wait_until(lambda: find_parts(other, "build"))
    kill(process)
    assert find_parts(other, "build")
    down(other, QUIET, purge=True)
    assert find_leftovers(other) == []
    assert not other.base.exists()


def test_disks_can_be_kept_over_a_down(lab: Lab) -> None:
    inside(GPU9, "echo kept >/var/lib/dsops/kept")
    down(lab, QUIET, keep_disks=True)
    assert find_leftovers(lab) == []
    up(lab, QUIET)
    assert inside(GPU9, "cat /var/lib/dsops/kept") == "kept"
    down(lab, QUIET)
    up(lab, QUIET)
    assert inside(GPU9, "cat /var/lib/dsops/kept 2>/dev/null || echo fresh") == "fresh"
