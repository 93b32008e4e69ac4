"""`dsops node release measure`: several runs against a Triton that answers, with a real helper; and what it refuses."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware, Measurement, Run, RunKind, make_passport
from dsops.core.status import Proof
from dsops.node.cli import Door, node
from dsops.node.cli.passports import add_fits
from dsops.node.run import Done
from dsops.node.sources.slots import Ports

from tests.core.passports import CPU, H100, T4, make
from tests.core.test_status import make_status
from tests.node.agent.fake_node import FakeNode, run_node
from tests.node.helper.conftest import Talk, serving
from tests.node.sources.server import Canned, serve
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, make_release, make_root, make_signer

WHO = ("--who", "kim", "--reason", "a passport")
DRAINED = {"reason": "to measure", "who": "kim"}


@dataclass
class Answering(FakeNode):
    """Answers p0 to p7 with a0 to a7, and p0 in other words every second time."""

    times: int = 0

    async def generate(self, writer: asyncio.StreamWriter, prompt: str, render: Any) -> None:
        number = prompt.removeprefix("p")
        self.times += number == "0"
        text = "zero" if number == "0" and self.times % 2 == 0 else f"a{number}"
        end = {"finish_reason": "stop", "num_output_tokens": 8}
        self.plain_event(writer, render("wrong" if self.mode == "wrong" else text, end))

    def plain_event(self, writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
        body = f"data: {json.dumps(data)}\n\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def make_asked(count: int = 8) -> Made:
    """A release with so many golden prompts."""
    made = make_release()
    accepted = [["a0", "zero"], *([f"a{number}"] for number in range(1, count))]
    prompts = [{"id": f"p{n}", "prompt": f"p{n}", "accepted": accepted[n], "tokens": 8} for n in range(count)]
    content = json.dumps({"format": 1, "prompts": prompts}).encode()
    data = json.loads(made.manifest)
    data["files"]["prompts.json"] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Made(text.encode(), dict(made.files) | {"prompts.json": content})


@contextmanager
def answering(folder: Path) -> Iterator[Answering]:
    """A slot's Triton and a gateway, in a thread of their own."""
    ready, ended = threading.Event(), threading.Event()
    found: list[Answering] = []

    async def live() -> None:
        async with run_node(folder, make=Answering) as fake:
            found.append(fake)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield found[0]
    finally:
        ended.set()
        thread.join(5)


@dataclass
class Bench:
    """A node with its door."""

    bed: Bed
    talk: Talk
    fake: Answering
    signer: Signer
    agent: str = "127.0.0.1:1"
    hardware: Hardware | None = CPU

    def systemctl(self, argv: Any) -> Done:
        return Done(0, "Id=x\nLoadState=loaded\nActiveState=active\nMainPID=5\nNRestarts=0\n", "")

    def run(self, *words: str) -> Result:
        assert self.fake.socket
        door = Door(
            socket=self.fake.socket,
            agent=self.agent,
            helper=self.talk.path,
            store=self.bed.root / "store.toml",
            ports={slot: Ports(slot, self.fake.port, self.fake.port) for slot in "ab"},
            read_hardware=lambda: self.hardware,
            run=self.systemctl,
            audit=lambda line: None,
        )
        return CliRunner().invoke(node, ["release", *words], obj=door)

    def measure(self, *words: str) -> Measurement:
        done = self.run("measure", *WHO, *words)
        assert done.exit_code == 0, (done.output, done.exception)
        return decode(Measurement, json.loads(done.stdout.splitlines()[-1]), where="measure")

    def refuse(self, *words: str) -> DsopsError:
        done = self.run(*words, *WHO)
        assert isinstance(done.exception, DsopsError), (done.output, done.exception)
        return done.exception

    def serve(self, made: Made) -> Made:
        """The release has the traffic."""
        signed = self.signer.sign(made)
        self.talk.push(signed)
        self.talk.bring(signed.id)
        return signed


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def bench(tmp_path: Path, signer: Signer) -> Iterator[Bench]:
    bed = Bed(make_root(tmp_path / "store"), signer)
    (bed.root / "store.toml").write_text(f'namespace = "{NAMESPACE}"\nstate = "{bed.root}"\n')
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk, answering(tmp_path) as fake:
        yield Bench(bed, talk, fake, signer)


def test_on_a_drained_node_each_cold_run_starts_the_slot_afresh(bench: Bench) -> None:
    made = bench.serve(make_asked())
    bench.fake.drained = DRAINED
    bench.bed.systemd.asked.clear()
    measured = bench.measure("--cold", "2", "--warm", "2")
    assert (measured.release, measured.hardware) == (made.id, CPU)
    assert [run.kind for run in measured.runs] == [RunKind.COLD] * 2 + [RunKind.WARM] * 2
    assert all(run.tokens_per_second and run.tokens_per_second > 0 for run in measured.runs)
    assert [run.load_seconds is not None for run in measured.runs] == [True, True, False, False]
    assert bench.bed.systemd.asked.count("stop triton@a.service") == 2
    assert bench.bed.systemd.asked.count("restart triton@a.service") == 2
    seen = {one.prompt: {it.answer: it.times for it in one.seen} for one in measured.answers}
    assert (seen["p0"], seen["p1"]) == ({"a0": 2, "zero": 2}, {"a1": 4})
    passport = make_passport(measured, node="gpu1", engine="openvino", made_at=1.0)
    assert (passport.accepted, passport.prompts) == (8, 8)
    assert "dsops: restart slot by kim: cold run 2: a passport" in bench.bed.said


