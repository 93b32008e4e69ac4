"""What people decide about rollouts, and what rollouts come to by themselves, is in the control host's audit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from dsops.control.audit import Chain, who
from dsops.control.cli.epoch import epoch
from dsops.control.cli.lock import lock
from dsops.control.cli.rollout import rollout
from dsops.control.cli.rollout.options import leave_order
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.memory import Banned, Memory
from dsops.control.rollout.run import Runner
from dsops.control.rollout.store import Store
from dsops.core.audit import Act, Kind, verify

from tests.control.rollout.site import Site, error_of, run_site
from tests.control.rollout.world import NEW, OLD, SITE, make_runner, make_world
from tests.control.rollout.world import start as begin

QUICK = ("--canary-minutes", "0.01", "--step-minutes", "0.01", "--min-sample", "100", "--every", "0.1")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        yield site


def start(site: Site, *words: str, answer: str | None = None) -> Result:
    return site.call(rollout, "start", NEW, "--reason", "new build", *QUICK, *words, answer=answer)


def acts(state: Path) -> list[Act]:
    """What is no order to a node."""
    chain = Chain(state)
    assert verify(chain.read()).is_whole
    told = [entry.act for entry in chain.read_entries()]
    return [act for act in told if act.kind is not Kind.CHAIN and act.verb.split()[0] in ("rollout", "lock", "epoch")]


def find_act(site: Site, verb: str) -> Act:
    """The only one of this verb."""
    (act,) = (act for act in acts(site.state) if act.verb == verb)
    return act


@pytest.fixture
def left(site: Site, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A rollout whose controller was stopped before its first look."""
    monkeypatch.setattr(Runner, "go", lambda runner: stop())
    assert start(site, "--yes", "--steps", "1,100").exit_code == 130
    return Store(site.state, site.inventory)


def stop() -> None:
    raise KeyboardInterrupt


def test_a_start_and_its_end_are_told_with_who_why_from_to_epoch_and_evidence(site: Site) -> None:
    assert start(site, "--yes", "--steps", "100").exit_code == 0
    began, done = acts(site.state)
    assert (began.kind, began.verb, began.who, began.why) == (Kind.DONE, "rollout start", who(), "new build")
    assert (began.leaves, began.to, began.epoch.number, began.fleet) == (OLD, NEW, 1, str(site.inventory))
    assert began.epoch.holder
    assert began.evidence == "rollout 1 over gpu1, gpu2, steps 100 %"
    assert (done.verb, done.who, done.why) == ("rollout done", "dsops", "rollout 1: new build")
    assert (done.leaves, done.to, done.epoch) == (OLD, NEW, began.epoch)
    assert "gpu1 100 %, gpu2 100 %" in done.evidence


def test_a_start_that_is_refused_is_told_with_all_that_stood_in_its_way(site: Site) -> None:
    site.nodes["gpu1"].bad = True
    site.nodes["gpu1"].hold(NEW, "bad", bad="it answered wrongly")
    error_of(start(site, "--yes"))
    act = find_act(site, "rollout start")
    assert (act.kind, act.to, act.why, act.epoch.number) == (Kind.REFUSED, NEW, "new build", 0)
    assert f"gpu1: {NEW} is marked bad there: it answered wrongly mend: bring a new build" in act.evidence


def test_what_changes_nothing_and_asks_nobody_is_not_told(site: Site) -> None:
    assert start(site, answer="n\n").exit_code == 130
    assert start(site, "--dry").exit_code == 0
    assert site.call(rollout, "status").exit_code == 0
    assert acts(site.state) == []


