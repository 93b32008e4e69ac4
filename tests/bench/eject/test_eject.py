"""The bench's own parts: what counts as out, what is asked, what haproxy and nginx make of it, and the table."""

import asyncio
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.node.gateway.ask import parse_completion, parse_json

from tests.bench.eject import plain
from tests.bench.eject.__main__ import BUILD
from tests.bench.eject.asks import Front, Load, make_openai_front, make_triton_front, read_head, render_request
from tests.bench.eject.measure import Ask, Outcome, Span, find_ejected, find_shut, judge_ours, judge_peer
from tests.bench.eject.ours import DoorWatch
from tests.bench.eject.peers import NGINX, PEERS, READY, TCP, Pool, Programs, serving, write_configs
from tests.bench.eject.plain import FAULTS, FROZEN, KILLED, XID
from tests.bench.eject.rounds import find_strays, judge
from tests.bench.eject.table import CONTENDERS, OURS, find_trouble, render
from tests.ports import find_free_ports
from tests.triton_server import TritonServer

ILL = (Path(__file__).parents[2] / "live/ills/model.py").read_text()
GOOD = b'{"text_output": "From the right: "}'
SPAN = Span(onset=100.0, until=190.0)


def make_asks(*began: float, problem: str = "status 503", server: str = "") -> list[Ask]:
    return [Ask(at, at + 0.1, problem, server) for at in began]


# --- what counts as out ---


@pytest.mark.parametrize(
    ("hits", "ejected"),
    [
        ([], 0.0),
        ([99.0, 99.9], 0.0),
        ([100.5, 101.0, 101.5], 1.5),
        ([100.5, 101.0, 140.0], 1.0),  # nginx tries it again: it was out
        ([140.0], 0.0),
        ([100.0 + 0.5 * step for step in range(181)], None),
        ([100.0 + 0.5 * step for step in range(175)], 87.0),
    ],
)
def test_out_is_the_last_request_before_a_pause_that_no_turn_explains(hits: list[float], ejected: float | None) -> None:
    assert find_ejected(hits, SPAN) == ejected


def test_a_peer_has_not_ejected_a_server_whose_answers_are_still_used() -> None:
    asks = make_asks(*(100.0 + 0.5 * step for step in range(181)), problem="", server="gpu2")
    assert judge_peer(asks, SPAN, bad="gpu2") == Outcome(None, lost=0)
    assert judge_peer(asks, SPAN, bad="gpu1") == Outcome(0.0, lost=0)


def test_what_comes_after_it_was_out_is_told_apart_and_lost_all_the_same() -> None:
    asks = [*make_asks(99.95, 100.4, 100.9, 130.0, 195.0), *make_asks(100.2, problem="", server="gpu1")]
    outcome = judge_peer(asks, SPAN, bad="gpu2")
    assert outcome.ejected == pytest.approx(0.9)
    assert (outcome.lost, outcome.later) == (4, 1)


def test_of_dsops_the_later_of_door_and_last_loss_counts() -> None:
    asks = make_asks(100.1, 100.2)
    assert judge_ours(asks, replace(SPAN, shut=101.5)).ejected == 1.5
    assert judge_ours(asks, replace(SPAN, shut=100.15)).ejected == pytest.approx(0.2)
    assert judge_ours(asks, SPAN).ejected is None


def test_a_door_is_shut_when_it_stays_so() -> None:
    changes = [(90.0, True), (101.0, False), (102.0, True), (104.0, False)]
    assert find_shut(changes, since=100.0, now=106.0) is None
    assert find_shut(changes, since=100.0, now=107.5) == 104.0
    assert find_shut(changes, since=105.0, now=109.0) is None


def test_a_round_is_judged_way_by_way() -> None:
    asks = {(fault, peer): make_asks(100.5) for fault in FAULTS for peer in PEERS}
    spans = dict.fromkeys(FAULTS, replace(SPAN, shut=100.03))
    outcomes = judge(asks, make_asks(100.01), onsets=dict.fromkeys(FAULTS, 100.0), spans=spans)
    assert set(outcomes) == {(fault, contender) for fault in FAULTS for contender in CONTENDERS}
    assert outcomes[XID, NGINX] == Outcome(0.5, lost=1)
    assert outcomes[XID, OURS].ejected == pytest.approx(0.03)


