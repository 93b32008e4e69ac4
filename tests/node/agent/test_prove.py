"""A release is proven by its golden answers, and refused in words when it does not give them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dsops.core.status import Proof
from dsops.node.agent.prove import Proving, Refusal, prove, render_evidence
from dsops.node.sources.golden import read_golden
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

from tests.node.agent.fake_node import FakeNode, run_node
from tests.node.agent.releases import make_release


def running(**changes: Any) -> Unit:
    values = {"pid": 5, "started": time.monotonic() - 0.2} | changes
    return Unit("triton@b.service", values.pop("active", "active"), "x", "signal", 11, **values)


def try_proof(
    folder: Path,
    *,
    unit: Callable[[], Unit] = running,
    change: Callable[[FakeNode], None] = lambda _: None,
    has_gateway: bool = True,
    **limits: int,
) -> tuple[Proof | Refusal, FakeNode]:
    async def story() -> tuple[Proof | Refusal, FakeNode]:
        release = make_release(folder, **limits)
        async with run_node(folder, has_gateway=has_gateway) as node:
            change(node)
            proving = Proving(
                ports=Ports("b", node.port, node.port),
                golden=read_golden(folder / "releases" / release),
                find_unit=unit,
                gateway=node.socket,
                gpus=("H100",),
                pause=0.01,
            )
            return await prove(proving), node

    return asyncio.run(asyncio.wait_for(story(), 20))


def test_a_good_release_is_proven_with_what_it_showed(tmp_path: Path) -> None:
    proof, node = try_proof(tmp_path)
    assert isinstance(proof, Proof)
    assert (proof.accepted, proof.prompts, proof.gpus) == (3, 3, ("H100",))
    assert 0.2 <= proof.load_seconds < 1.0
    assert node.asked.count("/v2/models/llm/generate_stream") == 3
    assert node.asked.count("/v1/completions") == 1
    assert "x-dsops-slot: b" in node.headers
    assert render_evidence(proof).startswith("3 of 3 golden answers right, loaded in 0.")


def test_before_there_is_a_gateway_the_slot_alone_proves_it(tmp_path: Path) -> None:
    assert isinstance(try_proof(tmp_path, has_gateway=False)[0], Proof)


@pytest.mark.parametrize("says", [(429, "busy"), None])
def test_a_gateway_that_is_busy_or_silent_proves_nothing_against_it(tmp_path: Path, says: tuple[int, str]) -> None:
    def change(node: FakeNode) -> None:
        node.gateway_says = says
        if says is None and node.socket:
            node.socket.unlink()
            node.socket.touch()

    assert isinstance(try_proof(tmp_path, change=change)[0], Proof)


def test_wrong_answers_are_refused_for_good(tmp_path: Path) -> None:
    refusal, node = try_proof(tmp_path, change=lambda n: setattr(n, "mode", "wrong"))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "3 of 3 golden answers are wrong, sum: 'rubbish'"
    assert refusal.lasting
    assert "/v1/completions" not in node.asked


def test_one_that_does_not_answer_is_refused_for_now(tmp_path: Path) -> None:
    refusal, _ = try_proof(tmp_path, change=lambda n: setattr(n, "mode", "hung"))
    assert refusal == Refusal("golden prompt sum: no whole answer in 1 s", lasting=False)


def test_one_that_fails_only_through_the_gateway_is_refused_for_now(tmp_path: Path) -> None:
    refusal, _ = try_proof(tmp_path, change=lambda n: setattr(n, "gateway_says", (503, "no chat template")))
    assert refusal == Refusal("no answer through the gateway: HTTP 503: no chat template")


def test_a_load_past_its_deadline_is_refused(tmp_path: Path) -> None:
    started = time.monotonic()
    refusal, _ = try_proof(tmp_path, unit=lambda: running(started=started), change=lambda n: setattr(n, "ready", False))
    assert refusal == Refusal("it was not ready 1 s after its start")


def test_a_load_that_is_slow_but_in_time_is_waited_for(tmp_path: Path) -> None:
    def change(node: FakeNode) -> None:
        node.ready = False
        asyncio.get_running_loop().call_later(0.3, setattr, node, "ready", True)

    started = time.monotonic()
    proof, _ = try_proof(tmp_path, unit=lambda: running(started=started), change=change, load_seconds=5)
    assert isinstance(proof, Proof)
    assert proof.load_seconds >= 0.3


@pytest.mark.parametrize("unit", [running(active="failed", pid=0), running(restarts=3)])
def test_a_crash_loop_while_loading_is_refused_at_once(tmp_path: Path, unit: Unit) -> None:
    refusal, _ = try_proof(tmp_path, unit=lambda: unit, change=lambda n: setattr(n, "ready", False), load_seconds=60)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("its Triton ended while it loaded")
