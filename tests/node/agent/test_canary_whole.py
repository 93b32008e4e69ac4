"""A canary on a whole node: comes in on some lanes, is asked and counted, and loses them when it fails."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.core.lanes import LANES
from dsops.core.samples import Samples
from dsops.core.state import Stage, Step
from dsops.core.status import Canary, NodeStatus, Verdict
from dsops.core.verdict import SPAN_SECONDS
from dsops.node.agent.app import build_app, find_samples
from dsops.node.agent.config import AgentConfig, GatewayConfig
from dsops.node.agent.loop import Loop
from dsops.node.sources.slots import Ports
from starlette.testclient import TestClient

from tests.core.test_status import make_status
from tests.node.agent.whole_node import WholeNode, make_golden, make_node, ticking
from tests.node.store.bed import Made, Signer, make_signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def node(tmp_path: Path, signer: Signer) -> Iterator[WholeNode]:
    with make_node(tmp_path, signer) as node:
        yield node


@pytest.fixture
def pair(node: WholeNode, signer: Signer) -> tuple[Made, Made]:
    made = signer.sign(make_golden("one")), signer.sign(make_golden("two"))
    for one in made:
        node.bed.push(one)
    return made


async def begin(node: WholeNode, pair: tuple[Made, Made], *, share: int = 5) -> None:
    """The first one serves, the second one is out with a share."""
    one, two = pair
    await node.ask("activate", release=one.id)
    await node.until(lambda: read_step(node) is None and set(node.read_lanes().values()) == {"a"})
    await node.ask("activate", release=two.id, share=share)
    await node.until(lambda: read_step(node) is Step.CANARY)
    await node.until(lambda: bool(node.agent.status and node.agent.status.canary))
    await node.until(lambda: get_canary(node).verdict is Verdict.OK)


def read_step(node: WholeNode) -> Step | None:
    state, _ = node.bed.desk().moves.read()
    return state.move.step if state.move else None


def count_synthetic(samples: Samples, made: Made) -> int:
    found = samples.find(made.id)
    return found.synthetic.requests if found else 0


def count_real(samples: Samples, made: Made) -> int:
    found = samples.find(made.id)
    return found.real.requests if found else 0


def get_canary(node: WholeNode) -> Canary:
    assert node.agent.status
    assert node.agent.status.canary
    return node.agent.status.canary


@pytest.mark.slow
def test_a_canary_is_asked_counted_widened_and_takes_over(node: WholeNode, pair: tuple[Made, Made]) -> None:
    one, two = pair

    async def story() -> None:
        async with ticking(node):
            await begin(node, pair, share=1)
            assert await node.send("l1", 5) == [(200, two.id)] * 5
            assert await node.send("l50", 7) == [(200, one.id)] * 7
            await node.until(lambda: get_canary(node).synthetic >= 5)
            page = TestClient(build_app(node.agent)).get("/metrics").text
            assert f'dsops_canary_share{{release="{two.id}"}} 1.0' in page
            samples = await find_samples(node.agent)
            assert samples.node == "gpu1"
            old, new = samples.find(one.id), samples.find(two.id)
            assert old
            assert new
            assert (old.real.requests, old.real.failed, new.real.requests, new.real.failed) == (7, 0, 5, 0)
            assert (sum(new.real.ttft), sum(new.real.per_token)) == (5, 5)
            assert old.synthetic.requests >= 4
            assert new.synthetic.requests >= 5
            assert (new.synthetic.failed, new.synthetic.wrong) == (0, 0)
            assert sum(new.synthetic.ttft) == sum(new.synthetic.per_token) == new.synthetic.requests
            assert Samples.from_json(samples.to_json(), where="x") == samples
            await node.ask("widen", release=two.id, share=25)
            await node.until(lambda: get_canary(node).share == 25)
            assert (await node.send("l20", 1), await node.send("l25", 1)) == ([(200, two.id)], [(200, one.id)])
            await node.ask("widen", release=two.id, share=100)
            await node.until(lambda: bool(node.agent.status and node.agent.status.slot == "b"))
            assert node.agent.status
            assert node.agent.status.canary is None
            assert set(node.read_lanes().values()) == {"b"}
            later = await find_samples(node.agent)
            assert [found.lives for found in later.releases] == [found.lives for found in samples.releases]
            # It bakes, and is sampled on through its lanes; the one that it left is not.
            assert node.agent.watch
            tallies = node.agent.watch.canary.sampling.tallies
            await node.until(lambda: tallies[two.id].requests >= count_synthetic(later, two) + 3)
            last = await find_samples(node.agent)
            assert count_synthetic(last, two) >= count_synthetic(later, two) + 3
            assert count_synthetic(last, one) <= count_synthetic(later, one) + 1
            assert count_real(last, two) == count_real(later, two)

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.slow
def test_a_canary_that_answers_wrong_loses_its_lanes_without_the_control_host(
    node: WholeNode, pair: tuple[Made, Made]
) -> None:
    one, two = pair

    async def story() -> None:
        async with ticking(node):
            await begin(node, pair)
            node.slots["b"].spoil("wrong")
            took = await node.until(lambda: set(node.read_lanes().values()) == {"a"}, within=15)
            assert SPAN_SECONDS <= took < 15
            await node.until(lambda: read_step(node) is None)
            state, _ = node.bed.desk().moves.read()
            bad = state.find_bad(two.id, at=time.time() + 1e9)
            assert bad
            assert "as a canary at 5 %" in bad.reason
            assert state.rollbacks == ()
            assert state.active
            assert (state.active.release, state.active.stage) == (one.id, Stage.BAKING)
            assert [await node.send(lane, 1) for lane in LANES] == [[(200, one.id)]] * len(LANES)
            samples = await find_samples(node.agent)
            gone = samples.find(two.id)
            assert gone
            assert gone.synthetic.wrong >= 3, "whoever brings it again must know what came before"
            await node.until(lambda: bool(node.agent.history.find_stories(1)[0]["outcome"]))
            client = TestClient(build_app(node.agent))
            why = client.get("/v1/why").json()
            assert why["outcome"].startswith(f"its share was taken back: {one.id} has all of the traffic")
            assert why["action"] == "return of its share"
            status = NodeStatus.from_json(client.get("/v1/status").content, where="x")
            assert (status.canary, status.release, status.ejected) == (None, one.id, None)
            assert client.get("/v1/samples").status_code == 200
            assert "dsops_canary_share{" not in client.get("/metrics").text

    asyncio.run(asyncio.wait_for(story(), 40))


def test_a_canary_that_dies_loses_its_lanes_at_once(node: WholeNode, pair: tuple[Made, Made]) -> None:
    one, two = pair

    async def story() -> None:
        async with ticking(node):
            await begin(node, pair)
            node.slots["b"].kill()
            took = await node.until(lambda: set(node.read_lanes().values()) == {"a"})
            assert took < SPAN_SECONDS, "strikes alone would take as long"
            assert await node.send("l1", 3) == [(200, one.id)] * 3
            await node.until(lambda: read_step(node) is None)
            state, _ = node.bed.desk().moves.read()
            bad = state.find_bad(two.id, at=time.time())
            assert bad
            assert bad.until is not None
            assert "signal 9" in json.dumps(node.agent.history.find_stories(1))

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.slow
def test_what_fails_only_for_clients_is_counted_and_found(node: WholeNode, pair: tuple[Made, Made]) -> None:
    """Its own HTTP door answers right; requests through the gateway fail."""
    two = pair[1]

    async def story() -> None:
        async with ticking(node):
            await begin(node, pair)
            node.slots["b"].spoil("failing")
            assert {code for code, _ in await node.send("l1", 6)} == {500}
            found = (await find_samples(node.agent)).find(two.id)
            assert found
            assert (found.real.requests, found.real.failed) == (6, 6)
            await node.until(lambda: set(node.read_lanes().values()) == {"a"}, within=15)
            assert node.agent.watch
            assert node.agent.watch.incident is None

    asyncio.run(asyncio.wait_for(story(), 40))


def test_without_the_gateways_word_there_are_no_samples(tmp_path: Path) -> None:
    slots, gateway = (Ports("a", 1, 1), Ports("b", 2, 2)), GatewayConfig(str(tmp_path / "none.sock"))
    agent = Loop(AgentConfig("gpu1", "gpu", state=str(tmp_path), slots=slots, gateway=gateway))
    client = TestClient(build_app(agent))
    answer = client.get("/v1/samples")
    assert (answer.status_code, "nothing to count" in answer.json()["reason"]) == (503, True)
    agent.status = make_status()
    answer = client.get("/v1/samples")
    assert answer.status_code == 503
    assert "the gateway does not say what it counted: connection refused" in answer.json()["reason"]
