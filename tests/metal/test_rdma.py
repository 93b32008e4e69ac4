"""Two machines with soft-RoCE on a cable of their own: made by the role, measured, found again after a reboot.

The figures are those of processors that emulate a card: they show that bytes arrive by RDMA, not how fast a card is.
Each is printed beside its measure: latency beside the line of 0.5 ms, bandwidth beside TCP on the same cable.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsops.lab.metal import links
from dsops.lab.place import LAB

from tests.metal.machine import BIN, INVENTORY, ROOT, Machine, dsops, timed
from tests.metal.perftest import LINE_USEC, parse_bandwidth, parse_latency

pytestmark = [pytest.mark.metal, pytest.mark.thorough, pytest.mark.timeout(3600)]
ROLES = ("base", "system", "rdma")
MEGABYTES = 64
# One end of a TCP connection; prints MB/s.
RECEIVE = """
import socket, sys, time
with socket.create_server((sys.argv[1], 5201)) as door:
    line, _ = door.accept()
    start, got = time.monotonic(), 0
    while data := line.recv(1 << 20):
        got += len(data)
    print(got / 1e6 / (time.monotonic() - start))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 5201), timeout=30) as line:
    for _ in range(int(sys.argv[2])):
        line.sendall(bytes(1 << 20))
"""


@dataclass(frozen=True)
class Pair:
    """Both machines, the inventory that asks for soft-RoCE on them, and the interface of each on the rail."""

    one: Machine
    two: Machine
    inventory: Path
    rails: dict[str, str]

    @property
    def machines(self) -> tuple[Machine, Machine]:
        return (self.one, self.two)

    def deploy(self, machine: Machine) -> subprocess.CompletedProcess[str]:
        """The roles that RDMA needs, on one of them."""
        words = [str(self.inventory) if word == str(INVENTORY) else word for word in machine.first_roles(*ROLES)]
        return subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)

    def address(self, machine: Machine) -> str:
        return str(LAB.rail_address(machine.server))


def find_rail(machine: Machine) -> str:
    """Its interface on the cable between the machines, which nothing but its MAC address tells."""
    mac = links.rail_mac(LAB, machine.server)
    return machine.on(f"basename $(dirname $(grep -l '^{mac}$' /sys/class/net/*/address))")


def write_inventory(folder: Path, rails: dict[str, str]) -> Path:
    """inventory/metal.py and its data, with soft-RoCE."""
    addresses = {name: str(LAB.address(Machine(name).server)) for name in rails}
    hosts = [
        (name, {"ssh_hostname": addresses[name], "rdma": "soft", "rdma_soft_interface": rail})
        for name, rail in rails.items()
    ]
    (folder / "group_data").symlink_to(INVENTORY.parent / "group_data")
    path = folder / INVENTORY.name
    path.write_text(f"machines = {hosts!r}\n")
    return path


@pytest.fixture(scope="module")
def pair(metal1: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both, fresh, with soft-RoCE deployed."""
    machines = (metal1, Machine("metal2"))
    try:
        for machine in machines:
            machine.renew()
        rails = {machine.name: find_rail(machine) for machine in machines}
        made = Pair(*machines, write_inventory(tmp_path_factory.mktemp("site"), rails), rails)
        with timed("both: base, system, rdma on a fresh OS"):
            for machine in machines:
                done = made.deploy(machine)
                assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        dsops("lab", "fault", "metal2", "poweroff")


def get_index(machine: Machine) -> str:
    """The index that the compiler chose."""
    return machine.on("sed -n 's/^NCCL_IB_GID_INDEX=//p' /etc/dsops/network.env")


def measure(pair: Pair, program: str, *words: str) -> str:
    """Runs one of perftest's programs from the second machine to the first; what the second said."""
    at, unit = pair.address(pair.one), f"test-{program.replace('_', '-')}"
    options = f"-d rxe0 -F {' '.join(words)}"
    serve = f"systemd-run --quiet --collect --unit={unit} {program} -x {get_index(pair.one)} {options}"
    waits = "for i in $(seq 100); do ss -Hltn 'sport = :18515' | grep -q . && exit 0; sleep 0.1; done; exit 1"
    pair.one.on(f"{serve}; {waits}")
    try:
        return pair.two.on(f"{program} -x {get_index(pair.two)} {options} {at}", timeout=300)
    finally:
        pair.one.on(f"systemctl stop {unit} 2>/dev/null || true")


