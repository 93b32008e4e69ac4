"""A passport of the real model on a real Triton: measured at the door, signed, brought, demanded."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.bundle.release import build_release
from dsops.core.decode import decode
from dsops.core.passport import Hardware, Measurement, Passport, Run, RunKind, make_passport
from dsops.core.state import Kind, Move, Step
from dsops.core.status import Proof
from dsops.node.agent.prove import Refusal, prove
from dsops.node.cli import Door, node
from dsops.node.cli.proving import make_proving
from dsops.node.run import Done
from dsops.node.sources.passports import find_demand
from dsops.node.sources.slots import Ports

from tests.node.cli.test_measure import answering
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, Systemd, make_root, make_signer
from tests.ports import find_free_ports
from tests.triton_server import ROOT, START, ensure_engine, ensure_runtime

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]
HERE = Hardware((), "a test's CPU", 2)


def lives(group: int) -> bool:
    """Whether a process of that group has not ended yet: a dead leader waits for its threads, which map its memory."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            state, pgrp, threads = fields[0], int(fields[2]), int(fields[17])
            if pgrp == group and (state not in "ZX" or threads > 1):
                return True
    return False


@dataclass
class Units(Systemd):
    """systemd, whose triton@a is a real Triton."""

    models: Path = Path()
    port: int = 0
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0

    def do_restart(self, unit: str) -> None:
        self.do_stop(unit)
        with self.models.with_name("triton.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", START, "a"], env=os.environ | self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.started = time.monotonic()
        super().do_restart(unit)

    def do_stop(self, unit: str) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            while lives(self.process.pid):  # a stub that still maps the model keeps it in memory
                time.sleep(0.02)
            self.process = None
        super().do_stop(unit)

    def show(self, argv: Sequence[str]) -> Done:
        """As the door asks."""
        pid = self.process.pid if self.process else 0
        state = "active" if pid else "inactive"
        lines = ("Id=x", "LoadState=loaded", f"ActiveState={state}", f"MainPID={pid}", "NRestarts=0")
        return Done(0, "\n".join([*lines, f"ExecMainStartTimestampMonotonic={int(self.started * 1e6)}"]), "")


@dataclass
class Node:
    """A store with the real release, which has the traffic, and a gateway that says it is drained."""

    bed: Bed
    talk: Talk
    units: Units
    socket: Path
    release: str
    signer: Signer

    @property
    def ports(self) -> Ports:
        return Ports("a", self.units.port, self.units.port + 2)

    def measure(self, *words: str) -> Measurement:
        door = Door(
            socket=self.socket,
            agent="127.0.0.1:1",
            helper=self.talk.path,
            store=self.bed.root / "store.toml",
            ports={"a": self.ports},
            read_hardware=lambda: HERE,
            run=self.units.show,
        )
        who = ("--who", "kim", "--reason", "a passport")
        done = CliRunner().invoke(node, ["release", "measure", *words, *who], obj=door)
        assert done.exit_code == 0, (done.output, done.exception)
        return decode(Measurement, json.loads(done.stdout.splitlines()[-1]), where="measure")

    def prove(self, kind: Kind = Kind.ACTIVATE) -> Proof | Refusal:
        """As the agent does it when the release comes in."""
        move = Move(kind, self.release, "a", Step.PROVE, 1.0, "kim", "new")
        proving = make_proving(
            self.release, self.ports, root=self.bed.root, gateway=self.socket, hardware=HERE, run=self.units.show
        )
        demand = find_demand(self.bed.root, move, HERE)
        return asyncio.run(prove(replace(proving, passport=demand, pause=0.05)))

    def bring(self, passport: Passport) -> None:
        own = self.bed.desk().releases.read_own(self.release)
        made = Made(own.manifest, {}, own.signature)
        self.talk.bring_passports(made, self.signer.certify(passport))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    runtime, engine = ensure_runtime(), ensure_engine()
    signer = make_signer(folder)
    port = find_free_ports(3)
    root = make_root(folder / "store")
    env = {
        "DSOPS_TRITON": str(runtime),
        "DSOPS_ENGINE_VENV": str(engine),
        "DSOPS_MODELS": str(root / "slots/a/models"),
        "DSOPS_TRITON_PORT": str(port),
        "DSOPS_TRITON_EXIT_TIMEOUT": "5",
        "CACHE_DIRECTORY": str(folder / "cache"),
    }
    units = Units(models=folder / "models", port=port, env=env)
    bed = Bed(root, signer, systemd=units, settings={"memory_reserve": 0.0})
    (root / "store.toml").write_text(f'namespace = "{NAMESPACE}"\nstate = "{root}"\n')
    release = build_release(ROOT / "model_repo/checkpoints/tiny-r1/release.toml", root=ROOT, out=folder / "out")
    path = folder / "out" / release.id
    files = {name: (path / name).read_bytes() for name in release.files}
    made = signer.sign(Made((path / "release.json").read_bytes(), files))
    bed.push(made)
    bed.desk().moves.begin()
    with serving(bed.desk(), root / "sock") as talk, answering(folder) as fake:
        fake.drained = {"reason": "to measure", "who": "kim"}
        fake.gateway_says = (429, "drained")
        assert fake.socket
        talk.bring(made.id)
        try:
            yield Node(bed, talk, units, fake.socket, made.id, signer)
        finally:
            units.do_stop("triton@a.service")


@pytest.fixture(scope="module")
def passport(here: Node) -> Passport:
    measured = here.measure("--cold", "2", "--warm", "3")
    return make_passport(measured, node="gpu1", engine="openvino", made_at=1.0)


def test_it_is_measured_in_cold_and_warm_runs(here: Node, passport: Passport) -> None:
    assert [run.kind for run in passport.runs] == [RunKind.COLD] * 2 + [RunKind.WARM] * 3
    assert (passport.accepted, passport.prompts, passport.engine_version) == (12, 12, "Triton 2.51.0")
    assert passport.load_seconds
    assert passport.load_seconds > 0.2
    assert all(run.cached is None or run.cached < 0.5 for run in passport.runs if run.kind is RunKind.COLD)
    assert len(passport.rates) == 5
    for run in passport.runs:
        print(run)


def test_the_same_release_meets_it_here(here: Node, passport: Passport) -> None:
    # Tests run beside others, so that rates differ by more than they do on a server.
    here.bring(replace(passport, least_share=0.05))
    proof = here.prove()
    assert isinstance(proof, Proof), proof
    assert proof.judged == "as its passport (gpu1) says"
    print(proof)


def test_one_that_was_much_quicker_elsewhere_is_refused_here_but_not_on_the_way_back(
    here: Node, passport: Passport
) -> None:
    quick = tuple(Run(run.kind, (run.tokens_per_second or 1.0) * 100, run.load_seconds) for run in passport.runs)
    here.bring(replace(passport, runs=quick, made_at=2.0))
    refusal = here.prove()
    assert isinstance(refusal, Refusal)
    assert not refusal.lasting
    assert f"of its passport (gpu1, {HERE.says}), at least 70% are wanted" in refusal.reason
    print(refusal)
    assert isinstance(here.prove(Kind.ROLLBACK), Proof)
