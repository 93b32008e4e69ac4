"""Faults of GPUs and disks, one after the other under load: what is found, and whether the server leaves traffic."""

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.live.load import run_under
from tests.live.site import GPUS, LAB, WHO, Service, dsops, find_status, node_door, read_agent, wait
from tests.live.watch import Watch, find_lost, tell_case

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
NODE = "gpu2"
# A sweep of the GPUs is due every 5 s; what takes several samples takes several sweeps.
SWEEP = 5.0
WATCHED = 6.0


@dataclass(frozen=True)
class Drill:
    """fault: as `dsops lab fault NODE` takes it. code, measure, blame: of the finding that is expected.

    leaves: whether the server must leave traffic. seconds: within which it must be found.
    """

    name: str
    fault: tuple[str, ...]
    code: str
    measure: str
    blame: str
    leaves: bool = False
    seconds: float = 3.0

    @property
    def expected(self) -> str:
        return f"{self.blame}: {self.measure}{', leaves' if self.leaves else ''}"


DRILLS = (
    # --- the driver's own log: known at once ---
    Drill("Xid 79: off the bus", ("xid", "79"), "xid.79", "reboot", "hardware", leaves=True),
    Drill("Xid 48 with 63: double-bit error", ("xid", "48", "63"), "xid.48", "reset", "hardware", leaves=True),
    Drill("Xid 95: uncontained memory error", ("xid", "95"), "xid.95", "reset", "hardware", leaves=True),
    Drill("Xid 119: the GPU's processor silent", ("xid", "119"), "xid.119", "reset", "hardware", leaves=True),
    Drill("Xid 74: NVLink", ("xid", "74"), "xid.74", "reset", "fabric", leaves=True),
    Drill("Xid 94 once: contained", ("xid", "94"), "xid.94", "restart", "hardware"),
    Drill("Xid 13 once: the engine's own", ("xid", "13"), "xid.13", "alert", "unknown"),
    Drill("Xid 31: memory fault of the engine", ("xid", "31"), "xid.31", "alert", "unknown"),
    Drill("Xid 999: nobody knows it", ("xid", "999"), "xid.other", "alert", "unknown"),
    Drill("Xid 154: the driver asks for a reset", ("recovery",), "xid.154", "reset", "hardware", leaves=True),
    # --- what NVML says ---
    Drill("lost without an Xid", ("gpu-lost",), "gpu.lost", "reboot", "hardware", leaves=True, seconds=3 * SWEEP),
    Drill("calls ask for a reset", ("gpu-reset",), "gpu.reset_required", "reset", "hardware", True, 3 * SWEEP),
    Drill("one GPU fewer", ("gpu-count", "1"), "gpu.count", "reboot", "hardware", leaves=True, seconds=6 * SWEEP),
    Drill("no spare row is left", ("remap-failed",), "xid.64", "replace", "hardware", leaves=True, seconds=3 * SWEEP),
    Drill("a row waits for a reset", ("remap-pending",), "gpu.remap_pending", "alert", "hardware", seconds=4 * SWEEP),
    Drill("the driver hangs", ("driver-hang",), "gpu.hung", "alert", "hardware", seconds=10 + 3 * SWEEP),
    Drill("thermal slowdown, nobody harmed", ("thermal",), "gpu.hot", "alert", "environment", seconds=12 + 3 * SWEEP),
    Drill("not on the fabric", ("fabric-down",), "fabric.state", "alert", "fabric", seconds=60 + 4 * SWEEP),
    # --- the machine ---
    Drill("the disk is full", ("disk-full",), "storage.full", "alert", "storage", seconds=90.0),
)


@pytest.fixture
def mended(fleet: Service) -> Iterator[Service]:
    """Whatever was broken on the node is whole again, and nothing is remembered of it."""
    mend(NODE)  # what an earlier run counted
    yield fleet
    mend(NODE)


def strike(*fault: str, node: str = NODE) -> float:
    """Does a fault of the lab; Unix seconds of the change of its files, of the command's begin where it has none."""
    began = time.time()
    done = dsops("lab", "fault", node, *fault)
    assert done.returncode == 0, done.stderr
    newest = max(path.stat().st_mtime for path in (LAB / "hosts" / node / "gpus").iterdir())
    return newest if newest >= began else began


def mend(*nodes: str) -> None:
    for node in nodes:
        done = dsops("lab", "fault", node, "mend")
        assert done.returncode == 0, done.stderr
    # A reading that was under way still says what was.
    time.sleep(SWEEP + 1)
    for node in nodes:
        done = node_door(node, "clear", *WHO)
        assert done.returncode == 0, done.stderr
        wait(f"{node}: well", lambda node=node: is_well(node), seconds=90)


def is_well(node: str) -> bool:
    """In traffic, and nothing asks for more than an alert: restarts of an earlier test are told for minutes."""
    status = find_status(node)
    if status is None or status["ejected"] is not None:
        return False
    return all(finding["measure"] in ("none", "alert") for finding in status["findings"])


