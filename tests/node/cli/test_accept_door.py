"""`dsops node accept` and `certify`: refused on a node that serves; and the gate from the words typed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.core.accept.certificate import Demand, certify
from dsops.core.accept.measured import parse_measurement
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware
from dsops.node.accept.measure import Tools
from dsops.node.cli import Door, node
from dsops.node.sources.hardware import read_uuids

from tests.core.accept.nodes import RULES, make
from tests.node.accept.test_measure import tools  # noqa: F401 - a fixture
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, make_release, make_root, make_signer
from tests.node.test_cli import Gateway, run_gateway

WHO = ("--who", "kim", "--reason", "new")
UUIDS = ("GPU-a-0", "GPU-a-1")
HARDWARE = Hardware(("NVIDIA H100",) * 2, "EPYC", 96)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@dataclass
class Bench:
    """A node of a site that demands certificates, with its door."""

    bed: Bed
    talk: Talk
    signer: Signer
    tools: Tools
    uuids: tuple[str, ...] | None = UUIDS
    gateway: Path = Path("/nonexistent/gateway.sock")

    def run(self, *words: str, given: bytes = b"") -> Result:
        door = Door(
            socket=self.gateway,
            agent="127.0.0.1:1",
            helper=self.talk.path,
            store=self.bed.root / "store.toml",
            read_hardware=lambda: HARDWARE,
            read_uuids=lambda: self.uuids,
            measures=lambda made: replace(self.tools, read_disk=made.read_disk),
            audit=lambda line: None,
            sleep=lambda seconds: None,
        )
        return CliRunner().invoke(node, list(words), obj=door, input=given)

    def done(self, *words: str, given: bytes = b"") -> str:
        result = self.run(*words, given=given)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def refused(self, *words: str, given: bytes = b"") -> DsopsError:
        result = self.run(*words, given=given)
        assert isinstance(result.exception, DsopsError), (result.output, result.exception)
        return result.exception

    def push(self) -> Made:
        made = self.signer.sign(make_release("one"))
        self.talk.push(made)
        return made

    def paper(self) -> bytes:
        one = certify(make(), RULES, node="gpu1", who="kim", made_at=1.7e9)
        text = one.render()
        return json.dumps({"text": text.decode(), "signature": self.signer.sign_bytes(text).decode()}).encode()


@pytest.fixture
def bench(tmp_path: Path, signer: Signer, tools: Tools) -> Iterator[Bench]:  # noqa: F811 - the fixture
    bed = Bed(make_root(tmp_path / "store"), signer, settings={"certificate": Demand.REQUIRED})
    lines = {"namespace": NAMESPACE, "state": str(bed.root), "certificate": "required"}
    (bed.root / "store.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield Bench(bed, talk, signer, replace(tools, config=replace(tools.config, storage_mib=8)))


def test_a_fresh_node_measures_itself_and_reads_its_own_disk(bench: Bench) -> None:
    measured = parse_measurement(bench.done("accept", "--json", "--address", "10.0.0.11"), where="x")
    assert len(measured.gpus) == 2
    assert {"product_rate", "storage_read"} & {one.name for one in (*measured.figures, *measured.gaps)}
    assert list((bench.bed.root / "staging").iterdir()) == []


def test_a_person_at_the_console_gets_lines_and_a_verdict_by_the_catalog(bench: Bench) -> None:
    result = bench.run("accept")
    assert result.exit_code in (1, 2), result.output
    assert "PASS     GPU 0  memory keeps what is written" in result.stdout
    assert "by the catalog's floors alone" in result.stdout


def activate(bench: Bench, release: str) -> None:
    bench.talk("activate", release=release, who="kim", reason="x", uncertified=True)
    bench.talk("proven", release=release, evidence="x")


def test_a_node_that_serves_is_not_measured_unless_it_is_drained(bench: Bench, tmp_path: Path) -> None:
    made = bench.push()
    activate(bench, made.id)
    with run_gateway(Gateway(tmp_path / "gateway.sock")) as gateway:
        bench.gateway = gateway.socket
        error = bench.refused("accept", "--json")
        assert error.what == f"{made.id} serves here, and an acceptance takes the whole of the GPUs"
        assert "--while-serving" in error.mend
        light = parse_measurement(bench.done("accept", "--json", "--while-serving"), where="x")
        assert not {"memory_read", "storage_read"} & {one.name for one in light.figures}
        gateway.drained = {"reason": "to measure", "who": "kim"}
        assert parse_measurement(bench.done("accept", "--json"), where="x").figures


def test_the_gate_from_the_words_typed(bench: Bench) -> None:
    made = bench.push()
    error = bench.refused("release", "activate", made.id, *WHO)
    assert error.what == "this node may not serve yet: it has no certificate"
    assert json.loads(bench.done("certify", *WHO, given=bench.paper()))["verdict"] == "pass"
    bench.uuids = ("GPU-a-0", "GPU-new")
    assert "GPU-new is new here" in bench.refused("release", "activate", made.id, *WHO).what
    bench.uuids = None
    assert "nobody can say which GPUs" in bench.refused("release", "activate", made.id, *WHO).what
    bench.uuids = UUIDS
    assert made.id in bench.done("release", "activate", made.id, *WHO)


def test_a_person_may_force_it_and_the_audit_has_that(bench: Bench) -> None:
    made = bench.push()
    bench.done("release", "activate", made.id, "--uncertified", *WHO)
    assert bench.bed.said[-1] == f"dsops: activate {made.id} without a certificate by kim: new"


@pytest.mark.parametrize("given", [b"", b"[]", b'{"text": "x"}', b'{"text": "x", "signature": "y", "more": 1}'])
def test_what_is_no_certificate_is_refused_at_the_door(bench: Bench, given: bytes) -> None:
    assert "the certificate" in bench.refused("certify", *WHO, given=given).what


def test_over_ssh_both_verbs_run_through_the_operators_key(bench: Bench) -> None:
    asked = bench.run("--ssh", "--asked", "dsops node accept --json --while-serving")
    assert asked.exit_code == 0, (asked.output, asked.exception)
    assert "certify" in node.commands


def test_which_gpus_there_are_is_unknown_when_one_is_lost_or_the_driver_is_silent(tmp_path: Path) -> None:
    def ask(said: dict[str, Any]) -> tuple[str, ...] | None:
        code = f"import sys\nsys.stdin.readline()\nprint({json.dumps(said)!r}, flush=True)\nsys.stdin.readline()"
        return read_uuids(argv=(__import__("sys").executable, "-c", code), agent=tmp_path / "none")

    gpu = {"index": 0, "name": "H100", "uuid": "GPU-0", "temperature_c": 1, "power_w": 1.0}
    gpu |= {"memory_used_bytes": 1, "memory_total_bytes": 1, "utilization_percent": 1}
    assert ask({"sweep": "ok", "gpus": [gpu]}) == ("GPU-0",)
    assert ask({"sweep": "ok", "gpus": [gpu], "lost": [{"index": 1, "reason": "x"}]}) is None
    assert ask({"sweep": "error", "reason": "x"}) is None
    assert ask({"sweep": "absent", "reason": "no driver"}) == ()
    (tmp_path / "agent.toml").write_text("[gpus]\nexpected = 0\n")
    assert read_uuids(argv=("false",), agent=tmp_path / "agent.toml") == ()
