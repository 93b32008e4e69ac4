"""The promise of the whole: an answer through Nginx, gateway and Triton on servers that cannot reach the internet."""

import asyncio
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable

import openai
import pytest
from dsops.lab.place import LAB
from dsops.lab.processes import find_leader

from tests.live.load import Load, run_beside
from tests.live.site import INVENTORY, ROOT, Service, balancer, dsops, on, wait

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_a_second_deploy_changes_nothing_and_says_so(fleet: Service) -> None:
    done = dsops("deploy", "-i", INVENTORY)
    assert done.returncode == 0, done.stdout
    assert "on 5 servers: nothing changed" in done.stdout, done.stdout


def test_nothing_tried_to_reach_out(fleet: Service) -> None:
    said = json.loads(dsops("lab", "status", "--json").stdout)
    before = {server["name"]: (server["dns"], server["connections"]) for server in said["servers"]}
    assert dsops("deploy", "-i", INVENTORY).returncode == 0
    said = json.loads(dsops("lab", "status", "--json").stdout)
    after = {server["name"]: (server["dns"], server["connections"]) for server in said["servers"]}
    assert after == before


def test_the_official_client_gets_200_right_answers_16_at_a_time_half_of_them_streaming(fleet: Service) -> None:
    load = Load(fleet.async_client(), parallel=16, total=200)
    asked = asyncio.run(load.run())
    problems = [one.problem for one in asked if one.problem]
    broken = [text for text in problems if ": said" not in text]
    assert len(asked) == 200
    assert not broken
    # The demo model is not perfect; its card says how often it is right. The service itself loses nothing.
    assert len(problems) <= 6, problems
    assert sum(one.streamed for one in asked) == 100


def test_reasoning_comes_apart_from_the_answer(fleet: Service) -> None:
    client = fleet.client()
    question = [{"role": "user", "content": "What is 47+85?"}]
    answer = client.chat.completions.create(model="tiny-r1", messages=question, temperature=0)  # type: ignore[call-overload]
    message = answer.choices[0].message
    assert message.content.strip() == "132"
    assert "7+5" in message.reasoning_content
    assert "</think>" not in message.content + message.reasoning_content
    assert [model.id for model in client.models.list()] == ["tiny-r1"]


def test_killing_a_server_loses_only_what_was_in_flight_on_it(fleet: Service) -> None:
    load = Load(fleet.async_client(), parallel=16, total=None)

    def kill() -> float:
        """The moment at which the machine was dead."""
        leader = find_leader(LAB, "gpu2")
        assert leader is not None
        handle = os.pidfd_open(leader)
        killing = subprocess.Popen([sys.executable, "-m", "dsops", "lab", "fault", "gpu2", "kill"], cwd=ROOT)
        assert select.select([handle], [], [], 30)[0]
        died = time.monotonic()
        os.close(handle)
        assert killing.wait(30) == 0
        return died

    died = asyncio.run(run_beside(load, kill, before=3, after=6))
    lost = [one for one in load.asked if one.problem and ": said" not in one.problem]
    late = [f"{one.start - died:+.3f} to {one.end - died:+.3f} s: {one.problem}" for one in lost if one.start > died]
    print(f"{len(load.asked)} requests, {len(lost)} lost, {len(late)} of them started after the kill")
    assert len(load.asked) > 100
    assert len(lost) <= 16  # at most what 16 clients had in flight
    assert not late
    assert not balancer()["gpu2"]["in"]


def find_best(measure: Callable[[], float], *, enough: float) -> float:
    """Of up to three times, in seconds: a pause of this machine is no fault of what is measured."""
    best = measure()
    for _ in range(2):
        best = best if best < enough else min(best, measure())
    return best


def test_draining_a_server_under_load_loses_nothing(fleet: Service) -> None:
    load = Load(fleet.async_client(), parallel=16, total=None)

    def drain() -> float:
        done = dsops("drain", "gpu3", "--reason", "live test", "-i", INVENTORY)
        assert done.returncode == 0, done.stderr
        out = wait("gpu3 out", lambda: not balancer()["gpu3"]["in"], seconds=10)
        done = dsops("undrain", "gpu3", "-i", INVENTORY)
        assert done.returncode == 0, done.stderr
        wait("gpu3 in", lambda: bool(balancer()["gpu3"]["in"]), seconds=10)
        return out

    out = asyncio.run(run_beside(load, lambda: find_best(drain, enough=2.0), before=2, after=2))
    lost = [one.problem for one in load.asked if one.problem and ": said" not in one.problem]
    assert not lost
    assert out <= 2.0


def test_a_deploy_that_restarts_every_slot_and_gateway_loses_nothing(fleet: Service) -> None:
    """As a new release or a new dsops does: the units read something newer than their start."""
    for node in ("gpu1", "gpu2", "gpu3"):
        on(node, "touch -h /opt/dsops/bin/dsops-triton /etc/dsops/gateway.toml")
    load = Load(fleet.async_client(), parallel=8, total=None)

    def deploy() -> float:
        done = dsops("deploy", "-i", INVENTORY)
        assert done.returncode == 0, done.stdout
        assert "engine: active slot: changed on gpu1, gpu2, gpu3" in done.stdout
        assert "gateway: running: changed on gpu1, gpu2, gpu3" in done.stdout
        return 0.0

    asyncio.run(run_beside(load, deploy, before=2, after=2))
    lost = [one.problem for one in load.asked if one.problem and ": said" not in one.problem]
    print(f"{len(load.asked)} requests while three slots and three gateways restarted, {len(lost)} lost")
    assert not lost


def test_a_frozen_server_is_taken_out_within_two_seconds(fleet: Service) -> None:
    def freeze() -> float:
        assert dsops("lab", "fault", "gpu1", "freeze").returncode == 0
        try:
            out = wait("gpu1 out", lambda: not balancer()["gpu1"]["in"], seconds=20)
        finally:
            assert dsops("lab", "fault", "gpu1", "thaw").returncode == 0
        wait("gpu1 back", lambda: bool(balancer()["gpu1"]["in"]), seconds=10)
        return out

    assert find_best(freeze, enough=2.5) < 2.5


def test_a_server_that_reboots_serves_again_by_itself(fleet: Service) -> None:
    before = on("gpu1", "cat /proc/sys/kernel/random/boot_id")
    assert dsops("lab", "fault", "gpu1", "poweroff").returncode == 0
    assert dsops("lab", "up").returncode == 0
    wait("gpu1 in", lambda: bool(balancer()["gpu1"]["in"]), seconds=60)
    assert on("gpu1", "cat /proc/sys/kernel/random/boot_id") != before


def test_status_shows_every_server_and_does_not_wait_for_a_dead_one(fleet: Service) -> None:
    assert dsops("lab", "fault", "mon1", "kill").returncode == 0
    since = time.monotonic()
    done = dsops("status", "--json", "-i", INVENTORY)
    took = time.monotonic() - since
    text = json.dumps(json.loads(done.stdout))
    assert all(name in text for name in ("lb1", "gpu1", "gpu2", "gpu3", "mon1"))
    assert "unreachable" in text
    assert took < 20  # it waits for no dead server; starting it takes what it takes


def test_every_role_is_what_it_promises(fleet: Service) -> None:
    done = dsops("verify", "-i", INVENTORY, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_ask_streams_reasoning_and_answer(fleet: Service) -> None:
    done = dsops("ask", "-i", INVENTORY, "What is 12+30?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("42")


def test_a_wrong_key_is_refused_and_named_so(fleet: Service) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        fleet.client(key="dsops-wrong").models.list()
    assert caught.value.status_code == 401
    assert "key" in str(caught.value).lower()