def find(node: str, code: str) -> dict[str, Any] | None:
    """The finding of that code; None when there is none."""
    findings = (find_status(node) or {"findings": ()})["findings"]
    return next((one for one in findings if one["code"] == code), None)


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
@pytest.mark.thorough
def test_it_is_found_for_what_it_is_and_takes_traffic_only_where_it_must(mended: Service, drill: Drill) -> None:
    found: list[dict[str, Any]] = []
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=strike(*drill.fault))
            wait(f"{drill.code} is found", lambda: find(NODE, drill.code) is not None, seconds=drill.seconds + 20)
            found.append(find(NODE, drill.code) or {})
            if drill.leaves:
                watch.wait("healthz", lambda status: status != 200, seconds=10)
            else:
                time.sleep(WATCHED)

        _, load = run_under(mended.async_client(), act, patience=5.0)
        [finding] = found
        tell_case(drill.name, watch, load, expected=drill.expected, finding=finding)
    assert (finding["measure"], finding["blame"]) == (drill.measure, drill.blame), finding
    assert finding["mend"]
    assert set(watch.values("release")) == {read_agent(NODE)["release"]}, "a release was changed for it"
    if not drill.leaves:
        assert not watch.was_refused, watch.tell()
    assert not find_lost(load)


def test_a_gpu_that_left_the_bus_takes_its_server_out_of_traffic_at_once(mended: Service) -> None:
    """One of them in every run: the path from the kernel's log to the gateway."""
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=strike("xid", "79"))
            watch.wait("healthz", lambda status: status != 200, seconds=10)

        _, load = run_under(mended.async_client(), act, patience=5.0)
        finding = find(NODE, "xid.79")
        tell_case("Xid 79, in every run", watch, load, expected="hardware: reboot, leaves", finding=finding)
    assert not find_lost(load)
    assert finding
    assert (finding["entity"], finding["measure"]) == ("gpu0", "reboot")
    said = dsops("why", NODE)
    assert "Xid 79" in said.stdout, said.stdout


@pytest.mark.thorough
def test_contained_memory_errors_twice_ask_for_a_reset(mended: Service) -> None:
    with Watch(NODE) as watch:

        def act() -> None:
            strike("xid", "94")
            wait("the first", lambda: (find(NODE, "xid.94") or {}).get("measure") == "restart", seconds=10)
            time.sleep(6)  # drivers repeat themselves: within 5 s they are one
            assert read_agent(NODE)["ejected"] is None
            watch.begin(at=strike("xid", "94"))
            wait("the second", lambda: (find(NODE, "xid.94") or {}).get("measure") == "reset", seconds=10)
            watch.wait("healthz", lambda status: status != 200, seconds=10)

        _, load = run_under(mended.async_client(), act, patience=5.0)
        finding = find(NODE, "xid.94")
        tell_case("Xid 94 twice", watch, load, expected="hardware: reset, leaves", finding=finding)
    assert not find_lost(load)


@pytest.mark.thorough
def test_the_same_fault_on_all_nodes_leaves_the_service_alive(fleet: Service) -> None:
    """A driver's fault on all of them: some leave, never all; nobody changes a release for it."""
    releases = {node: read_agent(node)["release"] for node in GPUS}
    watch = Watch(GPUS[0])

    def act() -> None:
        watch.begin(at=strike("xid", "119", node=GPUS[0]))
        for node in GPUS[1:]:
            strike("xid", "119", node=node)
        wait("a breaker says that it stays", lambda: any(find(node, "node.breaker") for node in GPUS), seconds=60)
        time.sleep(2 * WATCHED)

    try:
        with watch:
            _, load = run_under(fleet.async_client(), act, patience=5.0)
        finding = find(GPUS[0], "xid.119")
        tell_case("Xid 119 on all three nodes", watch, load, expected="hardware: some stay", finding=finding)
        out = [node for node in GPUS if read_agent(node)["ejected"] is not None]
        print(f"{len(load.asked)} requests, {len(find_lost(load))} lost; out of traffic: {', '.join(out) or 'none'}")
        assert len(out) < len(GPUS)
        assert {node: read_agent(node)["release"] for node in GPUS} == releases
        assert not find_lost(load)
    finally:
        mend(*GPUS)


@pytest.mark.thorough
def test_how_long_it_takes_from_the_drivers_line_to_no_more_traffic(mended: Service) -> None:
    """Ten times; printed, not judged: this machine is shared."""
    seconds = []
    for _ in range(10):
        with Watch(NODE) as watch:
            watch.begin(at=strike("xid", "79"))
            watch.wait("healthz", lambda status: status != 200, seconds=10)
        wait("it is found", lambda: find(NODE, "xid.79") is not None, seconds=10)
        why = read_agent(NODE, "/v1/why")
        out = [one["at"] for one in why["moments"] if one["kind"] == "ejected"]
        finding = find(NODE, "xid.79")
        assert finding
        seconds.append(out[-1] - finding["since"])
        mend(NODE)
    print(json.dumps({"seconds from the line to the gateway": [round(one, 3) for one in seconds]}))
    print(f"median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")