def test_steps_and_the_end_of_one_that_fails_are_told_as_what_dsops_did(tmp_path: Path, state_folder: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    kept = begin(store, world)
    runner = make_runner(store, kept, world)
    world.on_sleep = lambda world: world.rates.update({NEW: 60.0} if len(world.reached) > 1 else {})
    runner.go()
    told = acts(state_folder)
    verbs = [act.verb for act in told]
    assert verbs == ["rollout step", "rollout step", "rollout fail", "rollout aborted"]
    assert {act.who for act in told} == {"dsops"}
    step, _, failed, over = told
    assert step.evidence.startswith("from 1 % to 5 %, after running 1 %: gpu1 1 %; ")
    assert "; failed requests: " in step.evidence
    assert (step.leaves, step.to, step.epoch) == (OLD, NEW, kept.epoch)
    assert failed.evidence.startswith("failed requests: ")
    assert (failed.leaves, failed.to, over.leaves, over.to) == (NEW, OLD, NEW, OLD)


def test_the_halt_of_the_fleet_is_told(tmp_path: Path, state_folder: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    world.rates = {NEW: 60.0}
    for _ in range(2):
        make_runner(store, begin(store, world), world).go()
        for node in world.nodes.values():
            node.bad = ()
    halts = [act.evidence for act in acts(state_folder) if act.verb == "rollout halt"]
    assert len(halts) == 1
    assert halts[0].startswith(f"{NEW} fell 2 times within an hour")


def test_pause_resume_and_abort_are_told_with_the_epoch_that_they_took(
    site: Site, left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.call(rollout, "pause", "--reason", "lunch").exit_code == 0
    assert site.call(rollout, "resume", "--reason", "ate").exit_code == 130
    monkeypatch.setattr(Runner, "go", lambda runner: stop())
    assert site.call(rollout, "abort", "--reason", "no").exit_code == 130
    told = [(act.kind, act.verb, act.why, act.leaves, act.to, act.epoch.number) for act in acts(site.state)[1:]]
    assert told == [
        (Kind.DONE, "rollout pause", "lunch", OLD, NEW, 2),
        (Kind.DONE, "rollout resume", "ate", OLD, NEW, 3),
        (Kind.DONE, "rollout abort", "no", NEW, OLD, 4),
    ]
    assert find_act(site, "rollout pause").evidence.startswith("rollout 1, running 1 %: nobody has it; ")


def test_an_order_that_nobody_heard_is_told_as_refused(
    site: Site, left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(leave_order.__kwdefaults__ or {}, "seconds", 0.1)
    with hold_rollout(site.state, site.inventory, who="kim", what="x"):
        for verb in ("pause", "resume", "abort"):
            error_of(site.call(rollout, verb, "--reason", "now"))
    told = acts(site.state)[1:]
    assert [(act.kind, act.verb) for act in told] == [
        (Kind.REFUSED, f"rollout {verb}") for verb in ("pause", "resume", "abort")
    ]
    assert all("nobody heard it. Run by process " in act.evidence for act in told)


def test_a_reset_is_told_with_what_it_ended(site: Site) -> None:
    assert error_of(site.call(rollout, "reset", "--reason", "x"))
    memory = Memory(halted="two rollbacks", bad=(Banned(NEW, "it fell", 1.0),))
    Store(site.state, site.inventory).change_fleet(lambda _: memory.to_json())
    assert site.call(rollout, "reset", "--reason", "a broken switch", "--unmark", NEW).exit_code == 0
    refused, done = acts(site.state)
    assert (refused.kind, refused.evidence) == (Kind.REFUSED, "the fleet is not halted, so there is nothing to reset")
    assert (done.kind, done.verb, done.why, done.to) == (Kind.DONE, "rollout reset", "a broken switch", NEW)
    assert done.evidence == f"it was halted: two rollbacks; {NEW} was on the bad list: it fell"
    assert done.epoch.holder


def test_breaking_a_lock_is_told_with_whose_it_was(site: Site, left: Store) -> None:
    words = ("break", "--reason", "stuck")
    with hold_rollout(site.state, site.inventory, who="kim", what="rollout 1"):
        error_of(site.call(lock, *words))
        assert site.call(lock, *words, "--i-know").exit_code == 0
    refused, done = acts(site.state)[1:]
    assert refused.kind is Kind.REFUSED
    assert "lives and holds it" in refused.evidence
    assert (done.kind, done.verb, done.why, done.epoch.number) == (Kind.DONE, "lock break", "stuck", 2)
    assert done.evidence.startswith("held by process ")
    assert " of kim on " in done.evidence


def test_adopting_an_epoch_is_told_with_the_nodes_that_believe_it(site: Site) -> None:
    assert site.call(epoch, "adopt", "gpu1", "gpu2", "--reason", "restored").exit_code == 0
    site.nodes["gpu2"].refuse["adopt"] = "the store is read-only"
    error_of(site.call(epoch, "adopt", "gpu1", "gpu2", "--reason", "again"))
    done, refused = acts(site.state)
    assert (done.kind, done.verb, done.node, done.why) == (Kind.DONE, "epoch adopt", "gpu1, gpu2", "restored")
    assert (done.evidence, done.epoch.number) == ("gpu1 believes it; gpu2 believes it", 1)
    assert (refused.kind, refused.epoch.number) == (Kind.REFUSED, 2)
    assert refused.evidence == "gpu1 believes it; gpu2: the store is read-only"


def test_losing_the_audit_stops_nothing(site: Site) -> None:
    site.state.mkdir()
    (site.state / "audit").write_text("no folder")
    site.nodes["gpu1"].rate = 50.0
    result = start(site, "--yes")
    assert result.exit_code == 1, (result.output, result.exception)
    assert "the audit of this control host cannot be written" in result.stderr
    assert site.nodes["gpu1"].told("rollback")
    assert site.nodes["gpu1"].share == 0
    assert site.call(rollout, "reset", "--reason", "x", "--unmark", NEW).exit_code == 0
