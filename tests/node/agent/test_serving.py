"""How the slots serve is sampled: their engines' pages, the gateway's counts, and dsops' own prompts."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from dsops.core.looks import Witness
from dsops.core.passport import Answered, Hardware, Passport, Run, RunKind, Seen
from dsops.core.prompts import Prompt
from dsops.core.release import Probe as Bounds
from dsops.core.samples import ReleaseTally, Samples, Tally
from dsops.core.status import Phase
from dsops.core.status import Slot as SlotStatus
from dsops.node.agent.config import AgentConfig, GatewayConfig
from dsops.node.agent.events import Now, Probe, Probed, ProbeLost
from dsops.node.agent.serving import WARM_SECONDS, Serving
from dsops.node.agent.snapshot import Snapshot
from dsops.node.sources.cgroups import Use
from dsops.node.sources.golden import Golden
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.host import Host
from dsops.node.sources.http import Answer, Failure
from dsops.node.sources.machine import Machine
from dsops.node.sources.passports import Papers, PassportsReader
from dsops.node.sources.probe import Heard
from dsops.node.sources.serving import FAILED, RELAYED, REQUESTS, SlotServing
from dsops.node.sources.slots import Ports, SlotAnswers
from dsops.node.sources.units import Unit
from dsops.node.sources.unread import Unread

from tests.node.sources.talker import talk

UNIT = "triton@a.service"
HERE = Hardware(("NVIDIA H100",))
PROMPT = Prompt("sum", "12+30?", ("42",), 4)
GOLDEN = Golden("r1", "tiny", Bounds(1, 1, 8), (PROMPT,))
RUN = Run(RunKind.WARM, 100.0)
PASSPORT = Passport(
    "r1", 1e9, "gpu9", HERE, "vllm", "", 8, 8, (RUN,), tuple(Answered(f"p{n}", (Seen("x", 1),)) for n in range(8))
)


@dataclass
class Node:
    """What a tick reads, as a test sets it; five seconds from one reading to the next."""

    folder: Path
    now: float = 1000.0
    release: str = "r1"
    page: Answer = field(default_factory=lambda: Answer(200, b"dsops_engine_generated_tokens_total 7\n"))
    gateway: Answer | None = None
    unit: Unit = field(default_factory=lambda: Unit(UNIT, "active", pid=5, started=1.0))
    machine: Machine = field(default_factory=lambda: Machine(uses={UNIT: Use(500)}))
    papers: Papers = field(default_factory=Papers)
    hardware: Hardware | None = HERE
    asked_hardware: int = 0

    def __post_init__(self) -> None:
        self.config = AgentConfig(
            "gpu1", "gpu", slots=(Ports("a", 1, 2),), gateway=GatewayConfig(str(self.folder / "gateway.sock"))
        )
        self.serving = Serving(self.config, ticks=lambda: self.now)
        self.serve(tokens=10)

    def serve(self, *, tokens: float | None, in_flight: int = 0) -> None:
        said = {"in_flight": in_flight, "slots": {"a": {"tokens": tokens}}}
        self.gateway = Answer(200, json.dumps(said).encode())

    def see(self, phase: Phase = Phase.SERVING, *, after: float = 5.0) -> SlotServing:
        self.now += after
        snapshot = Snapshot(
            at=1e9 + self.now,
            ticks=self.now,
            host=Host("b1", 1.0),
            units={UNIT: self.unit},
            slots={"a": SlotAnswers(Answer(200), Answer(200), self.page)},
            slot_releases={"a": self.release},
            stable_slot="a",
            gateway=self.gateway,
            gpus=Reading(Sweep.OK),
            passports={"r1": self.papers},
        )
        slots = (SlotStatus("a", self.release, "active", phase, ""),)
        seen = self.serving.see(slots, snapshot, machine=self.machine, hardware=self.find_hardware)
        [slot] = seen.slots
        return slot

    def find_hardware(self) -> Hardware | None:
        self.asked_hardware += 1
        return self.hardware

    def ask(self, heard: Heard, *, witness: Witness = Witness.SLOT, seconds: float = 1.0) -> None:
        """A whole probe. It begins with a tick."""
        probe = self.begin(witness)
        self.now += seconds
        self.end(probe, heard)

    def begin(self, witness: Witness = Witness.SLOT) -> Probe:
        probe = Probe(witness, "a", GOLDEN, PROMPT, 1, Now(self.now, 1e9))
        self.serving.begin(probe)
        return probe

    def end(self, probe: Probe, heard: Heard) -> None:
        self.serving.take(Probed(Now(self.now, 1e9), probe, heard))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


RIGHT = Heard("42", "stop", tokens=3, seconds=0.9, first_seconds=0.5, last_seconds=0.9, status=200)


def test_an_engines_page_and_the_gateways_tokens_are_counted(node: Node) -> None:
    assert node.see().told == {"generated": 7}
    node.page = Answer(200, b"dsops_engine_generated_tokens_total 9\ndsops_engine_waiting 2\n")
    node.serve(tokens=14)
    slot = node.see()
    assert slot.told == {"generated": 9, "waiting": 2}
    assert slot.totals.grown("generated", 60) == 2
    assert slot.totals.grown(RELAYED, 60) == 4
    node.page = Answer(200, b"")
    assert node.see().telling == {"generated", "waiting"}


def test_a_reading_is_made_every_few_seconds_and_not_with_each_tick(node: Node) -> None:
    first = node.see()
    node.page = Answer(200, b"")
    assert node.see(after=1.0) is first
    assert node.see(after=4.0).told == {}


def test_a_page_that_does_not_come_is_unread_and_what_it_told_is_remembered(node: Node) -> None:
    node.see()
    node.page = Answer(0, failure=Failure.TIMEOUT, reason="no answer in 0.8 s")
    slot = node.see()
    assert slot.told == Unread("its metrics page: no answer in 0.8 s")
    assert slot.totals.grown("generated", 60) == slot.told
    assert slot.telling == {"generated"}


def test_a_gateway_that_is_silent_is_told_elsewhere_and_one_that_says_no_tokens_is_unread(node: Node) -> None:
    node.serve(tokens=None)
    assert node.see().totals.unread.keys() >= {RELAYED}
    node.gateway = Answer(0, failure=Failure.REFUSED, reason="connection refused")
    assert not node.see().totals.unread


@pytest.mark.parametrize("tokens", ["Infinity", "NaN", '"many"'])
def test_a_gateway_that_says_no_number_breaks_no_tick(node: Node, tokens: str) -> None:
    node.gateway = Answer(200, b'{"in_flight": 0, "slots": {"a": {"tokens": %s}}}' % tokens.encode())
    assert RELAYED in node.see().totals.unread


def test_of_another_release_nothing_is_kept(node: Node) -> None:
    node.ask(RIGHT)
    assert node.see().answers
    node.release = "r2"
    slot = node.see()
    assert (slot.answers, slot.totals.grown("generated", 60)) == ((), None)


# --- clients' requests ------------------------------------------------------------------------------------------------


def count(requests: int, failed: int) -> bytes:
    samples = Samples("", 1e9, (ReleaseTally("r1", Tally(requests=requests, failed=failed)),))
    return b"HTTP/1.1 200 OK\r\n\r\n" + samples.to_json().encode()


def test_clients_requests_are_read_from_the_gateway_every_few_seconds(node: Node) -> None:
    async def story() -> tuple[SlotServing, int]:
        async with talk([count(40, 3)], [count(50, 5)], socket=node.folder / "gateway.sock") as gateway:
            await node.serving.read()
            await node.serving.read()
            node.see()
            await node.serving.read()
            return node.see(), len(gateway.asked)

    slot, asked = asyncio.run(story())
    assert asked == 2
    assert (slot.totals.grown(REQUESTS, 60), slot.totals.grown(FAILED, 60)) == (10, 2)


def test_what_the_gateway_does_not_count_is_unread(node: Node) -> None:
    asyncio.run(node.serving.read())  # nobody listens there
    slot = node.see()
    assert set(slot.totals.unread) == {REQUESTS, FAILED}
    assert "does not say what it counted" in slot.totals.unread[REQUESTS].reason


# --- dsops' own prompts -----------------------------------------------------------------------------------------------


def test_an_answer_is_kept_with_its_times_and_whether_it_was_right(node: Node) -> None:
    node.see()
    node.ask(RIGHT)
    node.ask(replace(RIGHT, text="rubbish"))
    node.ask(Heard(failure=Failure.TIMEOUT, error="no whole answer in 1 s"))
    right, wrong, none = node.see().answers
    assert (right.is_right, right.text, right.wanted) == (True, "42", 4)
    assert (right.per_token, right.first_token) == (pytest.approx(0.2), 0.5)
    assert (wrong.is_right, none.is_right) == (False, None)
    assert none.says == "no whole answer in 1 s"


def test_times_of_what_nobody_counted_or_what_did_not_end_are_not_known(node: Node) -> None:
    node.ask(replace(RIGHT, tokens=0))
    node.ask(replace(RIGHT, tokens=1))
    node.ask(replace(RIGHT, finish=""))
    assert [one.per_token for one in node.see().answers] == [None] * 3


def test_only_what_the_slot_itself_was_asked_is_an_answer(node: Node) -> None:
    node.ask(RIGHT, witness=Witness.GATEWAY)
    assert node.see().answers == ()


def test_it_is_alone_while_the_gateway_has_only_what_dsops_asks(node: Node) -> None:
    node.see()
    ours = node.begin(Witness.GATEWAY)
    node.serve(tokens=10, in_flight=1)
    node.ask(RIGHT)
    node.see(after=1.0)
    node.serving.take(ProbeLost(Now(node.now, 1e9), ours))
    node.serve(tokens=10)
    [alone] = node.see().answers
    assert alone.is_alone


def test_beside_a_client_it_is_not_alone_also_when_the_client_has_left_since(node: Node) -> None:
    node.see()
    probe = node.begin()
    node.serve(tokens=10, in_flight=1)
    node.see(after=1.0)
    node.serve(tokens=10)
    node.end(probe, RIGHT)
    [beside] = node.see().answers
    assert not beside.is_alone
    # And that stays, whoever comes later.
    node.ask(RIGHT)
    assert [one.is_alone for one in node.see().answers] == [False, True]
    node.serve(tokens=10, in_flight=3)
    assert [one.is_alone for one in node.see().answers] == [False, True]


def test_where_nobody_says_how_many_are_served_it_is_not_alone(node: Node) -> None:
    node.see()
    node.gateway = Answer(0, failure=Failure.REFUSED, reason="connection refused")
    node.ask(RIGHT)
    [one] = node.see().answers
    assert not one.is_alone


# --- passport and memory ----------------------------------------------------------------------------------------------


def test_the_passport_is_the_one_for_this_hardware(node: Node) -> None:
    assert node.see().passport is None
    node.papers = Papers((PASSPORT, replace(PASSPORT, made_at=2e9, hardware=Hardware(("NVIDIA T4",)))))
    assert node.see().passport == PASSPORT
    node.see()
    assert node.asked_hardware == 1
    node.hardware = Hardware(("NVIDIA A100",))
    assert node.see(after=60).passport is None


def test_a_passport_that_cannot_be_read_or_compared_is_unread(node: Node) -> None:
    node.papers = Papers((PASSPORT,), ("passport.json: not JSON",))
    assert node.see().passport == Unread("passport.json: not JSON")
    node.papers, node.hardware = Papers((PASSPORT,)), None
    assert node.see().passport == Unread("nobody can say what hardware this is")


def test_memory_counts_from_the_warm_up_of_one_process_on(node: Node) -> None:
    node.unit = replace(node.unit, started=node.now)
    assert node.see().memory.windows == ()
    node.now += WARM_SECONDS
    assert len(node.see().memory.windows) == 1
    node.machine = Machine(uses={UNIT: Unread("Input/output error")})
    slot = node.see(after=400)
    assert (slot.use, len(slot.memory.windows)) == (Unread("Input/output error"), 1)
    node.machine = Machine(uses={UNIT: Use(600)})
    assert len(node.see().memory.windows) == 2
    node.unit = replace(node.unit, pid=6, started=node.now)
    assert node.see().memory.windows == ()


def test_passports_are_read_again_only_when_something_came_or_went(tmp_path: Path) -> None:
    reader = PassportsReader(tmp_path)
    assert reader.read("r1") == Papers()
    (tmp_path / "passports").mkdir()
    file = tmp_path / "passports/r1.json"
    file.write_bytes(PASSPORT.render())
    first = reader.read("r1")
    assert first == Papers((PASSPORT,))
    assert reader.read("r1") is first
    (tmp_path / "passports/r1.two.json").write_text("rubbish")
    [damage] = reader.read("r1").damage
    assert "r1.two.json" in damage
    (tmp_path / "passports/r1.two.json").write_bytes(replace(PASSPORT, made_at=2e9).render())
    assert len(reader.read("r1").passports) == 2
