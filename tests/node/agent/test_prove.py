"""A release is proven by its golden answers, and refused in words when it does not give them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import chain, count, cycle, repeat
from pathlib import Path
from typing import Any

import pytest
from dsops.core.passport import Answered, Hardware, Passport, Run, Seen
from dsops.core.state import Kind, Move, Step
from dsops.core.status import Proof
from dsops.node.agent.actor import Actor, Tools
from dsops.node.agent.events import Event, Now, Prove, Proved
from dsops.node.agent.loop import refuse
from dsops.node.agent.prove import Proving, Refusal, prove, render_evidence
from dsops.node.sources.golden import read_golden
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

from tests.core.passports import COLD, CPU, H100, WARM, make
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
    passport: Passport | None = None,
    cached: float | None = None,
    ticks: Callable[[], float] = time.monotonic,
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
                passport=passport,
                find_cached=lambda: cached,
                ticks=ticks,
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


# Nobody is as quick as the first, and everybody as the second.
FAST, SLOW = make(runs=(Run(WARM, 1e9),)), make(runs=(Run(WARM, 0.01),))
PROMPTS = 3


def asked(node: FakeNode) -> int:
    return node.asked.count("/v2/models/llm/generate_stream")


def counting(in_flight: Iterator[int] | None = None) -> Callable[[FakeNode], None]:
    def change(node: FakeNode) -> None:
        node.counted, node.in_flight = 8, in_flight or repeat(0)

    return change


def test_one_that_is_as_quick_as_its_passport_says_is_proven_with_its_words(tmp_path: Path) -> None:
    proof, node = try_proof(tmp_path, passport=SLOW, change=counting(), cached=0.25)
    assert isinstance(proof, Proof)
    assert (proof.judged, proof.cached, proof.quiet) == ("as its passport (gpu1) says", 0.25, True)
    assert proof.answers == (0, 0, 0)
    assert render_evidence(proof).endswith("; as its passport (gpu1) says")
    assert asked(node) == PROMPTS


def test_a_token_rate_that_is_too_low_is_measured_again_warm_and_refused_for_now(tmp_path: Path) -> None:
    refusal, node = try_proof(tmp_path, passport=FAST, change=counting())
    assert isinstance(refusal, Refusal)
    assert not refusal.lasting
    assert " of the 1,000,000,000 of its passport (gpu1, 8 x NVIDIA H100), at least 70% are wanted" in refusal.reason
    assert asked(node) == 3 * PROMPTS, "the first pass warms the engine up"


def test_while_others_ask_no_rate_is_held_against_it_and_that_is_said(tmp_path: Path) -> None:
    proof, node = try_proof(tmp_path, passport=FAST, change=counting(cycle([3, 0])))
    assert isinstance(proof, Proof)
    assert proof.judged.endswith("its token rate was not judged: other requests were in flight")
    assert not proof.quiet
    assert asked(node) == 4 * PROMPTS


def test_a_rate_is_judged_as_soon_as_the_others_are_done(tmp_path: Path) -> None:
    busy_first = chain([1] * PROMPTS, repeat(0))
    refusal, node = try_proof(tmp_path, passport=FAST, change=counting(busy_first))
    assert isinstance(refusal, Refusal)
    assert asked(node) == 3 * PROMPTS, "once while others asked, and twice for the refusal"


def test_a_gateway_that_does_not_say_how_busy_it_is_counts_as_busy(tmp_path: Path) -> None:
    def change(node: FakeNode) -> None:
        node.counted = 8
        assert node.socket
        node.socket.unlink()
        node.socket.touch()

    proof, _ = try_proof(tmp_path, passport=FAST, change=change)
    assert isinstance(proof, Proof)
    assert "other requests were in flight" in proof.judged


def test_where_nobody_counts_tokens_the_rest_of_the_passport_still_holds(tmp_path: Path) -> None:
    proof, _ = try_proof(tmp_path, passport=FAST)
    assert isinstance(proof, Proof)
    assert proof.judged.endswith("its token rate was not judged: nobody counts tokens")


def loading(node: FakeNode) -> None:
    node.ready = False
    asyncio.get_running_loop().call_later(0.1, setattr, node, "ready", True)


def test_a_load_over_the_bound_of_its_passport_is_refused_for_now(tmp_path: Path) -> None:
    loads = make(runs=(Run(COLD, 0.01, 1.0, 0.0),))
    looks = count()
    words = {"passport": loads, "load_seconds": 60, "cached": 0.0}
    # Half a minute goes by after the first look.
    refusal, _ = try_proof(
        tmp_path, change=loading, ticks=lambda: time.monotonic() + 30.0 * (next(looks) >= 2), **words
    )
    assert isinstance(refusal, Refusal)
    assert not refusal.lasting
    assert refusal.reason.startswith("it loaded in 3")
    assert refusal.reason.endswith("its passport (gpu1) says 1.0 s, 11.0 s at most")


@pytest.mark.parametrize("change", [loading, lambda _: None])
def test_whoever_looks_late_holds_no_load_against_it(tmp_path: Path, change: Callable[[FakeNode], None]) -> None:
    loads = make(runs=(Run(COLD, 0.01, 1.0, 0.0),))
    started = time.monotonic() - 3000.0
    words = {"passport": loads, "cached": 0.0, "load_seconds": 6000}
    proof, _ = try_proof(tmp_path, unit=lambda: running(started=started), change=change, **words)
    assert isinstance(proof, Proof)
    assert not proof.watched
    assert proof.load_seconds > 2999


def test_wrong_answers_are_refused_for_good_whatever_the_passport_says(tmp_path: Path) -> None:
    refusal, node = try_proof(tmp_path, passport=SLOW, change=lambda n: setattr(n, "mode", "wrong"))
    assert isinstance(refusal, Refusal)
    assert refusal.lasting
    assert asked(node) == PROMPTS


def test_a_right_answer_in_words_that_the_passport_has_not_is_told(tmp_path: Path) -> None:
    answers = tuple(Answered(name, (Seen("yes", 1),)) for name in ("sum", "double", *"abcdef"))
    passport = make(runs=(Run(WARM, 0.01),), answers=answers)
    proof, _ = try_proof(tmp_path, passport=passport, change=counting())
    assert isinstance(proof, Proof)
    assert proof.judged == "as its passport (gpu1) says, 2 right in other words"


@pytest.mark.parametrize(
    ("kind", "hardware", "is_refused"),
    [
        (Kind.ACTIVATE, CPU, True),
        (Kind.ROLLBACK, CPU, False),
        (Kind.ACTIVATE, H100, False),
        (Kind.ACTIVATE, None, False),
    ],
)
def test_the_agent_demands_the_passport_of_its_own_hardware_and_none_on_the_way_back(
    tmp_path: Path, kind: Kind, hardware: Hardware | None, is_refused: bool
) -> None:
    async def story() -> Event:
        release = make_release(tmp_path)
        folder = tmp_path / "passports"
        folder.mkdir()
        passport = make(release=release, hardware=CPU, runs=(Run(WARM, 1e9),))
        (folder / f"{release}.aa.json").write_bytes(passport.render())
        told: asyncio.Queue[Event] = asyncio.Queue()
        async with run_node(tmp_path) as node:
            counting()(node)
            tools = Tools(
                state=tmp_path,
                ports={"b": Ports("b", node.port, node.port)},
                read_unit=lambda slot: running(),
                ask_helper=refuse,
                now=lambda: Now(1.0, 1.0),
                hardware=lambda: hardware,
            )
            actor = Actor(tools, told.put_nowait)
            actor.perform(Prove(Move(kind, release, "b", Step.PROVE, 1.0, "kim", "new")))
            event = await told.get()
            await actor.close()
            return event

    event = asyncio.run(asyncio.wait_for(story(), 20))
    assert isinstance(event, Proved)
    assert isinstance(event.result, Refusal if is_refused else Proof)