def proof_of(made: Made, **changes: Any) -> Proof:
    proof = Proof(made.id, 1.0, 8, 8, 2.5, 640.0, answers=(0,) * 8, cached=0.12345, quiet=True)
    return replace(proof, **changes)


@contextmanager
def telling(bench: Bench, proof: Proof | None) -> Iterator[None]:
    status = make_status(proof=proof).to_json().encode()
    with serve(Canned({"/v1/status": (200, status)})) as canned:
        bench.agent = f"127.0.0.1:{canned.port}"
        yield


def test_where_traffic_comes_the_proof_is_the_one_cold_run(bench: Bench) -> None:
    made = bench.serve(make_asked())
    bench.bed.systemd.asked.clear()
    with telling(bench, proof_of(made)):
        measured = bench.measure()
    assert measured.runs[0] == Run(RunKind.COLD, 640.0, 2.5, 0.123)
    assert [run.kind for run in measured.runs] == [RunKind.COLD, RunKind.WARM, RunKind.WARM]
    assert not [line for line in bench.bed.systemd.asked if "restart" in line or "stop" in line]


def test_a_rate_that_was_measured_beside_others_requests_is_left_out(bench: Bench) -> None:
    made = bench.serve(make_asked())
    with telling(bench, proof_of(made, quiet=False)):
        assert bench.measure("--warm", "1").runs[0].tokens_per_second is None


def test_a_load_that_nobody_watched_is_left_out_when_it_is_long(bench: Bench) -> None:
    made = bench.serve(make_asked())
    for watched, load in ((True, 300.0), (False, None)):
        with telling(bench, proof_of(made, load_seconds=300.0, watched=watched)):
            assert bench.measure("--warm", "1").runs[0].load_seconds == load


@pytest.mark.parametrize("proof", [None, {"release": "r0"}, {"answers": ()}])
def test_without_a_proof_that_says_enough_the_node_must_be_drained(bench: Bench, proof: dict[str, Any] | None) -> None:
    made = bench.serve(make_asked())
    with telling(bench, None if proof is None else proof_of(made, **proof)):
        error = bench.refuse("measure")
    assert "nobody kept what" in error.what
    assert "`dsops drain NODE" in error.mend
    assert bench.measure("--cold", "0", "--warm", "1").runs[0].kind is RunKind.WARM


def busy(bench: Bench) -> None:
    bench.fake.in_flight = cycle([2])


def wrong(bench: Bench) -> None:
    bench.fake.mode = "wrong"


def unknown(bench: Bench) -> None:
    bench.hardware = None


@pytest.mark.parametrize(
    ("words", "change", "says"),
    [
        (("--cold", "2"), lambda bench: None, "2 cold runs restart the slot, and traffic still comes here"),
        (("--cold", "0", "--warm", "0"), lambda bench: None, "no run at all was asked for"),
        (("--cold", "0"), busy, "warm run 1: other requests were in flight, so its token rate says nothing"),
        (("--cold", "0"), wrong, "warm run 1: 8 of 8 golden answers are wrong"),
        (("--cold", "0"), unknown, "nobody can say what hardware this is"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(
    bench: Bench, words: tuple[str, ...], change: Callable[[Bench], None], says: str
) -> None:
    bench.serve(make_asked())
    change(bench)
    error = bench.refuse("measure", *words)
    assert says in error.what
    assert error.mend


def test_nothing_is_measured_without_a_release_that_serves_or_with_too_few_prompts(bench: Bench) -> None:
    assert "no release has the traffic here" in bench.refuse("measure").what
    bench.serve(make_asked(5))
    assert "has 5 golden prompts, a passport wants 8 to 32" in bench.refuse("measure").what


def test_the_door_tells_the_helper_what_this_server_has(bench: Bench) -> None:
    signed = bench.signer.sign(make_asked())
    bench.talk.push(signed)
    bench.talk.bring_passports(signed, bench.signer.certify(make(release=signed.id)))
    error = bench.refuse("activate", signed.id)
    assert error.what == f"the passport of {signed.id} was made on 8 x NVIDIA H100, this node has Xeon, 2 cores"
    assert f"passport other: made on 8 x NVIDIA H100, this node has {CPU.says}" in bench.run("list").stdout
    assert bench.run("activate", signed.id, *WHO, "--without-passport").exit_code == 0
    bench.hardware = H100
    assert bench.run("list").stdout.rstrip().endswith("; passport")


def test_the_list_says_whether_a_passport_fits(bench: Bench) -> None:
    def judge(*passports: dict[str, Any], hardware: Hardware | None = CPU) -> tuple[str, str]:
        (one,) = add_fits({"releases": [{"passports": passports}]}, hardware)["releases"]
        return one["fit"], one["fit_says"]

    def told(hardware: Hardware | None, damage: str = "") -> dict[str, Any]:
        return {"hardware": vars(hardware) if hardware else None, "made_at": 1.0, "damage": damage}

    assert judge() == ("none", "")
    assert judge(told(CPU), told(None, "cut")) == ("fits", "for Xeon, 2 cores")
    assert judge(told(H100), told(None, "cut")) == ("damaged", "cut")
    other = "made on 8 x NVIDIA H100 and 4 x Tesla T4, this node has Xeon, 2 cores"
    assert judge(told(H100), told(T4)) == ("other", other)
    assert judge(told(H100), hardware=None) == ("", "")
    (one,) = add_fits({"releases": [{"passports": []}], "passport": "demanded"}, CPU)["releases"]
    assert (one["fit"], one["fit_says"]) == ("missing", "there is none, and this site demands one")
