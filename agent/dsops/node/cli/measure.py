"""`dsops node release measure`: what the release that has the traffic shows here in several runs, for its passport."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from dsops.core.errors import DsopsError
from dsops.core.passport import LOAD_SLACK, Answered, Hardware, Measurement, Run, RunKind, Seen, check_count
from dsops.core.state import NodeState
from dsops.core.status import Proof
from dsops.node.agent.prove import Pass, Proving, Refusal, ask_all, find_version, wait_ready
from dsops.node.cli.follow import ask, decode_state
from dsops.node.cli.main import Door, ask_gateway, get_status
from dsops.node.cli.options import person
from dsops.node.cli.proving import make_proving
from dsops.node.helper.client import call
from dsops.node.sources.gateway import judge_gateway
from dsops.node.store.config import read_store_config

RESTART_SECONDS = 300.0
RUNS = click.IntRange(0, 20)


@dataclass(frozen=True)
class Measured:
    """A run, and which of its accepted answers each prompt got."""

    run: Run
    answers: tuple[int, ...]


@click.command()
@click.option("--cold", type=RUNS, default=1, show_default=True, help="Runs after a fresh start of the slot.")
@click.option("--warm", type=RUNS, default=2, show_default=True, help="Runs without one.")
@person
@click.pass_obj
def measure(door: Door, cold: int, warm: int, who: str, reason: str) -> None:
    """Asks the release that has the traffic all its golden prompts, several times; prints one JSON object.

    On a drained node the slot is started afresh for each cold run, and the kernel forgets the release before, so that
    it loads from the disk. On any other, the proof that gave it the traffic counts as its one cold run.
    """
    if not cold + warm:
        raise DsopsError("no run at all was asked for", where="--cold, --warm", mend="--cold 1 --warm 2")
    state = ask(door, "state")
    proving, hardware = prepare(door, state)
    runs = measure_cold(door, state, proving, count=cold, note=(who, reason))
    for number in range(warm):
        taken = take(proving, f"warm run {number + 1}")
        runs.append(Measured(Run(RunKind.WARM, taken.rate), taken.answers))
        tell(runs[-1].run)
    click.echo(json.dumps(asdict(sum_up(proving, runs, hardware=hardware)), ensure_ascii=False))


def prepare(door: Door, state: NodeState) -> tuple[Proving, Hardware]:
    """Raises DsopsError when nothing can be measured now."""
    if state.active is None or state.move:
        what = "a change is under way" if state.move else "no release has the traffic here"
        raise DsopsError(f"{what}, so there is nothing to measure", mend="`dsops node status`; activate one, and wait")
    hardware = door.read_hardware()
    if hardware is None:
        mend = "`nvidia-smi` by hand; `dsops doctor`"
        raise DsopsError("nobody can say what hardware this is: the GPU driver does not answer", mend=mend)
    root = read_store_config(door.store).root
    ports = door.ports[state.active.slot]
    proving = make_proving(state.active.release, ports, root=root, gateway=door.socket, hardware=hardware, run=door.run)
    check_count(state.active.release, len(proving.golden.prompts), where="prompts.json")
    return proving, hardware


def measure_cold(
    door: Door, state: NodeState, proving: Proving, *, count: int, note: tuple[str, str]
) -> list[Measured]:
    """Each on a fresh start; or the proof, where traffic must not be disturbed. Raises DsopsError."""
    if not count:
        return []
    if not is_free(door):
        return [use_proof(door, proving, count=count)]
    runs = []
    for number in range(count):
        words: dict[str, Any] = {
            "unit": "slot",
            "who": note[0],
            "reason": f"cold run {number + 1}: {note[1]}",
            "afresh": True,
        }
        said = call(door.helper, "restart", timeout=RESTART_SECONDS, **words)
        if decode_state(said["state"]).active != state.active:
            raise DsopsError("another release has the traffic now", mend="measure again")
        load = asyncio.run(wait_ready(proving))
        if isinstance(load, Refusal):
            raise DsopsError(f"cold run {number + 1}: {load.reason}", mend="`dsops node logs`")
        taken = take(proving, f"cold run {number + 1}")
        seconds = round(load.seconds, 3)
        runs.append(Measured(Run(RunKind.COLD, taken.rate, seconds, _round(said.get("cached"))), taken.answers))
        tell(runs[-1].run)
    return runs


def is_free(door: Door) -> bool:
    """Whether the node is drained and nothing is in flight, so that its slot may stop."""
    seen = judge_gateway(ask_gateway(door, "/status"))
    return seen.drained is not None and seen.in_flight == 0


def use_proof(door: Door, proving: Proving, *, count: int) -> Measured:
    """What the agent measured when the release came in. Raises DsopsError when that is not enough."""
    mend = "`dsops drain NODE --reason ... --wait 60` first: then the slot can be started afresh; or --cold 0"
    if count > 1:
        raise DsopsError(f"{count} cold runs restart the slot, and traffic still comes here", mend=mend)
    proof = get_status(door).proof
    if not is_usable(proof, proving):
        what = f"nobody kept what {proving.golden.release} showed when it came in, and traffic still comes here"
        raise DsopsError(what, mend=mend)
    assert proof
    rate = proof.tokens_per_second if proof.quiet else None
    # An agent that was late knows no more than that it was ready by then.
    load = proof.load_seconds if proof.watched or proof.load_seconds <= LOAD_SLACK else None
    run = Run(RunKind.COLD, rate, load, _round(proof.cached))
    tell(run, when=" (when it came in)")
    return Measured(run, proof.answers)


def is_usable(proof: Proof | None, proving: Proving) -> bool:
    """Whether it is of this release, and says which answers it gave."""
    return (
        proof is not None
        and proof.release == proving.golden.release
        and len(proof.answers) == len(proving.golden.prompts)
    )


def take(proving: Proving, name: str) -> Pass:
    """All prompts once. Raises DsopsError: an answer was wrong, or others asked too, so that its rate says nothing."""
    taken = asyncio.run(ask_all(proving))
    if isinstance(taken, Refusal):
        mend = "a release that answers wrongly gets no passport: `dsops why`, `dsops rollback`"
        raise DsopsError(f"{name}: {taken.reason}", mend=mend)
    if not taken.quiet:
        mend = "`dsops drain NODE --reason ... --wait 60` first; `dsops undrain NODE` after"
        raise DsopsError(f"{name}: other requests were in flight, so its token rate says nothing", mend=mend)
    return taken


def tell(run: Run, *, when: str = "") -> None:
    """How far it is, for whoever waits."""
    load = "" if run.load_seconds is None else f", loaded in {run.load_seconds:.1f} s"
    cached = "" if run.cached is None else f" ({run.cached:.0%} of it in the page cache)"
    speed = "" if run.tokens_per_second is None else f", {run.tokens_per_second:,.0f} tokens/s"
    click.echo(f"{run.kind} run{when}: all answers right{load}{cached}{speed}", err=True)


def sum_up(proving: Proving, runs: Sequence[Measured], *, hardware: Hardware) -> Measurement:
    """For the control host, which makes the passport and signs it."""
    version = asyncio.run(find_version(proving.ports))
    answers = tuple(count_answers(proving, runs))
    return Measurement(proving.golden.release, hardware, version, tuple(one.run for one in runs), answers)


def count_answers(proving: Proving, runs: Sequence[Measured]) -> list[Answered]:
    """The right answers that each prompt got, and how often; the most frequent first."""
    answers = []
    for place, prompt in enumerate(proving.golden.prompts):
        counted = Counter(prompt.accepted[one.answers[place]] for one in runs)
        answers.append(Answered(prompt.id, tuple(Seen(text, times) for text, times in counted.most_common())))
    return answers


def _round(share: float | None) -> float | None:
    return None if share is None else round(share, 3)
