"""Rollouts over the lab's three nodes: a good release takes all the traffic, a wrong one is taken back by its node."""

import pytest

from tests.live.load import run_under
from tests.live.moves import Shelf, push
from tests.live.rollouts import QUICK, rollout
from tests.live.site import GPUS, Service, get_good, node_door, read_agent, wait
from tests.live.watch import find_lost

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


def test_a_good_release_goes_over_the_fleet_under_load_and_loses_nothing(
    quiet: None, service: Service, shelf: Shelf
) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    words = ("--steps", "1,100", "--min-sample", "20", "--reason", "live test")
    done, load = run_under(service.async_client(), lambda: rollout("start", release.name, *words, *QUICK))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 1 of 2, 1 %: bakes" in done.stdout
    assert {read_agent(node)["release"] for node in GPUS} == {release.name}
    assert not find_lost(load)
    for node in GPUS:
        assert node_door(node, "rollback", "--who", "live test", "--reason", "live test").returncode == 0
        wait(f"{node} is back", lambda node=node: read_agent(node)["release"] == get_good(), seconds=60)


def test_one_that_turns_wrong_is_taken_back_by_its_node_and_banned(quiet: None, shelf: Shelf) -> None:
    release = shelf["wrong-later"]
    assert push(release, *GPUS).returncode == 0
    done = rollout("start", release.name, "--min-sample", "2000", "--reason", "live test", *QUICK)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "it went back by itself" in done.stdout
    assert {read_agent(node)["release"] for node in GPUS} == {get_good()}
    again = rollout("start", release.name, "--reason", "live test", *QUICK)
    assert again.returncode == 1
    assert release.name in again.stderr
    assert "Traceback" not in again.stderr