def test_only_what_no_fault_explains_is_trouble() -> None:
    asks = [*make_asks(99.0), *make_asks(101.0, server="gpu2"), *make_asks(102.0, problem="wrong", server="gpu3")]
    told = find_strays({(XID, NGINX): asks}, onset=100.0)
    assert told == [f"{XID}: {NGINX}: status 503, of nobody", f"{XID}: {NGINX}: wrong, of gpu3"]


async def see_a_door_shut() -> tuple[float, float | None, float | None]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    door = DoorWatch(*server.sockets[0].getsockname()[:2])
    task = asyncio.create_task(door.run())
    await asyncio.sleep(0.2)
    open_still = await door.wait_shut(since=time.time() - 2.9, seconds=0.2)
    server.close()
    shut = time.time()
    found = await door.wait_shut(since=shut, seconds=30)
    task.cancel()
    return shut, found, open_still


@pytest.mark.slow
def test_a_door_that_refuses_is_seen_from_outside() -> None:
    shut, found, open_still = asyncio.run(see_a_door_shut())
    assert open_still is None
    assert found is not None
    assert found >= shut


# --- what is asked ---


def test_the_last_server_named_is_the_one_that_answered() -> None:
    assert read_head("HTTP/1.1 200 OK\r\nX-Server: 10.0.0.2:80, 10.0.0.3:80\r\n\r\n") == (200, "10.0.0.3:80")
    assert read_head("HTTP/1.0 503 Service Unavailable\r\n\r\n") == (503, "")


def test_the_gateway_takes_the_question(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "ca.pem").write_text(make_certificate(tmp_path))
    front = make_openai_front("127.0.0.1", 1, key_file=tmp_path / "key", ca_file=tmp_path / "ca.pem")
    head, _, body = render_request(front).partition(b"\r\n\r\n")
    assert b"Authorization: Bearer secret" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert parse_completion(parse_json(body)).prompt == front.body["prompt"]


def make_certificate(folder: Path) -> str:
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a",
    ]
    subprocess.run([*argv, "-keyout", folder / "k", "-out", folder / "c"], check=True, capture_output=True)
    return (folder / "c").read_text()


@pytest.mark.triton
def test_a_real_triton_answers_rightly_until_it_is_made_ill(tmp_path: Path) -> None:
    limits = {"context": 512, "max_tokens": 256, "queue": 32, "sequences": 32}
    with TritonServer(folder=tmp_path, limits=limits, model_files={"model.py": ILL}) as server:
        front = make_triton_front(server.http_port, names={})
        assert {ask.problem for ask in run_load(front, seconds=1)} == {""}
        (tmp_path / "cache/ill").write_text("wrong\n")
        assert all(ask.problem.startswith("wrong: ") for ask in run_load(front, seconds=1))


def run_load(front: Front, *, seconds: float) -> list[Ask]:
    async def run() -> list[Ask]:
        load = Load(front, rate=20)
        task = asyncio.create_task(load.run())
        await asyncio.sleep(seconds)
        return await load.end(task)

    asks = asyncio.run(run())
    assert asks
    return asks


def test_what_is_done_on_the_nodes_is_shell() -> None:
    for script in (plain.SET_UP, plain.MEND, plain.TAKE_AWAY):
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_each_fault_has_a_server_of_its_own_and_two_that_are_well() -> None:
    members = [plain.find_members(fault) for fault in FAULTS]
    assert len({one[plain.NODE] for one in members}) == len(FAULTS)
    assert len({(one["gpu1"], one["gpu3"]) for one in members}) == 1


# --- haproxy and nginx, with servers of our own ---


class Backend:
    """A server that can die, and can take connections and say nothing."""

    def __init__(self) -> None:
        self.frozen = False
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def die(self) -> None:
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            if self.frozen:
                await asyncio.sleep(3600)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD))
            await writer.drain()
        writer.close()


@pytest.fixture
def programs() -> Programs:
    if not (BUILD / "root").is_dir():
        pytest.skip("no haproxy and nginx: `make eject-times` fetches them")
    return Programs(BUILD / "root")


@pytest.fixture
def pools() -> dict[str, Pool]:
    first = find_free_ports(6)
    members = {"gpu1": "127.0.0.1:1", "gpu2": "127.0.0.1:2", "gpu3": "127.0.0.1:3"}
    return {
        name: Pool(name.replace(" ", "-"), members, {peer: first + at + n for n, peer in enumerate(PEERS)})
        for name, at in ((KILLED, 0), (FROZEN, 3))
    }


