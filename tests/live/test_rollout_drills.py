"""Rollouts in which something breaks: the release, a node, the balancer, or the control host."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.bundle.sign import sign
from dsops.control.cli.release.papers import get_folder
from dsops.control.fleet.inventory import get_fleet
from dsops.core.passport import parse_passport

from tests.live.ills.releases import find_lab_signer
from tests.live.load import Load, run_under
from tests.live.moves import Shelf, activate, assert_refused, bring, push
from tests.live.rollouts import (
    QUICK,
    WHY,
    WITHOUT,
    Controller,
    controlling,
    get_share,
    memory,
    read_rollout,
    rollout,
    run_under_many,
    show_rollout,
    wait_share,
)
from tests.live.site import (
    GPUS,
    INVENTORY,
    Service,
    balancer,
    dsops,
    find_status,
    get_good,
    healthy,
    on,
    read_agent,
    wait,
)
from tests.live.watch import find_lost

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]
TWO_STEPS = ("--steps", "1,100", "--min-sample", "20")
HALF = ("--steps", "50,100")
GO_ON = ("--every", "1", *WITHOUT)


def start(release: Path, *words: str) -> tuple[str, ...]:
    """The words of a rollout that is quick."""
    return ("start", release.name, *words, *WHY, *QUICK)


def count_share(node: str, release: str) -> int:
    """Clients' requests that a release has answered or failed on a node."""
    said = read_agent(node, "/v1/samples")
    return sum(int(one["real"]["requests"]) for one in said["releases"] if one["release"] == release)


# --- the release ------------------------------------------------------------------------------------------------


def fall(service: Service, release: Path, log: Path, *words: str, seconds: float) -> Load:
    """A rollout of one that the gates must find out, under load; what clients got."""

    def act() -> None:
        with controlling(log, *start(release, *words)) as controller:
            controller.wait_for("was taken back", seconds=seconds)
            assert controller.end() == 1
            print(controller.said)

    _, load = run_under_many(service.async_client(), act)
    return load


def check_fallen(release: Path, load: Load, log: Path) -> None:
    """The gates found it, nobody else got it, and no request of another release was lost."""
    said = log.read_text()
    assert "failed requests:" in said
    assert "it went back by itself" not in said
    assert {read_agent(node)["release"] for node in GPUS} == {get_good()}
    assert not any(get_share(node, release.name) for node in GPUS)
    lost = find_lost(load)
    print(f"{len(load.asked)} requests, {len(lost)} failed, all of them by the canary")
    assert all("made to fail now and then" in one for one in lost), lost[:5]
    banned = {one["release"]: one["reason"] for one in read_rollout()["fleet"]["bad"]}
    assert "failed requests" in banned[release.name]
    assert_refused(rollout(*start(release)), "on the fleet's bad list")


