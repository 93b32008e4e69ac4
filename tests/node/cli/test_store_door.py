"""The local door to the store: its verbs against a real helper, its answers, and who proves where no agent does."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware
from dsops.core.state import Move
from dsops.core.status import Phase, Proof, Verdict
from dsops.node.agent.prove import Refusal
from dsops.node.cli import Door, node

from tests.core.test_status import make_status
from tests.node.helper.conftest import Talk, serving
from tests.node.sources.server import Canned, serve
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, make_release, make_root, make_signer
from tests.node.test_cli import Gateway, run_gateway

WHO = ["--who", "kim", "--reason", "new"]


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@dataclass
class Bench:
    """A door to a running helper. agent: where one answers; nobody does by default."""

    bed: Bed
    talk: Talk
    agent: str = "127.0.0.1:1"
    proof: Callable[[Move], Proof | Refusal] = lambda move: Proof(move.release, 1.0, 8, 8, 2.0, 100.0)
    proved: list[str] = field(default_factory=list)
    now: float = 0.0
    on_sleep: Callable[[], None] = lambda: None

    def prove(self, move: Move, root: Path, gateway: Path) -> Proof | Refusal:
        assert root == self.bed.root
        self.proved.append(move.release)
        return self.proof(move)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def run(self, *words: str, input: bytes | None = None) -> Result:
        door = Door(
            socket=self.bed.root / "no-gateway",
            agent=self.agent,
            helper=self.talk.path,
            store=self.bed.root / "store.toml",
            prove=self.prove,
            read_hardware=lambda: Hardware(cpu="Xeon", cores=2),
            sleep=self.sleep,
            clock=lambda: self.now,
            audit=lambda line: None,
        )
        return CliRunner().invoke(node, list(words), obj=door, input=input)

    def ask(self, *words: str, input: bytes | None = None) -> Any:
        """The JSON of a verb that succeeds."""
        done = self.run(*words, input=input)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout.splitlines()[-1])  # stderr has whatever a server thread prints

    def refuse(self, *words: str, input: bytes | None = None) -> DsopsError:
        done = self.run(*words, input=input)
        assert isinstance(done.exception, DsopsError), done.output
        return done.exception

    def push(self, made: Made) -> Any:
        """As `dsops release push` does it over SSH."""
        for one in self.ask("release", "have", input=json.dumps(list(made.blobs)).encode())["missing"]:
            data = made.blobs[one["sha256"]][one["held"] :]
            words = ["release", "receive", one["sha256"], "--size", str(len(data)), "--offset", str(one["held"])]
            assert self.ask(*words, input=data)["whole"]
        said = {"manifest": made.manifest.decode(), "signature": made.signature.decode()}
        return self.ask("release", "admit", input=json.dumps(said).encode())


@pytest.fixture
def bench(tmp_path: Path, signer: Signer) -> Iterator[Bench]:
    bed = Bed(make_root(tmp_path / "store"), signer)
    (bed.root / "store.toml").write_text(f'namespace = "{NAMESPACE}"\nstate = "{bed.root}"\n')
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield Bench(bed, talk)


@pytest.fixture
def pair(signer: Signer) -> tuple[Made, Made]:
    return signer.sign(make_release("one")), signer.sign(make_release("two"))


def test_where_no_agent_answers_the_door_proves_by_itself(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    assert bench.push(one) == {"ok": True, "release": one.id, "new": True, "signer": "signer"}
    said = bench.ask("release", "activate", one.id, *WHO, "--wait", "60", "--json")
    assert said["state"]["active"]["release"] == one.id
    assert bench.proved == [one.id]
    entries = bench.ask("history", "--json")["entries"]
    assert [entry["kind"] for entry in entries[:2]] == ["switched", "proven"]
    assert "8 of 8 golden answers right" in entries[1]["says"]
    assert "proven at the door" in entries[1]["says"]


def test_a_release_that_is_refuted_exits_with_its_reason(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    bench.push(one)
    bench.proof = lambda move: Refusal("3 of 8 golden answers are wrong", lasting=True)
    error = bench.refuse("release", "activate", one.id, *WHO, "--wait", "60")
    assert error.what == f"{one.id} was refused: 3 of 8 golden answers are wrong"
    listed = bench.ask("release", "list", "--json")["releases"]
    assert (listed[0]["state"], listed[0]["bad"]) == ("bad", "3 of 8 golden answers are wrong")
    assert "bad      " in bench.run("release", "list").output
    bench.ask("release", "unmark-bad", one.id, *WHO, "--json")
    bench.proof = Bench.proof
    assert "has the traffic" in bench.run("release", "activate", one.id, *WHO, "--wait", "60").output


def test_an_agent_that_takes_the_move_up_is_waited_for(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    bench.push(one)
    status = make_status(move=f"activate of {one.id}").to_json().encode()
    looks = []

    def prove_by_agent() -> None:
        looks.append(1)
        if len(looks) == 20:
            bench.talk("proven", release=one.id, evidence="by the agent")

    bench.on_sleep = prove_by_agent
    with serve(Canned({"/v1/status": (200, status)})) as agent:
        bench.agent = f"127.0.0.1:{agent.port}"
        assert bench.ask("release", "activate", one.id, *WHO, "--wait", "60", "--json")["ok"]
    assert bench.proved == []


@pytest.mark.parametrize("version", [1, 2])
def test_an_agent_that_does_not_take_the_move_up_counts_as_none(
    bench: Bench, pair: tuple[Made, Made], version: int
) -> None:
    one, _ = pair
    bench.push(one)
    status = replace(make_status(move=""), version=version).to_json().encode()
    with serve(Canned({"/v1/status": (200, status)})) as agent:
        bench.agent = f"127.0.0.1:{agent.port}"
        bench.ask("release", "activate", one.id, *WHO, "--wait", "60", "--json")
    assert bench.proved == [one.id]


def test_when_the_time_is_over_it_says_how_to_go_on(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    bench.push(one)
    error = bench.refuse("release", "activate", one.id, *WHO, "--wait", "1")
    assert "has no traffic after 1 s: activate of" in error.what
    assert "dsops node rollback" in error.mend


def test_somebody_who_proves_quicker_is_no_error(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    bench.push(one)

    def late(move: Move) -> Proof:
        bench.talk("proven", release=move.release, evidence="by the agent")
        return Proof(move.release, 1.0, 8, 8, 2.0, 100.0)

    bench.proof = late
    assert bench.ask("release", "activate", one.id, *WHO, "--wait", "60", "--json")["ok"]


def test_a_rollback_to_a_warm_slot_is_told_with_its_seconds(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair)
    done = bench.run("rollback", *WHO)
    assert done.output.startswith(f"{pair[0].id} has the traffic (0.")


def test_a_rollback_that_must_load_is_proven_at_the_door_without_an_agent(
    bench: Bench, pair: tuple[Made, Made]
) -> None:
    bring(bench, pair)
    bench.bed.systemd.since.pop("triton@a.service")
    bench.proved.clear()
    said = bench.ask("rollback", *WHO, "--json")
    assert bench.proved == [pair[0].id]
    assert said["state"]["active"]["release"] == pair[0].id


def test_a_rollback_whose_target_fails_says_so(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair)
    bench.bed.systemd.since.pop("triton@a.service")
    bench.proof = lambda move: Refusal("did not load")
    error = bench.refuse("rollback", *WHO, "--wait", "60")
    assert "the way back failed: did not load" in error.what
    assert bench.bed.serves() == ("b", pair[1].id)
    assert bench.ask("clear", *WHO, "--json")["state"]["halted"] == ""


def bring(bench: Bench, pair: tuple[Made, ...]) -> None:
    for made in pair:
        bench.push(made)
        bench.ask("release", "activate", made.id, *WHO, "--wait", "60", "--json")


@dataclass
class Dying:
    """An audit log over which the helper dies after it did what was asked, before it answers."""

    lives: int = 0

    def append(self, line: str) -> None:
        self.lives -= 1
        if self.lives < 0:
            self.lives = 1 << 30
            raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_helper_that_dies_over_a_move_goes_on_with_it(bench: Bench, pair: tuple[Made, Made]) -> None:
    for made in pair:
        bench.push(made)
    for words in (["release", "activate", pair[0].id], ["release", "activate", pair[1].id], ["rollback"]):
        bench.bed.said = Dying()  # type: ignore[assignment]
        with serving(bench.bed.desk(), bench.bed.root / "mortal") as bench.talk:
            assert bench.ask(*words, *WHO, "--wait", "60", "--json")["ok"]
    assert bench.bed.serves() == ("a", pair[0].id)


def test_a_fleets_epoch_goes_along_and_an_older_one_is_refused(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, _ = pair
    bench.push(one)
    epoch = ["--epoch", "7", "--holder", "east"]
    bench.ask("release", "activate", one.id, *WHO, *epoch, "--wait", "60", "--json")
    error = bench.refuse("rollback", *WHO, "--epoch", "6", "--holder", "east")
    assert "epoch 6 is older than 7" in error.what
    said = bench.ask("adopt", "--epoch", "2", "--holder", "west", *WHO, "--json")
    assert said["state"]["epoch"] == {"number": 2, "holder": "west"}
    assert said["was"] == {"number": 7, "holder": "east"}


def test_the_other_verbs_do_what_they_say(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair)
    assert bench.run("restart", *WHO).output == "the slot was restarted\n"
    assert bench.run("recover").output == "nothing is left undone\n"
    bench.ask("rollback", *WHO, "--json")
    assert "stays out" in bench.run("release", "confirm-bad", pair[1].id, *WHO).output
    error = bench.refuse("release", "remove", pair[0].id, *WHO)
    assert "in use" in error.what
    assert "adopt" in node.commands["release"].commands  # type: ignore[attr-defined]
    lines = bench.run("history", "-n", "3").output.splitlines()
    assert len([line for line in lines if "(kim)" in line or "(dsops)" in line]) == 3


def test_a_canary_comes_in_grows_and_takes_over(bench: Bench, pair: tuple[Made, Made]) -> None:
    one, two = pair
    bring(bench, (one,))
    bench.push(two)
    words = [two.id, *WHO, "--epoch", "7", "--holder", "east", "--wait", "60"]
    assert bench.run("release", "activate", *words, "--share", "1").output == f"{two.id} has 1 % of the traffic\n"
    listed = bench.run("release", "list").output
    assert f"{two.id}  canary   slot b" in listed
    assert "; 1 % of the traffic" in listed
    assert "; 99 % of the traffic" in listed
    said = bench.ask("release", "widen", *words, "--share", "25", "--json")
    assert (said["state"]["move"]["step"], said["state"]["move"]["share"]) == ("canary", 25)
    error = bench.refuse("release", "widen", *words, "--share", "25")
    assert "has 25 % already" in error.what
    error = bench.refuse("release", "widen", two.id, *WHO, "--share", "50", "--epoch", "6", "--holder", "east")
    assert "epoch 6 is older than 7" in error.what
    assert bench.run("release", "widen", *words).output == f"{two.id} has the traffic\n"
    assert bench.bed.serves() == ("b", two.id)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": Verdict.BAD}, "it fails its checks"),
        ({"ejected": "5 of 5 golden answers are wrong"}, "golden answers are wrong"),
        ({"phase": Phase.STOPPED, "phase_reason": "triton@a is failed"}, "triton@a is failed"),
        ({"phase": Phase.LOADING}, "loading"),
    ],
)
def test_no_canary_comes_in_beside_what_does_not_serve(
    bench: Bench, pair: tuple[Made, Made], changes: dict[str, Any], says: str
) -> None:
    one, two = pair
    bring(bench, (one,))
    bench.push(two)
    well = {"release": one.id, "ejected": None, "verdict": Verdict.OK, "phase": Phase.SERVING}
    with serve(Canned({"/v1/status": (200, make_status(**well | changes).to_json().encode())})) as agent:
        bench.agent = f"127.0.0.1:{agent.port}"
        error = bench.refuse("release", "activate", two.id, *WHO, "--share", "1")
        assert f"{one.id} does not serve here" in error.what
        assert says in error.what
        assert "without --share" in error.mend
        assert bench.bed.desk().moves.read()[0].move is None
    with serve(Canned({"/v1/status": (200, make_status(**well).to_json().encode())})) as agent:
        bench.agent = f"127.0.0.1:{agent.port}"
        assert bench.ask("release", "activate", two.id, *WHO, "--share", "1", "--json")["state"]["move"]


def test_a_canary_is_taken_back_by_rollback(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair[:1])
    bench.push(pair[1])
    bench.ask("release", "activate", pair[1].id, *WHO, "--share", "5", "--wait", "60", "--json")
    error = bench.refuse("release", "activate", pair[1].id, *WHO)
    assert "step canary" in error.what
    assert "widen" in error.mend
    assert bench.run("rollback", *WHO).output.startswith(f"{pair[0].id} has the traffic (0.")
    assert bench.bed.serves() == ("a", pair[0].id)


def test_no_share_but_those_of_the_lanes_can_be_asked_for(bench: Bench, pair: tuple[Made, Made]) -> None:
    done = bench.run("release", "widen", pair[0].id, *WHO, "--share", "10")
    assert done.exit_code == 2
    assert "'1', '5', '25', '50', '100'" in done.output


def test_alone_a_release_comes_in_only_where_the_traffic_is_away(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair[:1])
    bench.push(pair[1])
    words = ["release", "activate", pair[1].id, *WHO, "--alone", "--wait", "60"]
    assert "no gateway runs" in bench.refuse(*words).what
    with run_gateway(Gateway(bench.bed.root / "no-gateway")) as gateway:
        error = bench.refuse(*words)
        assert "traffic still comes here" in error.what
        assert "dsops drain" in error.mend
        assert bench.bed.serves() == ("a", pair[0].id)
        gateway.drained = {"reason": "rollout", "who": "kim"}
        assert bench.run(*words).output == f"{pair[1].id} has the traffic\n"
    assert set(bench.bed.systemd.since) == {"triton@b.service"}


def test_traffic_is_not_let_in_while_nothing_would_answer(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair[:1])
    bench.push(pair[1])
    with run_gateway(Gateway(bench.bed.root / "no-gateway", drained={"reason": "rollout", "who": "kim"})) as gateway:
        bench.ask("release", "activate", pair[1].id, *WHO, "--alone", "--json")
        error = bench.refuse("undrain", "--who", "kim")
        assert error.what == f"nothing would answer: {pair[1].id} comes in alone here (step prove)"
        assert "rollback" in error.mend
        assert gateway.drained
        bench.talk("proven", release=pair[1].id, evidence="8 of 8")
        assert bench.run("undrain", "--who", "kim").exit_code == 0
        assert not gateway.drained


def test_refuted_alone_the_old_one_is_proven_and_the_refusal_told(bench: Bench, pair: tuple[Made, Made]) -> None:
    bring(bench, pair[:1])
    bench.push(pair[1])
    good = bench.proof
    bench.proof = lambda move: Refusal("wrong") if move.release == pair[1].id else good(move)
    with run_gateway(Gateway(bench.bed.root / "no-gateway", drained={"reason": "rollout", "who": "kim"})):
        error = bench.refuse("release", "activate", pair[1].id, *WHO, "--alone", "--wait", "60")
    assert error.what == f"{pair[1].id} was refused: wrong"
    assert bench.proved[-2:] == [pair[1].id, pair[0].id]
    assert bench.ask("release", "list", "--json")["damage"] == []
    assert bench.bed.systemd.since.keys() == {"triton@a.service"}
    assert bench.talk("state")["state"]["move"] is None


@pytest.mark.parametrize(
    ("words", "content", "says"),
    [
        (["release", "have"], b"nonsense", "is not JSON"),
        (["release", "have"], b"{}", "should be a list"),
        (["release", "admit"], b'{"manifest": "{}", "other": 1}', "unknown key 'other'"),
        (["release", "admit"], b"{}", "manifest is missing"),
        (["release", "receive", "xyz", "--size", "1"], b"x", "is no sha256"),
    ],
)
def test_nonsense_on_standard_input_is_refused_in_words(
    bench: Bench, words: list[str], content: bytes, says: str
) -> None:
    assert says in bench.refuse(*words, input=content).what


def test_why_is_the_agents_story_or_says_that_there_is_none(bench: Bench) -> None:
    assert "the agent does not answer" in bench.refuse("why").what
    with serve(Canned({"/v1/why": (404, b'{"reason": "nothing was decided yet"}')})) as agent:
        bench.agent = f"127.0.0.1:{agent.port}"
        assert bench.run("why").output == "nothing was decided yet\n"
        assert bench.ask("why", "--json") == {"reason": "nothing was decided yet"}


def test_without_an_agent_the_history_is_the_journals(bench: Bench) -> None:
    entries = bench.ask("history", "--json")["entries"]
    assert [entry["kind"] for entry in entries] == ["begin"]
    assert entries[0]["seq"] == 1


def test_a_helper_that_is_not_there_says_what_to_start(bench: Bench) -> None:
    bench.talk.path = bench.bed.root / "nowhere"
    assert "dsops-helper.socket" in bench.refuse("release", "list").mend
