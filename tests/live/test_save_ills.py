"""One fault after the other under load: how soon traffic is away, what dsops does, and what it leaves alone."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tests.live import faults
from tests.live.load import Load, run_beside, run_under
from tests.live.moves import Shelf, activate, bring, push
from tests.live.site import GPUS, Service, end_bake, forget_restarts, get_good, on, read_agent
from tests.live.watch import Case, Watch, find_lost, find_why, tell_case

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
NODE = "gpu2"
CRASH_SECONDS, HANG_SECONDS, IDLE_SECONDS = 2.0, 10.0, 60.0
PARTS = ("triton@{}", "dsops-gateway")


def suffer(
    fleet: Service,
    name: str,
    fault: faults.Fault,
    until: Callable[[Watch], object],
    *,
    expected: str,
    patience: float = 0.5,
) -> tuple[Watch, Load, Case]:
    """The fault under load, until what is wanted is seen; its line in the table.

    patience: seconds that the last requests may take; long where no engine hangs.
    """
    with Watch(NODE) as watch:

        def act() -> None:
            watch.begin(at=fault())
            until(watch)

        _, load = run_under(fleet.async_client(), act, patience=patience)
    return watch, load, tell_case(name, watch, load, expected=expected)


def is_back(watch: Watch) -> None:
    """The node went out of traffic and came back."""
    out = watch.wait("healthz", lambda status: status != 200, seconds=20)
    watch.wait("healthz", lambda status: status == 200, seconds=60, since=out)


def is_on_good(watch: Watch, *, since: float = 0.0, seconds: float = 60) -> None:
    """The node serves the good release again."""
    at = watch.wait("release", lambda release: release == get_good(), seconds=seconds, since=since)
    watch.wait("healthz", lambda status: status == 200, seconds=30, since=at)
    watch.wait("ejected", lambda reason: reason is None, seconds=30, since=at)


def assert_decided(watch: Watch, *, release: str, action: str, blame: str) -> None:
    """action: how the story's last action begins, such as `rollback` or `restart of the gateway`."""
    why = find_why(watch.node)
    last = why["action"].split(", then ")[-1]
    assert (why["release"], last, why["blame"]) == (release, action, blame), watch.tell()


@pytest.fixture
def calm(fleet: Service, shelf: Shelf) -> str:
    """A release on trial that is well until a test says otherwise."""
    return bring(shelf["calm"], NODE)


# --- crashes ---


def test_one_kill_is_mended_by_a_fresh_start_inside_and_after_the_bake_window(fleet: Service, calm: str) -> None:
    for name in ("SIGKILL inside bake", "SIGKILL after bake"):
        watch, _, case = suffer(fleet, name, faults.killed(NODE), is_back, expected="a fresh start")
        assert case.ejected is not None
        assert case.ejected <= CRASH_SECONDS
        assert set(watch.values("release")) == {calm}
        assert not read_agent(NODE)["bad"]
        end_bake(NODE)


def test_a_release_that_dies_again_and_again_is_rolled_back(fleet: Service, shelf: Shelf) -> None:
    release = bring(shelf["dies"], NODE)
    with Watch(NODE) as watch:
        watch.wait("release", lambda now: now == release, seconds=5)
        _, load = run_under(fleet.async_client(), lambda: is_on_good(watch, seconds=150))
    watch.begin(at=find_why(NODE)["began"])
    case = tell_case("crash loop inside bake: its third death", watch, load, expected="release: rollback")
    assert_decided(watch, release=release, action="rollback", blame="release")
    assert case.ejected is not None
    assert case.ejected <= CRASH_SECONDS


def test_a_release_that_loads_too_slowly_never_gets_traffic(fleet: Service, shelf: Shelf) -> None:
    release = shelf["late"].name
    push(shelf["late"], NODE)
    refused = []

    def fault() -> float:
        since = time.time()
        refused.append(activate(release, NODE))
        return since

    name, expected = "slow load past its deadline", "refused, no traffic"
    watch, load, _ = suffer(fleet, name, fault, lambda _: None, expected=expected, patience=30)
    said = refused[0].stdout + refused[0].stderr
    assert refused[0].returncode != 0, said
    assert "ready" in said, said
    assert set(watch.values("release")) == {get_good()}
    assert not watch.was_refused, watch.tell()
    assert not find_lost(load)


# --- hangs ---


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("engine wedged, HTTP still 200", lambda node: faults.ill(node, "wedge")),
        pytest.param("SIGSTOP inside bake", faults.stopped, marks=pytest.mark.thorough),
        pytest.param("first token, then stall", lambda node: faults.ill(node, "stall"), marks=pytest.mark.thorough),
    ],
)
def test_a_hang_inside_the_bake_window_is_rolled_back(
    fleet: Service, calm: str, name: str, make: Callable[[str], faults.Fault]
) -> None:
    watch, _, case = suffer(fleet, name, make(NODE), is_on_good, expected="release: rollback")
    assert_decided(watch, release=calm, action="rollback", blame="release")
    assert case.ejected is not None
    assert case.ejected <= HANG_SECONDS