@pytest.mark.thorough
def test_a_canary_that_fails_one_request_in_twenty_is_found_by_the_gates(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release = shelf["fails-often"]
    assert push(release, *GPUS).returncode == 0
    load = fall(service, release, tmp_path / "log", *HALF, seconds=150)
    check_fallen(release, load, tmp_path / "log")


@pytest.mark.thorough
@pytest.mark.timeout(1500)
def test_with_one_percent_of_the_traffic_it_is_found_as_well(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release = shelf["fails-often"]
    assert push(release, *GPUS).returncode == 0
    load = fall(service, release, tmp_path / "log", "--canary-minutes", "30", seconds=1300)
    check_fallen(release, load, tmp_path / "log")


# --- the control host -------------------------------------------------------------------------------------------


def test_without_the_control_host_a_node_takes_a_wrong_canary_back_by_itself(
    quiet: None, shelf: Shelf, tmp_path: Path
) -> None:
    release = shelf["wrong-later"]
    assert push(release, *GPUS).returncode == 0
    with controlling(tmp_path / "log", *start(release, "--min-sample", "2000")) as controller:
        controller.wait_for("step 1 of 5, 1 %: bakes")
        controller.kill()
    since = time.monotonic()
    wait("gpu1 took it back", lambda: not get_share("gpu1", release.name), seconds=120)
    print(f"taken back {time.monotonic() - since:.1f} s after the control host was gone")
    assert release.name in [one["release"] for one in read_agent("gpu1")["bad"]]
    assert "No controller runs it" in show_rollout()
    done = rollout("resume", *GO_ON)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "it went back by itself" in done.stdout
    assert [one["release"] for one in read_rollout()["fleet"]["bad"]] == [release.name]
    assert {read_agent(node)["release"] for node in GPUS} == {get_good()}


@pytest.mark.thorough
def test_without_the_control_host_everything_stays_and_another_goes_on(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0

    def act() -> None:
        with controlling(tmp_path / "log", *start(release, *TWO_STEPS)) as controller:
            wait_share("gpu1", release.name, 1)
            controller.kill()
        time.sleep(45)  # longer than the canary would have baked
        assert [get_share(node, release.name) for node in GPUS] == [1, 0, 0]
        said = show_rollout()
        assert "No controller runs it" in said
        assert "Nobody has looked for" in said
        with controlling(tmp_path / "log-2", "resume", *GO_ON) as controller:
            wait("gpu2 has it", lambda: get_share("gpu2", release.name) == 100, seconds=150)
            controller.kill()  # in the middle of the wave
        done = rollout("resume", *GO_ON)
        assert done.returncode == 0, done.stdout + done.stderr

    _, load = run_under(service.async_client(), act)
    print(f"{len(load.asked)} requests")
    assert {read_agent(node)["release"] for node in GPUS} == {release.name}
    assert not find_lost(load)


@pytest.mark.thorough
def test_a_controller_that_hangs_is_fenced_off_by_breaking_its_lock(quiet: None, shelf: Shelf, tmp_path: Path) -> None:
    release = shelf["calm"]
    assert push(release, "gpu1", "gpu2").returncode == 0
    with controlling(tmp_path / "log", *start(release, "gpu1", "gpu2", *TWO_STEPS)) as old:
        wait_share("gpu1", release.name, 1)
        old.send(signal.SIGSTOP)
        assert "which is stopped" in show_rollout()
        assert_refused(rollout("resume", *GO_ON), "nobody heard it", "which is stopped", "lock break")
        assert_refused(dsops("lock", "break", *WHY, "-i", INVENTORY), "holds it", "--i-know")
        done = dsops("lock", "break", *WHY, "--i-know", "-i", INVENTORY)
        assert done.returncode == 0, done.stderr
        with controlling(tmp_path / "log-2", "resume", *GO_ON) as new:
            wait("the new one looks", lambda: "a controller takes over" in json.dumps(read_rollout()["log"]))
            old.send(signal.SIGCONT)
            assert old.end(seconds=30) == 1
            assert "another controller has taken over" in old.said, old.said
            assert "Traceback" not in old.said
            assert new.end() == 0, new.said
    assert [get_share(node, release.name) for node in GPUS] == [100, 100, 0]


@pytest.mark.thorough
def test_a_restored_control_host_takes_over_and_the_old_one_has_no_say(
    quiet: None, shelf: Shelf, tmp_path: Path
) -> None:
    release, backup, state = shelf["calm"], str(tmp_path / "backup.tar"), ("--state", str(tmp_path / "state"))
    assert push(release, *GPUS).returncode == 0
    other = shelf["other"]
    assert push(other, "gpu1").returncode == 0
    with controlling(tmp_path / "log", *start(release, "--min-sample", "2000")) as old:
        old.wait_for("step 1 of 5, 1 %: bakes")
        done = dsops("backup", backup)
        assert done.returncode == 0, done.stderr
        old.kill()
    done = dsops("restore", backup, *state)
    assert done.returncode == 0, done.stderr
    assert f"of {release.name}" in done.stdout
    print(done.stdout)
    assert "No controller runs it" in rollout("status", *state).stdout
    aborted = rollout("abort", *WHY, *state)
    assert aborted.returncode == 1, aborted.stdout + aborted.stderr
    assert not get_share("gpu1", release.name)
    # The one that was thought dead.
    assert_refused(activate(other, "gpu1"), "older", "dsops epoch adopt")
    assert read_agent("gpu1")["release"] == get_good()
    done = dsops("epoch", "adopt", *GPUS, *WHY, "-i", INVENTORY)
    assert done.returncode == 0, done.stderr
    assert_refused(dsops("release", "activate", other.name, "gpu1", *state, "-i", INVENTORY), "older")
    bring(other, "gpu1")


# --- a node, and the balancer -----------------------------------------------------------------------------------


def wave(controller: Controller, release: Path, act: Callable[[], None]) -> None:
    """Does it while the second node of the last step is being brought."""
    controller.wait_for("step 2 of 2, 100 %", seconds=150)
    wait("gpu2 begins", lambda: bool((find_status("gpu2") or {}).get("move")), seconds=60)
    act()


def find_away(load: Load, *, since: float, seconds: float) -> list[str]:
    """Lost requests that were not under way when it broke."""
    return [
        one.problem
        for one in load.asked
        if one.problem and ": said" not in one.problem and not since - seconds <= one.end <= since + seconds
    ]


@pytest.mark.thorough
def test_a_node_that_loses_its_power_in_a_wave_and_comes_back_gets_its_release(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release, moments = shelf["calm"], list[float]()
    assert push(release, *GPUS).returncode == 0

    def cut() -> None:
        moments.append(time.monotonic())
        assert dsops("lab", "fault", "gpu2", "kill").returncode == 0
        time.sleep(10)
        assert dsops("lab", "up").returncode == 0

    def act() -> None:
        with controlling(tmp_path / "log", *start(release, *TWO_STEPS)) as controller:
            wave(controller, release, cut)
            code = controller.end()
            print(controller.said)
            assert code == 0

    _, load = run_under(service.async_client(), act)
    away = find_away(load, since=moments[0], seconds=5)
    print(f"{len(load.asked)} requests, {len(find_lost(load))} lost with the node, {len(away)} at other times")
    assert not away
    assert {read_agent(node)["release"] for node in GPUS} == {release.name}
    assert not read_rollout()["fleet"]["bad"]


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_node_that_dies_in_a_wave_holds_it_until_a_person_goes_on_without(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release, moments = shelf["calm"], list[float]()
    assert push(release, *GPUS).returncode == 0

    def cut() -> None:
        moments.append(time.monotonic())
        assert dsops("lab", "fault", "gpu2", "kill").returncode == 0
        time.sleep(10)

    with controlling(tmp_path / "log", *start(release, *TWO_STEPS)) as controller:
        _, load = run_under(service.async_client(), lambda: wave(controller, release, cut))
        assert not find_away(load, since=moments[0], seconds=5)
        controller.wait_for("gpu2: unreachable for 5 min", seconds=400)
        print(f"held {time.monotonic() - moments[0]:.0f} s after the node died")
        assert "lost: counts as failed" in show_rollout()
        done = rollout("resume", *WHY)
        assert done.returncode == 0, done.stderr
        assert controller.end(seconds=120) == 0, controller.said
        assert "Not on gpu2" in controller.said
    assert [get_share(node, release.name) for node in ("gpu1", "gpu3")] == [100, 100]
    assert not read_rollout()["fleet"]["bad"]


@pytest.mark.thorough
def test_a_balancer_that_restarts_in_the_middle_changes_nobodys_share(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release, moments = shelf["calm"], list[float]()
    assert push(release, *GPUS).returncode == 0

    def act() -> None:
        with controlling(tmp_path / "log", *start(release, *TWO_STEPS)) as controller:
            wait_share("gpu1", release.name, 1)
            on("lb1", "systemctl restart dsops-balancer")
            time.sleep(3)
            moments.append(time.monotonic())
            on("lb1", "systemctl restart nginx")
            wait("the balancer knows its nodes", lambda: all(node["in"] for node in balancer().values()), seconds=20)
            assert [get_share(node, release.name) for node in GPUS] == [1, 0, 0]
            # Whether it comes to its end depends on times that this machine's load makes; that it goes on does not.
            for node in GPUS:
                wait_share(node, release.name, 100, seconds=150)
            rollout("abort", *WHY)
            controller.end()

    _, load = run_under(service.async_client(), act)
    away = find_away(load, since=moments[0], seconds=3)
    print(f"{len(load.asked)} requests, {len(find_lost(load))} lost with nginx' connections, {len(away)} otherwise")
    assert not away
    new = [part["new"]["real"] for part in read_rollout()["rollout"]["parts"]]
    assert not sum(one["failed"] for one in new), new


# --- two releases side by side, passports, nodes that hold one copy ----------------------------------------------


@pytest.mark.thorough
def test_two_releases_side_by_side_are_compared(quiet: None, service: Service, shelf: Shelf, tmp_path: Path) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0

    def act() -> str:
        done = rollout(*start(release, *HALF, "--min-sample", "100", "--hold-at", "50"), "--detach")
        assert done.returncode == 0, done.stdout + done.stderr
        wait("it is held", lambda: "held at 50 %" in read_rollout()["rollout"]["hold"], seconds=200)
        compared = dsops("release", "compare", get_good(), release.name, "-i", INVENTORY)
        assert compared.returncode == 0, compared.stderr
        return compared.stdout

    said, load = run_under(service.async_client(), act)
    print(said)
    rows = {line[:24].strip(): line for line in said.splitlines()}
    assert "to the first token, 50%" in said
    assert "not compared" not in said.split("golden requests")[0]
    assert count_share("gpu1", release.name) > 20
    assert "clients' requests" in rows
    assert not find_lost(load)
    assert "held at 50 % until a person goes on" in show_rollout()
    done = rollout("abort", "--reason", "B is no better")
    assert done.returncode == 0, done.stderr
    wait("it is over", lambda: not read_rollout()["active"], seconds=60)
    assert {get_share(node, get_good()) for node in GPUS} == {100}


@pytest.mark.thorough
def test_a_passport_is_made_shown_brought_and_held_to(quiet: None, shelf: Shelf) -> None:
    release = shelf["other"]
    papers = get_folder(get_fleet(INVENTORY))
    try:
        bring(release, "gpu3")
        assert dsops("drain", "gpu3", *WHY, "--wait", "30", "-i", INVENTORY).returncode == 0
        made = dsops("release", "passport", "gpu3", "--cold", "1", "--warm", "1", "-i", INVENTORY)
        assert made.returncode == 0, made.stdout + made.stderr
        assert dsops("undrain", "gpu3", "-i", INVENTORY).returncode == 0
        print(made.stdout)
        shown = dsops("release", "show", release, "-i", INVENTORY)
        assert "12 of 12" in shown.stdout, shown.stdout + shown.stderr
        assert push(release, "gpu1").returncode == 0
        bring(release, "gpu1")
        (file,) = papers.glob(f"{release.name}.*.json")
        good = parse_passport(file.read_bytes(), where=str(file))
        runs = tuple(replace(run, tokens_per_second=(run.tokens_per_second or 1.0) * 50) for run in good.runs)
        file.write_bytes(replace(good, runs=runs, made_at=good.made_at + 1).render())
        sign(file, find_lab_signer().for_releases)
        assert push(release, "gpu2").returncode == 0
        done = rollout(*start(release, "gpu2", "--steps", "100"))
        assert done.returncode == 1, done.stdout
        print(done.stdout)
        assert "tokens/s" in done.stdout.partition("was taken back")[2], done.stdout
        assert read_agent("gpu2")["release"] == get_good()
    finally:
        for left in papers.glob(f"{release.name}.*"):
            left.unlink()
        dsops("undrain", "gpu3", "-i", INVENTORY)


@pytest.mark.thorough
def test_where_two_copies_do_not_fit_it_comes_in_node_by_node(
    quiet: None, service: Service, shelf: Shelf, tmp_path: Path
) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    size = sum(file.stat().st_size for file in release.rglob("*") if file.is_file())
    for node in GPUS:  # what was kept warm would make room
        on(node, f"systemctl stop triton@{'b' if read_agent(node)['slot'] == 'a' else 'a'}")

    def act() -> None:
        with ExitStack() as small:
            for node in GPUS:
                small.enter_context(memory(node, total=2 * size, free=size // 2))
            dry = rollout("start", release.name, *WHY, "--dry", *WITHOUT)
            print(dry.stdout)
            assert dry.stdout.count("drained first, for two copies do not fit") == len(GPUS), dry.stderr
            with controlling(tmp_path / "log", *start(release, *TWO_STEPS)) as controller:
                code = controller.end(seconds=300)
                print(controller.said)
                assert code == 0
            assert {read_agent(node)["release"] for node in GPUS} == {release.name}

    _, load = run_under(service.async_client(), act)
    print(f"{len(load.asked)} requests, {len(find_lost(load))} lost")
    assert not find_lost(load)
    assert all(healthy(node) for node in GPUS)
