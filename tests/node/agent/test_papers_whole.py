"""Baseline, maintenance and clearing on a whole node: a person asks the helper, the agent sees it and does it."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from dsops.core.baseline import Number
from dsops.core.checklist import Checklist, Item
from dsops.core.checks import Rule, Sight
from dsops.core.errors import DsopsError
from dsops.core.status import Blame, Condition, Measure, NodeStatus, Verdict
from dsops.node.agent.app import build_app
from dsops.node.agent.history import History
from dsops.node.agent.loop import Loop
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.rules import get_shipped
from dsops.node.helper.client import acall
from dsops.node.helper.peers import Peer
from dsops.node.sources.kernel_log import Record
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.node.agent.whole_node import WholeNode, make_golden, make_node, ticking
from tests.node.store.bed import Made, Signer, make_signer

WIDTH = Rule("link.width", Blame.HARDWARE, Measure.ALERT, "reseat it: `dsops why NODE`", "a test")
RULES = replace(get_shipped(), rules=get_shipped().rules | {WIDTH.code: WIDTH})
KEY = ("gpu0", "width")
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus."


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def node(tmp_path: Path, signer: Signer) -> Iterator[WholeNode]:
    with make_node(tmp_path, signer, keep_serving=0) as node:
        node.bed.push(signer.sign(make_golden("one")))
        yield node


@pytest.fixture
def one(signer: Signer) -> Made:
    return signer.sign(make_golden("one"))


def get_status(node: WholeNode) -> NodeStatus:
    assert node.agent.status
    return node.agent.status


def get_codes(node: WholeNode) -> set[str]:
    return {finding.code for finding in get_status(node).findings}


async def serve(node: WholeNode, one: Made) -> None:
    await node.ask("activate", release=one.id)
    await node.until(lambda: bool(node.agent.status and node.agent.status.slot and node.agent.watch))
    await node.until(lambda: get_status(node).verdict is Verdict.OK)


def lose_gpu(node: WholeNode, *, seq: int = 1) -> None:
    """The kernel says it; the agent reads it before its next tick."""
    now = node.agent._clock.now
    node.agent.checkup.take_records([Record(seq, 3, now.ticks, XID)], now=now.ticks, wall=now.wall)


def make_next_life(node: WholeNode, folder: Path) -> Loop:
    """Another agent after the one that ended, with its memory."""
    ask, history = partial(acall, folder / "helper.sock"), History(folder / "history.db")
    return Loop(node.agent.config, run=node.bed.systemd.read, ask_helper=ask, history=history)  # type: ignore[attr-defined]


# --- clearing --------------------------------------------------------------------------------------------------------


def test_who_clears_a_node_clears_what_its_checks_hold_against_it(node: WholeNode, one: Made) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            lose_gpu(node)
            await node.until(lambda: get_status(node).ejected is not None)
            assert "xid.79" in get_codes(node)
            await node.ask("clear", reason="the card was changed")
            await node.until(lambda: "xid.79" not in get_codes(node))
            await node.until(lambda: get_status(node).ejected is None)
            lose_gpu(node, seq=2)  # what happens again is found again
            await node.until(lambda: "xid.79" in get_codes(node))

    asyncio.run(play())


def test_who_clears_a_node_resets_its_breaker(tmp_path: Path, signer: Signer, one: Made) -> None:
    async def play(node: WholeNode) -> None:
        async with ticking(node):
            await serve(node, one)
            lose_gpu(node)
            await node.until(lambda: "node.breaker" in get_codes(node))
            assert get_status(node).ejected is None
            await node.ask("clear", reason="looked at it")
            await node.until(lambda: not {"node.breaker", "xid.79"} & get_codes(node))
            await asyncio.sleep(1.0)  # what was cleared is not found once more with what was read before
            assert not {"node.breaker", "xid.79"} & get_codes(node)

    with make_node(tmp_path, signer, keep_serving=1) as node:
        node.bed.push(one)
        asyncio.run(play(node))


def test_the_agents_next_life_knows_what_was_cleared_meanwhile_and_clears_nothing_twice(
    node: WholeNode, one: Made, tmp_path: Path
) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            await node.ask("clear", reason="an older one")
            await asyncio.sleep(0.5)
            lose_gpu(node)
            await node.until(lambda: "xid.79" in get_codes(node))
        node.agent = make_next_life(node, tmp_path)
        async with ticking(node):
            await node.until(lambda: node.agent.status is not None)
            await asyncio.sleep(0.5)
            assert "xid.79" in get_codes(node)  # the older one is none of its business
        await node.ask("clear", reason="while no agent ran")
        node.agent = make_next_life(node, tmp_path)
        async with ticking(node):
            await node.until(lambda: node.agent.status is not None)
            assert "xid.79" not in get_codes(node)

    asyncio.run(play())


# --- maintenance -----------------------------------------------------------------------------------------------------


def test_in_maintenance_a_lost_gpu_is_shown_and_nothing_is_done_until_it_ends(
    node: WholeNode, one: Made, tmp_path: Path
) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            said = await node.ask("maintain", seconds=3600, reason="fans")
            assert "fans" in said["says"]
            await node.until(lambda: get_status(node).maintenance is not None)
            assert get_status(node).condition is Condition.MAINTENANCE
            [finding] = [found for found in get_status(node).findings if found.code == "node.maintenance"]
            assert finding.reason.startswith("maintenance until 20")
            lose_gpu(node)
            await node.until(lambda: "xid.79" in get_codes(node))
            node.slots["a"].kill()
            await asyncio.sleep(2.0)
            assert get_status(node).ejected is None
            node.slots["a"].run()
        node.agent = make_next_life(node, tmp_path)
        async with ticking(node):
            await node.until(lambda: node.agent.status is not None)
            await asyncio.sleep(2.0)
            maintenance = get_status(node).maintenance
            assert maintenance
            assert (maintenance.who, maintenance.reason) == ("kim", "fans")
            assert get_status(node).ejected is None
            said = await node.ask("maintain", end=True)
            assert "fans" in said["ended"]
            await node.until(lambda: get_status(node).maintenance is None)
            await node.until(lambda: get_status(node).ejected is not None)

    asyncio.run(play())


def test_a_maintenance_of_some_checks_holds_only_them(node: WholeNode, one: Made) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            await node.ask("maintain", seconds=3600, checks=["xid.*"])
            await node.until(lambda: get_status(node).maintenance is not None)
            lose_gpu(node)
            await node.until(lambda: "xid.79" in get_codes(node))
            await asyncio.sleep(1.0)
            assert get_status(node).ejected is None
            [item] = [one for one in read_checks(node).items if one.code == "xid.79"]
            assert item.is_finding
            assert "until" in item.held
            node.slots["a"].kill()
            await node.until(lambda: get_status(node).ejected is not None)

    asyncio.run(play())


def test_it_ends_by_itself(node: WholeNode, one: Made) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            await node.ask("maintain", seconds=2)
            await node.until(lambda: get_status(node).maintenance is not None)
            await node.until(lambda: get_status(node).maintenance is None)

    asyncio.run(play())


def test_its_metrics_say_that_it_is_meant(node: WholeNode, one: Made) -> None:
    def read() -> dict[str, float]:
        text = TestClient(build_app(node.agent)).get("/metrics").text
        rows = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = {f"{s.labels['code']} {s.labels['maintenance']}": s.value for s in rows if s.name == "dsops_finding"}
        return found | {s.name: s.value for s in rows if "maintenance" in s.name}

    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            lose_gpu(node)
            await node.until(lambda: "xid.79" in get_codes(node))
            assert read()["dsops_maintenance_until_timestamp_seconds"] == 0.0
            assert "xid.79 false" in read()
            said = await node.ask("maintain", seconds=3600)
            await node.until(lambda: get_status(node).maintenance is not None)
            assert read()["dsops_maintenance_until_timestamp_seconds"] == said["until"]
            assert "xid.79 true" in read()

    asyncio.run(play())


def test_a_file_that_is_none_is_said_and_counts_as_none(node: WholeNode, one: Made) -> None:
    async def play() -> None:
        async with ticking(node):
            await serve(node, one)
            (node.root / "state/maintenance.json").write_text("{")
            await node.until(lambda: "papers.unreadable" in get_codes(node))
            assert get_status(node).maintenance is None
            await node.ask("maintain", seconds=3600)
            await node.until(lambda: get_status(node).maintenance is not None)
            assert "papers.unreadable" not in get_codes(node)

    asyncio.run(play())


def test_whoever_else_asks_and_whatever_is_no_maintenance_is_refused(node: WholeNode) -> None:
    async def ask(**words: object) -> str:
        with pytest.raises(DsopsError) as caught:
            await node.ask("maintain", **words)
        return str(caught.value)

    assert "a maintenance of 0 s" in asyncio.run(ask(seconds=0))
    assert "a maintenance of 691200 s" in asyncio.run(ask(seconds=8 * 86400))
    assert "is no pattern" in asyncio.run(ask(seconds=60, checks=[""]))
    assert "patterns, 20 at most" in asyncio.run(ask(seconds=60, checks=["a"] * 21))
    assert "reason is missing" in asyncio.run(ask(seconds=60, reason=""))
    assert "no maintenance here to end" in asyncio.run(ask(end=True))
    node.operator.peer = Peer.AGENT
    assert "may not ask for maintain" in asyncio.run(ask(seconds=60))
    assert not (node.root / "state/maintenance.json").exists()


# --- what is normal --------------------------------------------------------------------------------------------------


def look(scene: Scene) -> Iterable[Sight]:
    wide = scene.baseline[KEY]
    verdict = Verdict.OK if WIDTHS[-1] >= wide else Verdict.BAD
    reason = "" if verdict is Verdict.OK else "fewer lanes than it had"
    yield Sight(WIDTH.code, "gpu0", verdict, f"{scene.ticks}", reason, WIDTHS[-1], wide)


def say_normal(_: Scene) -> Mapping[tuple[str, str], float]:
    return {KEY: WIDTHS[-1], ("gpu0", "odd"): float("nan")}


def need(scene: Scene) -> str:
    return "" if KEY in scene.baseline else "no baseline: `dsops baseline --freeze`"


WIDTHS = [16.0]
CHECK = Check("link", (WIDTH.code,), look, needs=need, normal=say_normal)


def read_checks(node: WholeNode) -> Checklist:
    answer = TestClient(build_app(node.agent)).get("/v1/checks")
    assert answer.status_code == 200
    return Checklist.from_json(answer.text, where="x")


def find_item(node: WholeNode) -> Item | None:
    return next((item for item in read_checks(node).items if item.code == WIDTH.code), None)


def test_what_is_frozen_is_what_checks_compare_with_from_then_on(node: WholeNode) -> None:
    node.agent.checkup = Checkup(RULES, checks=[CHECK])
    WIDTHS[:] = [16.0]

    async def play() -> None:
        async with ticking(node):
            await node.until(lambda: node.agent.status is not None)
            seen = read_checks(node)
            [link] = [check for check in seen.checks if check.name == "link"]
            assert (link.skipped, link.items) == ("no baseline: `dsops baseline --freeze`", ())
            assert seen.normal == (Number(*KEY, 16.0),)
            numbers = [{"entity": one.entity, "key": one.key, "value": one.value} for one in seen.normal]
            assert (await node.ask("freeze", numbers=numbers))["numbers"] == 1
            await node.until(lambda: find_item(node) is not None)
            WIDTHS.append(8.0)
            await node.until(lambda: bool((found := find_item(node)) and found.is_finding))
            item = find_item(node)
            assert item
            assert (item.value, item.limit, item.reason) == (8.0, 16.0, "fewer lanes than it had")
            assert (item.measure, item.source, item.mend) == (Measure.ALERT, "a test", WIDTH.mend)
            held = read_checks(node).baseline
            assert held
            assert (held.who, held.reason, held.values) == ("kim", "new", {KEY: 16.0})

    asyncio.run(play())
    assert (node.root / "state/baseline.json").stat().st_mode & 0o777 == 0o444
    assert list((node.root / "staging").iterdir()) == []


def test_a_baseline_of_nothing_is_refused_and_the_old_one_stays(node: WholeNode) -> None:
    async def play() -> None:
        number = {"entity": "gpu0", "key": "width", "value": 16.0}
        await node.ask("freeze", numbers=[number])
        before = (node.root / "state/baseline.json").read_text()
        for numbers in ([], [number, number], [number | {"value": "16"}]):
            with pytest.raises(DsopsError):
                await node.ask("freeze", numbers=numbers)
        assert (node.root / "state/baseline.json").read_text() == before
        assert json.loads(before)["who"] == "kim"

    asyncio.run(play())


def test_no_checks_are_told_before_the_first_tick(node: WholeNode) -> None:
    assert TestClient(build_app(node.agent)).get("/v1/checks").status_code == 503