def measure_tcp(pair: Pair) -> float:
    """MB/s on the same cable, without RDMA."""
    at = pair.address(pair.one)
    unit = "systemd-run --quiet --collect --unit=test-tcp -p StandardOutput=file:/run/test-tcp"
    receive = f"{unit} python3 -c '{RECEIVE}' {at}"
    waits = "for i in $(seq 100); do ss -Hltn 'sport = :5201' | grep -q . && exit 0; sleep 0.1; done; exit 1"
    pair.one.on(f"rm -f /run/test-tcp; {receive}; {waits}")
    pair.two.on(f"python3 -c '{SEND}' {at} {MEGABYTES}", timeout=300)
    return float(
        pair.one.on("for i in $(seq 100); do [ -s /run/test-tcp ] && break; sleep 0.1; done; cat /run/test-tcp")
    )


def test_every_promise_of_the_role_holds_and_a_second_run_changes_nothing(pair: Pair) -> None:
    words = ["roles/rdma", "-o", "python_files=verify.py", "-q", "-p", "no:cacheprovider", "--inventory"]
    done = subprocess.run(
        [str(BIN / "python"), "-m", "pytest", *words, str(pair.inventory)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for machine in pair.machines:
        before = machine.on("stat -c %Y /etc/dsops/network.env; systemctl show -p InactiveExitTimestamp dsops-rxe")
        again = pair.deploy(machine)
        assert again.returncode == 0, again.stdout + again.stderr
        after = machine.on("stat -c %Y /etc/dsops/network.env; systemctl show -p InactiveExitTimestamp dsops-rxe")
        assert after == before


def test_the_plan_from_here_is_what_the_role_wrote(pair: Pair, tmp_path: Path) -> None:
    words = ("network", "plan", "metal1", "metal2", "-i", pair.inventory)
    done = dsops(*words, "--write", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NCCL_IB_HCA==rxe0:1" in done.stdout
    for machine in pair.machines:
        written = [
            line for line in (tmp_path / machine.name / "network.env").read_text().splitlines() if "#" not in line
        ]
        assert machine.on("grep -v '^#' /etc/dsops/network.env").splitlines() == written


def test_one_machine_writes_into_the_others_memory(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    rate = parse_bandwidth(measure(pair, "ib_write_bw", "-n", "500"), where="metal2")
    latency = parse_latency(measure(pair, "ib_write_lat", "-n", "500"), where="metal2")
    tcp = measure_tcp(pair)
    verdict = "below" if latency.is_within else "ABOVE"
    with capsys.disabled():
        print(f"\nsoft-RoCE metal2 -> metal1: {rate:.1f} MB/s (TCP on the same cable: {tcp:.1f} MB/s)")
        print(
            f"latency: typical {latency.typical:.0f} us, mean {latency.average:.0f}, worst {latency.worst:.0f}:", end=""
        )
        print(f" {verdict} the line of {LINE_USEC:.0f} us")
    assert rate > 0.5
    assert 0 < latency.typical < 1e6
    sent = int(pair.two.on("cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"))
    assert sent > 500, "it did not go through the soft device"


def test_a_cable_that_is_out_refuses_the_map_and_keeps_the_older_file(pair: Pair) -> None:
    rail = pair.rails["metal1"]
    before = pair.one.on("sha256sum /etc/dsops/network.env")
    pair.one.on(f"ip link set {rail} down")
    try:
        planned = dsops("network", "plan", "metal1", "-i", pair.inventory)
        assert planned.returncode == 1, planned.stdout + planned.stderr
        assert re.search(r"rxe0:1: is DOWN, not ACTIVE\n +mend: ", planned.stdout), planned.stdout
        done = pair.deploy(pair.one)
        assert done.returncode != 0, done.stdout
        assert "rxe0:1: is DOWN, not ACTIVE" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert pair.one.on("sha256sum /etc/dsops/network.env") == before
    finally:
        pair.one.on(f"ip link set {rail} up")
    until = time.monotonic() + 60
    while dsops("network", "plan", "metal1", "-i", pair.inventory).returncode != 0:
        assert time.monotonic() < until, "the map is still refused"
        time.sleep(1)
    done = pair.deploy(pair.one)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_soft_device_is_there_again_after_a_reboot(pair: Pair) -> None:
    before = pair.one.on("cat /etc/dsops/network.env")
    with timed("rdma: reboot"):
        pair.one.reboot()
    assert "ACTIVE" in pair.one.on("cat /sys/class/infiniband/rxe0/ports/1/state")
    planned = dsops("network", "plan", "metal1", "-i", pair.inventory)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert pair.one.on("cat /etc/dsops/network.env") == before
    assert parse_bandwidth(measure(pair, "ib_write_bw", "-n", "100"), where="metal2") > 0.5
