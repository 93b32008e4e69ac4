"""What engines do wrong while they run, and what looks like it but is not: under load, one after the other."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from dsops.lab import gpus
from dsops.lab.place import LAB
from dsops.lab.processes import find_leader
from dsops.lab.run import run

from tests.live import faults
from tests.live.load import run_under
from tests.live.moves import Shelf, activate, bring, push, roll_back
from tests.live.site import (
    Service,
    edit_state,
    end_bake,
    forget_restarts,
    get_good,
    is_baked,
    on,
    read_agent,
    wait,
)
from tests.live.test_save_ills import HANG_SECONDS, assert_decided, is_on_good
from tests.live.test_truth_drills import find, mended, strike
from tests.live.watch import Watch, find_lost, tell_case

__all__ = ["mended"]  # a fixture
pytestmark = [pytest.mark.live, pytest.mark.thorough, pytest.mark.timeout(300)]
NODE = "gpu2"
WATCHED = 45.0  # three probes at their usual pace


@pytest.fixture
def calm(fleet: Service, shelf: Shelf) -> str:
    """A release on trial that is well until a test says otherwise."""
    forget_restarts(NODE)
    return bring(shelf["calm"], NODE)


def leave_alone(fleet: Service, name: str, act: Callable[[], object], *, seconds: float = WATCHED) -> Watch:
    """The fault under load; afterwards nobody was restarted, rolled back or taken out of traffic."""
    release, pid = read_agent(NODE)["release"], faults.get_pid(NODE, f"triton@{faults.find_slot(NODE)}")
    with Watch(NODE) as watch:

        def wait_on() -> None:
            watch.begin()
            act()
            time.sleep(seconds)

        _, load = run_under(fleet.async_client(), wait_on, patience=20.0)
    tell_case(name, watch, load, expected="nothing")
    assert set(watch.values("release")) == {release}
    assert "BAD" not in watch.values("verdict"), watch.tell()
    assert not [reason for reason in watch.values("ejected") if reason], watch.tell()
    assert faults.get_pid(NODE, f"triton@{faults.find_slot(NODE)}") == pid
    assert not find_lost(load)
    return watch


@contextmanager
def closed(*ports: int) -> Iterator[None]:
    """Nobody on the node reaches these of its own ports: connections are refused."""
    inside = ["nsenter", "-t", str(find_leader(LAB, NODE)), "-n", "nft"]
    rule = f"tcp dport {{ {', '.join(map(str, ports))} }} reject with tcp reset"
    table = f"table inet drill {{ chain input {{ type filter hook input priority -300; {rule}; }}; }}"
    run([*inside, table])
    try:
        yield
    finally:
        run([*inside, "delete table inet drill"])


# --- the release is to blame ---


@pytest.mark.parametrize(
    ("name", "words", "within"),
    [
        ("answers without text", "empty", 60.0),
        ("wrong answers", "wrong", 60.0),
        ("each request fails", "fail 1", 60.0),
        ("every second request fails", "fail 2", 90.0),
    ],
)
def test_what_the_release_does_wrong_inside_its_bake_window_is_rolled_back(
    fleet: Service, calm: str, name: str, words: str, within: float
) -> None:
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=faults.make_ill(NODE, words))
            watch.wait("release", lambda release: release == get_good(), seconds=within)
            is_on_good(watch)

        _, load = run_under(fleet.async_client(), act)
    tell_case(name, watch, load, expected="release: rollback")
    assert_decided(watch, release=calm, action="rollback", blame="release")


def test_a_release_that_fails_while_it_loads_never_gets_traffic(fleet: Service, shelf: Shelf) -> None:
    release = shelf["broken"]
    push(release, NODE)
    with Watch(NODE) as watch:

        def act() -> str:
            watch.begin()
            done = activate(release, NODE)
            assert done.returncode != 0
            return done.stdout + done.stderr

        said, load = run_under(fleet.async_client(), act)
    tell_case("crash while it loads", watch, load, expected="refused, no traffic")
    assert "Traceback" not in said
    assert set(watch.values("release")) == {get_good()}
    assert not watch.was_refused, watch.tell()
    assert not find_lost(load)


def test_an_engine_that_does_not_end_when_asked_holds_up_no_way_back(fleet: Service, calm: str) -> None:
    faults.make_ill(NODE, "deaf")
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin()
            done = roll_back(NODE, "--reason", "live test")
            assert done.returncode == 0, done.stdout + done.stderr
            watch.wait("release", lambda release: release == get_good(), seconds=5)

        _, load = run_under(fleet.async_client(), act)
    tell_case("SIGTERM ignored, rolled back by hand", watch, load, expected="rollback, none lost")
    assert not find_lost(load)
    assert read_agent(NODE)["release"] == get_good() != calm


# --- something else is, or nobody ---


def test_a_door_that_refuses_connections_takes_the_node_out_of_traffic(fleet: Service) -> None:
    """The engine runs; nobody gets in. The gateway knows at once."""
    forget_restarts(NODE)
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin()
            base = 8100 if faults.find_slot(NODE) == "a" else 8200
            with closed(base, base + 1):
                out = watch.wait("healthz", lambda status: status != 200, seconds=HANG_SECONDS)
                time.sleep(3)
            watch.wait("healthz", lambda status: status == 200, seconds=90, since=out)

        _, load = run_under(fleet.async_client(), act)
    case = tell_case("connections refused, the engine runs", watch, load, expected="leaves, no rollback")
    assert case.ejected is not None
    assert set(watch.values("release")) == {get_good()}


def test_an_engine_that_stands_still_for_three_seconds_in_seven_is_not_rolled_back(fleet: Service) -> None:
    """A flapping node leaves traffic and comes back; it may be restarted, and the release stays."""
    forget_restarts(NODE)
    slot = faults.find_slot(NODE)
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin()
            for _ in range(5):
                on(
                    NODE,
                    f"systemctl kill --signal=STOP triton@{slot}; sleep 3; systemctl kill --signal=CONT triton@{slot}",
                )
                time.sleep(4)
            time.sleep(5)

        _, load = run_under(fleet.async_client(), act, patience=20.0)
    tell_case("flaps every 7 s", watch, load, expected="no rollback")
    assert set(watch.values("release")) == {get_good()}


def test_an_engine_that_goes_on_slowly_is_left_alone(fleet: Service, calm: str) -> None:
    leave_alone(fleet, "thirty times slower", lambda: faults.make_ill(NODE, "slow 30"))


def test_a_hot_gpu_that_makes_a_release_slow_is_no_fault_of_the_release(mended: Service, calm: str) -> None:
    def act() -> None:
        strike("thermal")
        faults.make_ill(NODE, "slow 10")
        wait("it is hot", lambda: find(NODE, "gpu.hot") is not None, seconds=60)

    leave_alone(mended, "thermal slowdown, users wait", act, seconds=20)


def test_a_request_in_twenty_that_fails_is_no_verdict_of_one_node(fleet: Service, calm: str) -> None:
    """Rollouts find it beside another release; a node alone has only a few probes."""
    end_bake(NODE)
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=faults.make_ill(NODE, "fail 20"))
            time.sleep(WATCHED)

        _, load = run_under(fleet.async_client(), act)
    tell_case("one request in twenty fails, after bake", watch, load, expected="no rollback")
    assert set(watch.values("release")) == {calm}


def test_metrics_that_are_dead_are_nobodys_fault(fleet: Service) -> None:
    base = 8100 if faults.find_slot(NODE) == "a" else 8200
    with closed(base + 2):
        watch = leave_alone(fleet, "metrics dead while it serves", lambda: None)
    assert not watch.was_refused, watch.tell()


def test_a_journal_from_the_future_changes_nothing(fleet: Service) -> None:
    """As after a clock that was an hour ahead: containers have none of their own."""
    edit = "replace(state, active=replace(state.active, since=now + 3600))"
    try:
        leave_alone(fleet, "clock back by an hour", lambda: edit_state(NODE, edit))
    finally:
        edit_state(NODE, "replace(state, active=replace(state.active, since=now - 90000))")
        wait("baked", lambda: is_baked(read_agent(NODE)))


def test_an_engine_that_the_kernel_ended_is_started_again_and_its_release_left(mended: Service) -> None:
    """The kernel's line and its signal, as at an end for want of memory; the lab's servers share one kernel."""
    forget_restarts(NODE)
    folder = LAB.home(next(one for one in LAB.servers if one.name == NODE)).gpus
    with Watch(NODE) as watch:

        def act() -> None:
            gpus.log_line(folder, "Out of memory: Killed process 4242 (tritonserver) total-vm:1kB, anon-rss:1kB")
            watch.begin(at=faults.signal_engine(NODE, "KILL"))
            out = watch.wait("healthz", lambda status: status != 200, seconds=10)
            watch.wait("healthz", lambda status: status == 200, seconds=60, since=out)

        _, load = run_under(mended.async_client(), act)
    tell_case("OOM kill of Triton", watch, load, expected="a fresh start", finding=find(NODE, "km.oom"))
    assert set(watch.values("release")) == {get_good()}
    assert find(NODE, "km.oom")


def test_a_read_only_model_disk_takes_the_server_out_of_traffic_and_keeps_its_release(mended: Service) -> None:
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=faults.strike(NODE, "mount -o remount,ro /var/lib/dsops"))
            watch.wait("healthz", lambda status: status != 200, seconds=40)

        try:
            _, load = run_under(mended.async_client(), act)
            finding = find(NODE, "storage.readonly")
        finally:
            on(NODE, "mount -o remount,rw /var/lib/dsops")
    tell_case("read-only model disk", watch, load, expected="storage: drain, leaves", finding=finding)
    assert finding
    assert (finding["measure"], finding["blame"]) == ("drain", "storage")
    assert not find_lost(load)
    assert set(watch.values("release")) == {get_good()}


def test_a_cable_that_comes_and_goes_takes_traffic_elsewhere_and_changes_nothing(mended: Service) -> None:
    """What was under way to that server is lost with the cable; the rest goes to the others."""
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin()
            for _ in range(3):
                strike("nic-down")
                time.sleep(6)
                strike("mend")
                time.sleep(3)
            wait("it is told", lambda: find(NODE, "net.flaps") is not None, seconds=60)

        _, load = run_under(mended.async_client(), act, patience=20.0)
    finding = find(NODE, "net.flaps")
    tell_case("NIC flaps", watch, load, expected="fabric: alert", finding=finding)
    assert finding
    assert (finding["measure"], finding["blame"]) == ("alert", "fabric")
    assert set(watch.values("release")) - {None} == {get_good()}
    assert not read_agent(NODE)["ejected"]
