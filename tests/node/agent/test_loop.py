"""The loop with real sockets, a real process, a real journal and a real database: what it sees, it does."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.state import Active, Held, Kind, Move, NodeState, Policy, Stage, Step
from dsops.core.status import NodeStatus, ReleaseState, Verdict
from dsops.node.agent.app import build_app
from dsops.node.agent.checklist import find_checklist
from dsops.node.agent.config import AgentConfig, GatewayConfig, GpuConfig, ProbeConfig
from dsops.node.agent.history import History
from dsops.node.agent.loop import Clock, Loop
from dsops.node.run import Done
from dsops.node.sources.slots import Ports
from dsops.node.store.disk import Disk
from dsops.node.store.journal import Journal, Record
from starlette.testclient import TestClient

from tests.node.agent.fake_node import FakeNode, run_node
from tests.node.agent.releases import make_release
from tests.node.sources.talker import END, HEAD, chunk, event


class Server:
    """One server around a loop. pid: of the process that stands for Triton; helper: what it was asked."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.release = make_release(folder)
        self.process = subprocess.Popen(["sleep", "60"])
        self.shown = {"ActiveState": "active", "SubState": "running", "Result": "success", "NRestarts": "0"}
        self.systemd_seconds = 0.0
        self.helper: list[tuple[str, dict[str, Any]]] = []
        self.obey: Callable[[str, dict[str, Any]], None] = lambda verb, words: None
        self.config = config
        self.seq = 0
        for name in ("slots", "lanes", "state"):
            (folder / name).mkdir()
        (folder / "slots/a").symlink_to(f"../releases/{self.release}")
        (folder / "lanes/l50").symlink_to("../slots/a")

    @property
    def active(self) -> Active:
        return Active(self.release, "a", time.time() - 60, Stage.BAKING)

    def write(self, state: NodeState, event: str = "activate") -> None:
        journal = Journal(self.folder, Disk())
        journal.load()
        self.seq += 1
        journal.append(Record(self.seq, time.time(), event, self.release, "says", "ann", state))

    def show(self, argv: Sequence[str]) -> Done:
        time.sleep(self.systemd_seconds)
        blocks = []
        for name in argv[4:]:
            pid = self.process.pid if name == "triton@a.service" and self.shown["ActiveState"] == "active" else 0
            fields = self.shown if name == "triton@a.service" else self.shown | {"ActiveState": "inactive"}
            started = f"{time.monotonic() * 1e6 - 1e7:.0f}"
            words = {"Id": name, "LoadState": "loaded", "MainPID": str(pid), **fields}
            words["ExecMainStartTimestampMonotonic"] = started
            blocks.append("\n".join(f"{key}={value}" for key, value in words.items()))
        return Done(0, "\n\n".join(blocks), "")

    async def ask_helper(self, verb: str, *, timeout: float, **words: Any) -> dict[str, Any]:
        self.helper.append((verb, words))
        await asyncio.sleep(0)
        self.obey(verb, words)
        return {"ok": True}

    @asynccontextmanager
    async def run(self, **node: Any) -> AsyncIterator[tuple[Loop, FakeNode]]:
        async with run_node(self.folder, **node) as fake:
            loop = self.make_loop(fake)
            ticks = asyncio.create_task(loop.run_ticks())
            try:
                await self.until(lambda: loop.status is not None and loop.status.verdict is Verdict.OK)
                yield loop, fake
            finally:
                ticks.cancel()
                await asyncio.gather(ticks, return_exceptions=True)
                await loop.close()
                self.process.kill()
                self.process.wait()

    def make_loop(self, fake: FakeNode, clock: Clock | None = None) -> Loop:
        config = AgentConfig(
            "gpu1",
            "gpu",
            state=str(self.folder),
            slots=(Ports("a", fake.port, fake.port), Ports("b", fake.port, fake.port)),
            gateway=GatewayConfig(str(fake.socket)),
            gpus=GpuConfig(expected=0),
            probe=ProbeConfig(every_seconds=0.2, retry_seconds=0.2),
            tick_seconds=0.1,
            answer_seconds=0.3,
            hold_seconds=0.0,
        )
        history = History(self.folder / "history.db")
        config = replace(config, **self.config)
        return Loop(config, run=self.show, policy=Policy(), ask_helper=self.ask_helper, history=history, clock=clock)

    async def until(self, holds: Callable[[], bool], *, within: float = 8.0) -> float:
        began = time.perf_counter()
        while not holds():
            assert time.perf_counter() - began < within
            await asyncio.sleep(0.002)
        return time.perf_counter() - began


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def play(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def test_a_killed_engine_is_out_of_traffic_before_the_next_tick_and_comes_back(server: Server) -> None:
    async def story() -> None:
        server.write(NodeState(active=server.active))
        async with server.run() as (loop, node):
            config, before = loop.config, loop.status
            loop.config = replace(config, tick_seconds=60)  # only the process's end can eject it in time
            await server.until(lambda: loop.status is not before)
            server.shown |= {"ActiveState": "activating", "SubState": "auto-restart", "Result": "signal"}
            server.shown |= {"ExecMainStatus": "9"}
            server.process.kill()
            await server.until(lambda: node.ejected is not None)
            loop.config = config
            loop._wake.set()
            assert node.ejected is not None
            assert node.ejected["who"] == "dsops-agent"
            await asyncio.sleep(0.3)
            await server.until(lambda: bool(loop.status and loop.status.ejected))
            server.process.wait()
            server.process = subprocess.Popen(["sleep", "60"])
            server.shown |= {"ActiveState": "active", "NRestarts": "1", "Result": "success"}
            await server.until(lambda: node.ejected is None)
            await server.until(
                lambda: bool(loop.history.find_stories(1) and loop.history.find_stories(1)[0]["outcome"])
            )
            client = TestClient(build_app(loop))
            why = client.get("/v1/why").json()
            assert "signal 9" in json.dumps(why)
            assert why["outcome"].startswith("it came back by itself")
            entries = client.get("/v1/history?limit=3").json()["entries"]
            assert entries[0]["kind"] == "done"
            assert client.get("/v1/history?limit=x").status_code == 400

    play(story())


@pytest.mark.slow
def test_wrong_answers_are_rolled_back_through_the_helper(server: Server) -> None:
    async def story() -> None:
        fallback = Active("r000000000001", "b", 1.0, Stage.KNOWN_GOOD)
        server.write(NodeState(active=server.active, fallbacks=(fallback,)))
        async with server.run() as (loop, node):
            node.mode = "wrong"
            await server.until(lambda: bool(server.helper), within=15)
            verb, words = server.helper[0]
            assert (verb, words["own"], words["lasting"], words["who"]) == ("rollback", True, True, "dsops-agent")
            assert loop.status is not None
            page = TestClient(build_app(loop)).get("/metrics").text
            bad = next(line for line in page.splitlines() if line.startswith("dsops_probe_bad_total"))
            assert float(bad.split()[1]) >= 3
            assert 'dsops_decision_blame{class="release"} 1.0' in page

    play(story())


def test_a_move_that_waits_for_its_proof_gets_it(server: Server) -> None:
    async def story() -> None:
        move = Move(Kind.ACTIVATE, server.release, "b", Step.PROVE, time.time(), "ann", "try")
        server.shown["ActiveState"] = "active"
        server.write(NodeState(active=server.active, slots=(Held("a", server.release), Held("b", server.release))))
        async with server.run() as (loop, _):
            shown = server.show

            def show_both(argv: Sequence[str]) -> Done:
                done = shown(argv)
                return replace(done, stdout=done.stdout.replace("ActiveState=inactive", "ActiveState=active"))

            loop._run = show_both
            server.write(replace(NodeState(active=server.active), move=move))
            await server.until(lambda: bool(server.helper))
            verb, words = server.helper[0]
            assert (verb, words["release"]) == ("proven", server.release)
            assert "3 of 3 golden answers right" in words["evidence"]
            assert loop.status is not None
            assert loop.status.move.startswith(f"activate of {server.release} in slot b by ann")

    play(story())


def test_a_step_that_nobody_finished_is_recovered(server: Server) -> None:
    async def story() -> None:
        move = Move(Kind.ACTIVATE, server.release, "b", Step.START, time.time(), "ann", "try")
        server.write(NodeState(active=server.active, move=move))
        async with server.run():
            assert server.helper == []
            await server.until(lambda: [verb for verb, _ in server.helper] == ["recover"])

    play(story())


def test_the_status_says_what_the_store_says(server: Server) -> None:
    async def story() -> None:
        fallback = Active("r000000000001", "b", 1.0, Stage.KNOWN_GOOD)
        server.write(NodeState(active=server.active, fallbacks=(fallback,), rollbacks=(5.0,), halted="no more"))
        async with server.run() as (loop, _):
            assert loop.status is not None
            status = NodeStatus.from_json(loop.status.to_json(), where="x")
            assert (status.release_state, status.slot) == (ReleaseState.BAKING, "a")
            assert status.baking_until == pytest.approx(time.time() + 1740, abs=20)
            assert (status.fallback, status.known_good) == ("r000000000001", ("r000000000001",))
            assert (status.halted, status.last_rollback_at) == ("no more", 5.0)
            assert "node.halted" in {finding.code for finding in status.findings}

    play(story())


@pytest.mark.slow
def test_a_helper_that_hangs_and_a_systemd_that_hangs_stop_no_tick(server: Server) -> None:
    async def story() -> None:
        move = Move(Kind.ACTIVATE, server.release, "b", Step.START, time.time(), "ann", "try")
        server.write(NodeState(active=server.active))
        async with server.run() as (loop, _):

            async def hang(verb: str, **words: Any) -> dict[str, Any]:
                server.helper.append((verb, words))
                await asyncio.sleep(60)
                return {}

            server.ask_helper = hang  # type: ignore[method-assign]
            server.write(NodeState(active=server.active, move=move))
            await asyncio.sleep(2.5)
            loop._units._seconds = 0.1
            server.systemd_seconds = 1.0
            seen: list[float] = []
            end = time.perf_counter() + 1.5
            while time.perf_counter() < end:
                assert loop.status is not None
                if not seen or loop.status.observed_at != seen[-1]:
                    seen.append(loop.status.observed_at)
                await asyncio.sleep(0.01)
            assert len(seen) > 4
            assert loop.status is not None
            assert "systemd" in loop.status.condition_reason

    play(story())


@pytest.mark.slow
def test_a_helper_that_refuses_is_an_answer(server: Server) -> None:
    async def story() -> None:
        def refuse(verb: str, words: dict[str, Any]) -> None:
            raise DsopsError("the store is in use")

        server.obey = refuse
        fallback = Active("r000000000001", "b", 1.0, Stage.KNOWN_GOOD)
        server.write(NodeState(active=server.active, fallbacks=(fallback,)))
        async with server.run() as (loop, node):
            node.mode = "wrong"
            await server.until(lambda: bool(server.helper), within=15)
            await server.until(lambda: any(e.kind == "failed" for e in loop.history.find_entries(50)))

    play(story())


def test_a_bug_in_the_watch_is_said_and_the_agent_goes_on(server: Server) -> None:
    async def story() -> None:
        server.write(NodeState(active=server.active))
        async with server.run() as (loop, _):
            assert loop.watch
            take, broken = loop.watch.take, [True]

            def fail(event: Any) -> Any:
                if broken[0]:
                    raise RuntimeError("a bug")
                return take(event)

            loop.watch.take = fail  # type: ignore[method-assign]
            await server.until(lambda: loop.status is not None and loop.status.condition == "blind")
            broken[0] = False
            await server.until(lambda: loop.status is not None and loop.status.condition == "ok")

    play(story())


def test_nothing_has_happened_is_said_so(tmp_path: Path) -> None:
    loop = Loop(AgentConfig("lb1", "lb", gpus=GpuConfig(expected=0)))
    client = TestClient(build_app(loop))
    assert client.get("/v1/why").status_code == 404
    assert "nothing has happened" in client.get("/v1/why").json()["reason"]
    assert client.get("/v1/history").json() == {"entries": [], "trouble": ""}


class Babbler(FakeNode):
    """Says one thing over and over, and tells of a queue."""

    async def answer(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> None:
        if path == "/metrics":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\ndsops_engine_waiting 3\n")
        else:
            await super().answer(writer, path, body)

    async def generate(self, writer: asyncio.StreamWriter, prompt: str, render: Any) -> None:
        writer.write(HEAD + chunk(event(**render("!" * 40, {"finish_reason": "stop"}))) + END)


def test_what_its_engine_says_over_and_over_is_told_beside_that_it_is_wrong(server: Server) -> None:
    """Ticks five seconds apart, on a clock that the test moves."""
    now = [1000.0]
    clock = Clock(wall=lambda: 1.8e9 + now[0], ticks=lambda: now[0])

    async def story() -> None:
        async with run_node(server.folder, make=Babbler) as fake:
            loop = server.make_loop(fake, clock)
            for _ in range(14):
                await loop.tick()
                await asyncio.sleep(0.05)
                now[0] += 5
            checklist = find_checklist(loop)
            assert checklist
            assert loop.status
            checks = {check.name: check for check in checklist.checks}
            [item] = checks["serving.garbage"].items
            assert (item.entity, item.verdict) == ("slot a", Verdict.BAD)
            assert "says one thing 40 times" in item.reason
            assert "serving.garbage" in {one.code for one in loop.status.findings}
            [queue] = checks["serving.queue"].items
            assert (queue.verdict, queue.value) == (Verdict.OK, 3.0)
            # The played gateway answers something else there.
            assert {item.verdict for item in checks["serving.errors"].items} == {Verdict.UNKNOWN}
            why = {name: check.skipped for name, check in checks.items() if check.skipped}
            assert "has a passport" in why["serving.speed"]
            assert "no engine here tells" in why["serving.kv_cache"]
            assert "no control group" in why["serving.memory_creep"]
            await loop.close()
        server.process.kill()
        server.process.wait()

    asyncio.run(story())