@pytest.mark.thorough
def test_an_idle_hang_after_the_bake_window_is_mended_by_a_restart(fleet: Service, calm: str) -> None:
    forget_restarts(NODE)
    end_bake(NODE)
    with Watch(NODE) as watch:
        watch.begin(at=faults.make_ill(NODE, "wedge once"))
        out = watch.wait("ejected", lambda reason: reason is not None, seconds=IDLE_SECONDS)
        watch.wait("ejected", lambda reason: reason is None, seconds=120, since=out)
    tell_case("idle engine wedged after bake", watch, None, expected="restart")
    assert_decided(watch, release=calm, action="restart of the slot", blame="unknown")
    assert set(watch.values("release")) == {calm}


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_a_hang_after_the_bake_window_that_a_restart_does_not_mend_is_rolled_back(fleet: Service, calm: str) -> None:
    forget_restarts(NODE)
    end_bake(NODE)
    watch, _, _ = suffer(
        fleet,
        "wedged after bake, a restart does not help",
        faults.ill(NODE, "wedge"),
        is_on_good,
        expected="release: rollback",
    )
    assert_decided(watch, release=calm, action="rollback", blame="release")


# --- not the release ---


def test_a_wedged_gateway_is_restarted_and_the_release_is_left_alone(fleet: Service) -> None:
    forget_restarts(NODE)
    before = faults.get_pid(NODE, f"triton@{faults.find_slot(NODE)}")
    watch, _, case = suffer(
        fleet, "gateway wedged, Triton well", faults.gateway_stopped(NODE), is_back, expected="dsops: its restart"
    )
    assert_decided(watch, release=get_good(), action="restart of the gateway", blame="dsops")
    assert set(watch.values("release")) == {get_good()}
    assert faults.get_pid(NODE, f"triton@{faults.find_slot(NODE)}") == before
    assert case.decision


def test_what_befalls_all_nodes_at_once_is_no_releases_fault(fleet: Service, shelf: Shelf) -> None:
    forget_restarts(*GPUS)
    release = bring(shelf["calm"], *GPUS)
    for node in GPUS:
        end_bake(node)
    watches = [Watch(node) for node in GPUS]

    def act() -> None:
        for watch in watches:
            watch.begin(at=faults.make_ill(watch.node, "wedge"))
        time.sleep(22)

    for watch in watches:
        watch.__enter__()
    try:
        _, load = run_under(fleet.async_client(), act)
    finally:
        for watch in watches:
            watch.__exit__()
    for watch in watches:
        tell_case(f"wedged everywhere at once: {watch.node}", watch, load, expected="environment, at most one")
    left = [node for node in GPUS if read_agent(node)["release"] != release]
    assert len(left) <= 1, f"{left} rolled back by themselves"
    blames = {node: find_why(node)["blame"] for node in GPUS}
    assert list(blames.values()).count("environment") >= 2, blames


# --- busy is not sick ---


@pytest.fixture
def untouched(fleet: Service) -> Iterator[None]:
    """Whatever a test does: no restart, no rollback, no verdict BAD, on any node."""
    before = {node: find_pids(node) for node in GPUS}
    watches = [Watch(node) for node in GPUS]
    for watch in watches:
        watch.__enter__()
        watch.begin(at=time.time())
    yield
    for watch in watches:
        watch.__exit__()
        tell_case(f"busy: {watch.node}", watch, None, expected="nothing")
        assert "BAD" not in watch.values("verdict"), watch.tell()
        assert not [reason for reason in watch.values("ejected") if reason], watch.tell()
    assert {node: find_pids(node) for node in GPUS} == before


def find_pids(node: str) -> list[int]:
    """Of the parts that dsops might restart."""
    return [faults.get_pid(node, part.format(faults.find_slot(node))) for part in PARTS]


def saturate(fleet: Service, *, seconds: float, act: Callable[[], None] = lambda: None) -> Load:
    """More clients than the three nodes' places: requests wait in every engine's queue."""
    load = Load(fleet.async_client(limit=400), parallel=224, total=None, patience=60)

    def wait() -> None:
        act()
        time.sleep(seconds)

    asyncio.run(run_beside(load, wait, before=1, after=0))
    return load


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_a_service_that_is_saturated_for_minutes_is_left_alone(fleet: Service, untouched: None) -> None:
    load = saturate(fleet, seconds=180)
    print(f"{len(load.asked)} requests, {len(find_lost(load))} refused or lost")


def test_a_saturated_service_with_an_engine_ten_times_slower_is_left_alone_while_its_agent_restarts(
    fleet: Service, shelf: Shelf, calm: str
) -> None:
    before = {node: find_pids(node) for node in GPUS}
    with Watch(NODE) as watch:
        watch.wait("release", lambda now: now == calm, seconds=5)
        watch.begin(at=faults.make_ill(NODE, "slow 10"))
        load = saturate(fleet, seconds=14, act=lambda: on(NODE, "systemctl restart dsops-agent") and None)
    tell_case("saturated, ten times slower, agent restarted", watch, load, expected="nothing")
    assert "BAD" not in watch.values("verdict"), watch.tell()
    assert not [reason for reason in watch.values("ejected") if reason], watch.tell()
    assert {node: find_pids(node) for node in GPUS} == before
    assert read_agent(NODE)["release"] == calm