def test_the_configurations_are_taken_without_a_warning(
    programs: Programs, pools: dict[str, Pool], tmp_path: Path
) -> None:
    haproxy, nginx = write_configs(list(pools.values()), tmp_path)
    for argv in ([*programs.haproxy(haproxy), "-c"], [*programs.nginx(nginx), "-t"]):
        done = subprocess.run(argv, env=programs.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "warn" not in (done.stdout + done.stderr).lower()


SECONDS = 18.0  # a check that is not answered takes twice as long as one that is refused


async def try_peers(programs: Programs, pools: Mapping[str, Pool], folder: Path) -> dict[tuple[str, str], Outcome]:
    """A dead and a frozen server of three, watched for a while."""
    backends = {fault: [Backend(), Backend(), Backend()] for fault in pools}
    ready = {}
    for fault, pool in pools.items():
        addresses = [await one.start() for one in backends[fault]]
        ready[fault] = replace(pool, members=dict(zip(pool.members, addresses, strict=True)))
    with serving(programs, list(ready.values()), folder):
        loads = {
            (fault, peer): Load(make_triton_front(pool.ports[peer], names=pool.names), rate=12)
            for fault, pool in ready.items()
            for peer in PEERS
        }
        runs = {key: asyncio.create_task(load.run()) for key, load in loads.items()}
        await asyncio.sleep(2)
        onset = time.time()
        backends[KILLED][1].die()
        backends[FROZEN][1].frozen = True
        await asyncio.sleep(SECONDS)
        asks = {key: await load.end(runs[key]) for key, load in loads.items()}
    for key, these in asks.items():
        early = [one for one in these if one.ended < onset]
        assert {(one.problem, one.server) for one in early} == {("", name) for name in pools[key[0]].members}
    return {key: judge_peer(these, Span(onset, onset + SECONDS), bad="gpu2") for key, these in asks.items()}


@pytest.mark.slow
def test_dead_and_frozen_servers_are_told_as_haproxy_and_nginx_see_them(
    programs: Programs, pools: dict[str, Pool], tmp_path: Path
) -> None:
    outcomes = asyncio.run(try_peers(programs, pools, tmp_path))
    print(*outcomes.items(), sep="\n")
    for peer in (TCP, READY):
        ejected = outcomes[KILLED, peer].ejected
        assert ejected is not None
        assert ejected > 1
        assert outcomes[KILLED, peer].lost
    assert outcomes[KILLED, NGINX] == Outcome(0.0, lost=0)  # what is refused is passed on
    assert outcomes[FROZEN, TCP].ejected is None
    assert outcomes[FROZEN, READY].ejected is not None
    assert outcomes[FROZEN, NGINX].ejected is None  # it waits for 60 s
    assert outcomes[FROZEN, NGINX].lost > outcomes[FROZEN, READY].lost


# --- the table ---


def make_round(**seconds: float | None) -> dict[tuple[str, str], Outcome]:
    said = {OURS: 0.2, TCP: None, READY: 2.0, NGINX: 60.0} | seconds
    return {(fault, contender): Outcome(at, lost=3) for fault in FAULTS for contender, at in said.items()}


def test_the_table_says_how_many_times_faster_and_what_was_missed() -> None:
    rounds = [make_round(), make_round(), make_round() | {(KILLED, NGINX): Outcome(0.0, lost=0)}]
    said = render(rounds)
    assert "450.0x (450.0..450.0), meets 5x" in said
    assert "300.0x (0.0..300.0), meets 20x" in said
    assert "never" in said
    assert f"20x faster than {NGINX}: 4 of 4 faults; all met" in said
    assert find_trouble(rounds) == []


def test_a_goal_that_is_missed_is_told_as_missed() -> None:
    rounds = [make_round() | {(KILLED, NGINX): Outcome(0.0, lost=0)}]
    said = render(rounds)
    assert "0.0x (0.0..0.0), MISSES 20x" in said
    assert f"20x faster than {NGINX}: 3 of 4 faults; missed: {KILLED}" in said


def test_where_dsops_never_ejected_nothing_is_met() -> None:
    rounds = [make_round() | {(XID, OURS): Outcome(None, lost=9)}]
    assert f"5x faster than {TCP}: 3 of 4 faults; missed: {XID}" in render(rounds)
    assert find_trouble(rounds) == [f"round 1: {XID}: dsops never ejected it"]


def test_a_run_that_was_broken_off_at_once_says_that_nothing_was_measured() -> None:
    assert "not measured" in render([])
    assert "0 of 4 faults" in render([])
