"""`dsops rollout`: preflight, plan, question, the run itself, and how it is steered, from the words typed on."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from dsops.control.cli.lock import lock
from dsops.control.cli.rollout import rollout
from dsops.control.cli.rollout.options import leave_order
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.memory import Banned, Memory
from dsops.control.rollout.run import Runner
from dsops.control.rollout.store import Store
from dsops.core.rollout_state import Status
from dsops.core.status import Canary, Verdict

from tests.control.rollout.site import Site, error_of, run_site
from tests.control.rollout.world import NEW, OLD

QUICK = ("--canary-minutes", "0.01", "--step-minutes", "0.01", "--min-sample", "100", "--every", "0.1")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, "gpu1", "gpu2", "gpu3") as site:
        yield site


def start(site: Site, *words: str, answer: str | None = None) -> click.testing.Result:
    return site.call(rollout, "start", NEW, "--reason", "new build", *QUICK, *words, answer=answer)


def find_store(site: Site) -> Store:
    return Store(site.state, site.inventory)


def test_it_says_what_it_will_do_asks_once_and_brings_it_over_the_fleet(site: Site) -> None:
    result = start(site, "--steps", "100", answer="y\n")
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.stdout.splitlines()
    heads = "node serves comes in meanwhile safe after whole after back in"
    assert lines[0].split() == heads.split()
    assert lines[1].startswith(f"gpu1  {OLD}  in the second slot, beside the one that serves  no capacity is lost")
    assert "100 %: gpu1, gpu2, gpu3 with 100 % of their requests" in lines
    assert "This site has no monitoring: no alert will hold the rollout." in lines
    assert "Begin with gpu1, then over 3 nodes? [y/N]: y" in result.stdout
    assert f"{NEW} has all the traffic of 3 of 3 nodes." in result.stdout
    assert {node.share for node in site.nodes.values()} == {100}
    (first,) = site.nodes["gpu1"].told("release activate")
    assert first[first.index("--share") + 1] == "100"
    assert first[first.index("--epoch") + 1] == "1"
    assert first[first.index("--reason") + 1] == "rollout 1: new build"
    listed = json.loads(site.call(rollout, "list", "--json").stdout)["rollouts"]
    assert [(one["number"], one["outcome"], one["reason"]) for one in listed] == [(1, "done", "new build")]


def test_one_that_fails_is_taken_back_from_its_one_node(site: Site) -> None:
    for node in site.nodes.values():
        node.rate = 50.0
    result = start(site, "--yes")
    assert result.exit_code == 1, (result.output, result.exception)
    assert f"{NEW} was taken back: " in result.stdout
    assert f"no node may take {NEW}: " in result.stdout
    assert [name for name, node in site.nodes.items() if node.told("release activate")] == ["gpu1"]
    assert site.nodes["gpu1"].told("rollback")
    assert error_of(start(site, "--yes")).what.count("is on the fleet's bad list") == 1


def test_no_changes_nothing_and_takes_no_epoch(site: Site) -> None:
    result = start(site, answer="n\n")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (130, "Nothing was changed.")
    assert site.orders() == []
    assert find_store(site).list() == []


def test_where_nobody_can_answer_a_script_is_told_of_yes(site: Site) -> None:
    assert error_of(start(site, answer="")).mend == "add --yes in a script"
    assert site.orders() == []


def test_a_dry_run_says_it_to_machines_too(site: Site) -> None:
    assert "1 %: gpu1 with 1 % of its requests" in start(site, "--dry").stdout
    data = json.loads(start(site, "--dry", "--json").stdout)
    assert [step["share"] for step in data["steps"]] == [1, 5, 50, 100, 100]
    first = data["nodes"][0]
    assert (first["node"], first["way"], first["cost"]["lost_seconds"]) == ("gpu1", "beside", 0.0)
    assert site.orders() == []


def test_all_that_stands_in_its_way_is_said_at_once_and_nothing_changes(site: Site) -> None:
    site.nodes["gpu1"].releases.pop(NEW)
    site.nodes["gpu2"].hold(NEW, "bad", bad="it answered wrongly", tier="cold", fit="other", fit_says="made on an A100")
    site.nodes["gpu2"].skew = -90.0
    site.nodes["gpu3"].says = {"move": "activate of r9", "halted": "two rollbacks"}
    site.nodes["gpu3"].memory = {"free": 1, "total": 2}
    memory = Memory(bad=(Banned(NEW, "it fell before", 1.0),), halted="r8 fell 2 times within an hour")
    find_store(site).change_fleet(lambda _: memory.to_json())
    what = error_of(start(site, "--yes")).what
    for said in (
        f"{NEW} cannot come in; nothing was changed",
        "the fleet is halted: r8 fell 2 times within an hour",
        f"{NEW} is on the fleet's bad list: it fell before",
        f"gpu1: does not hold {NEW}",
        f"mend: `dsops release push {NEW} gpu1`",
        "gpu2: its clock is 90 s behind this machine's",
        f"gpu2: {NEW} lies on its cold tier only",
        f"gpu2: {NEW} is marked bad there: it answered wrongly",
        f"gpu2: the passport of {NEW} refuses this hardware: made on an A100",
        "gpu3: it is halted: two rollbacks",
        "gpu3: a move is under way: activate of r9",
        f"gpu3: no capacity for {NEW}: no second slot: it needs 1.20 GB of memory",
    ):
        assert said in what, what
    assert site.orders() == []
    assert find_store(site).list() == []


def cut_off(site: Site, *names: str) -> None:
    """Nobody answers at their agents' ports any more."""
    text = site.inventory.read_text()
    for name in names:
        port = text.partition(f"'{name}'")[2].partition("'dsops_agent_port': ")[2].partition("}")[0]
        text = text.replace(f"'dsops_agent_port': {port}", "'dsops_agent_port': 1")
    site.inventory.write_text(text)


def test_over_half_the_fleet_out_of_reach_is_refused_and_each_is_named(site: Site) -> None:
    cut_off(site, "gpu1", "gpu2")
    what = error_of(start(site, "--yes")).what
    assert "2 of 3 nodes cannot be asked, which is over half of them: gpu1, gpu2" in what
    assert "gpu1: cannot be asked: 127.0.0.1:1: connection refused" in what
    assert site.orders() == []


def test_another_canary_in_the_way_is_said(site: Site) -> None:
    site.nodes["gpu2"].says = {"canary": Canary("r9", "b", 5, 1.0, Verdict.OK)}
    assert f"gpu2: r9 has 5 % there, beside {OLD}" in error_of(start(site, "--yes")).what


def test_a_node_that_was_named_must_answer(site: Site) -> None:
    site.nodes["gpu2"].refuse["release list"] = "no"
    assert "gpu2: cannot be asked: by SSH: gpu2: no" in error_of(start(site, "gpu1", "gpu2", "--yes")).what
    assert "Do not answer now: gpu2." in start(site, "--dry").stdout


@pytest.mark.parametrize("steps", ["", "5,1", "1,50", "a", "0,100"])
def test_steps_that_do_not_grow_to_100_are_refused(site: Site, steps: str) -> None:
    assert start(site, "--steps", steps).exit_code == 2


def test_holding_is_for_one_of_the_steps(site: Site) -> None:
    assert "30 is none of the steps" in start(site, "--hold-at", "30").output


@pytest.fixture
def left(site: Site, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A rollout whose controller was stopped by Ctrl-C after its first look, when its first order was done."""
    monkeypatch.setattr(Runner, "go", lambda runner: (runner.turn(), wait_for_share(site), throw()))
    result = start(site, "--yes", "--steps", "1,100")
    monkeypatch.undo()
    assert result.exit_code == 130, result.output
    assert "Stopped looking. The nodes stay as they are" in result.stdout
    assert "Go on: `dsops rollout resume`." in result.stdout
    return find_store(site)


def wait_for_share(site: Site) -> None:
    """An abort waits for minutes for an order that may come late; one that came is taken back at once."""
    until = time.monotonic() + 10
    while not any(node.share for node in site.nodes.values()) and time.monotonic() < until:
        time.sleep(0.01)


def throw() -> None:
    raise KeyboardInterrupt


def test_a_stopped_one_is_shown_with_what_to_do(site: Site, left: Store) -> None:
    shown = site.call(rollout, "status").stdout
    assert re.search(rf"rollout 1 of {NEW}: under way, begun \d+ s ago by ", shown)
    assert "steps: [1 %]  100 %   (new build)" in shown
    assert "No controller runs it: nothing goes further" in shown
    assert "Next: 100 %, not before 1 s of baking and 100 more requests." in shown
    data = json.loads(site.call(rollout, "status", "--json").stdout)
    assert (data["active"], data["controller"], data["rollout"]["release"]) == (True, None, NEW)


def test_a_second_one_is_refused_while_one_is_active(site: Site, left: Store) -> None:
    assert f"rollout 1 of {NEW} by " in error_of(start(site, "--yes")).what


def test_another_controller_takes_over_and_says_so(site: Site, left: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "go", lambda runner: (runner.turn(), throw()))
    assert site.call(rollout, "resume", "--reason", "the laptop slept").exit_code == 130
    kept = left.find_active()
    assert kept
    assert kept.epoch.number == 2
    assert any("a controller takes over: the laptop slept (epoch 2)" in line.says for line in left.read_lines(1))


def test_without_a_controller_a_pause_is_written_down_and_an_abort_done_here(site: Site, left: Store) -> None:
    assert "is paused" in site.call(rollout, "pause", "--reason", "lunch").stdout
    shown = site.call(rollout, "status").stdout
    assert "paused by a person" in shown
    result = site.call(rollout, "abort", "--reason", "no", "--every", "0.1")
    assert result.exit_code == 1, (result.output, result.exception)
    assert {node.share for node in site.nodes.values()} == {0}
    assert left.list()[0].outcome.startswith(f"{Status.ABORTED}: aborted by ")


def test_orders_to_a_controller_that_hears_nothing_are_withdrawn(
    site: Site, left: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(leave_order.__kwdefaults__ or {}, "seconds", 0.1)
    with hold_rollout(site.state, site.inventory, who="kim", what="x"):
        error = error_of(site.call(rollout, "pause", "--reason", "lunch"))
    assert "nobody heard it. Run by process " in error.what
    assert 'dsops lock break --reason "..." --i-know' in error.mend
    kept = left.find_active()
    assert kept
    assert left.find_asked(kept) == ()


def test_a_halt_is_ended_by_a_person_only(site: Site) -> None:
    assert "not halted" in error_of(site.call(rollout, "reset", "--reason", "x")).what
    find_store(site).change_fleet(lambda _: Memory(halted="two rollbacks", bad=(Banned(NEW, "bad", 1.0),)).to_json())
    assert "THE FLEET IS HALTED: two rollbacks" in site.call(rollout, "status").stdout
    assert "it was: two rollbacks" in site.call(rollout, "reset", "--reason", "a broken switch").stdout
    assert "HALTED" not in site.call(rollout, "status").stdout
    assert "is off the fleet's bad list" in site.call(rollout, "reset", "--reason", "x", "--unmark", NEW).stdout
    assert (
        "is not on the fleet's bad list"
        in error_of(site.call(rollout, "reset", "--reason", "x", "--unmark", "r1")).what
    )


def test_locks_are_listed_and_broken_by_who_knows(site: Site, left: Store) -> None:
    words = ("break", "--reason", "stuck")
    listed = ["ls", "--state", str(site.state)]
    assert click.testing.CliRunner().invoke(lock, listed).stdout.startswith("free; last held by ")
    assert "nobody holds it" in error_of(site.call(lock, *words)).what
    with hold_rollout(site.state, site.inventory, who="kim", what="rollout 1"):
        assert "held by process " in click.testing.CliRunner().invoke(lock, listed).stdout
        assert "lives and holds it" in error_of(site.call(lock, *words)).what
        assert "has no say any more, from epoch 2 on" in site.call(lock, *words, "--i-know").stdout
        with hold_rollout(site.state, site.inventory, who="me", what="x"):
            pass
    assert "was broken: stuck (epoch 2)" in left.read_lines(1)[-1].says


def test_past_ones_are_listed_and_shown_by_number(site: Site, left: Store) -> None:
    table = site.call(rollout, "list").stdout.splitlines()
    assert table[0].split()[:4] == ["number", "begun", "release", "came"]
    assert table[1].split()[0] == "1"
    assert "there is no rollout 9" in error_of(site.call(rollout, "status", "9")).what


def test_at_first_there_is_none(site: Site) -> None:
    for verb in ("status", "list"):
        assert "There was no rollout of this inventory yet" in site.call(rollout, verb).stdout
    for verb in (("pause", "--reason", "x"), ("resume",), ("abort", "--reason", "x")):
        assert "no rollout is active" in error_of(site.call(rollout, *verb)).what


def test_its_words_complete_like_the_other_verbs(site: Site) -> None:
    complete = ShellComplete(rollout, {}, "rollout", "_X")
    verbs = {item.value for item in complete.get_completions([], "")}
    assert verbs == {"start", "status", "list", "pause", "resume", "abort", "reset"}
    nodes = complete.get_completions(["start", "-i", str(site.inventory), NEW], "gpu")
    assert [item.value for item in nodes] == ["gpu1", "gpu2", "gpu3"]
    assert "--hold-at" in {item.value for item in complete.get_completions(["start"], "--h")}


def test_a_spare_node_takes_it_first_where_the_only_other_one_cannot_be_drained(tmp_path: Path) -> None:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        site.nodes["gpu2"].is_empty = True
        site.nodes["gpu2"].hold(OLD, "held")
        site.nodes["gpu1"].memory = {"free": 10**9, "total": 2 * 10**9}
        plan = start(site, "--dry").stdout
        assert f"gpu1  {OLD}  drained once a spare node serves it, for two copies do not fit  50% of its pool" in plan
        assert "gpu2  -              whole: it serves nothing yet" in plan
        assert "1 %: gpu2 with 1 % of its requests, or with all where two copies do not fit or nothing serves" in plan
        result = start(site, "--yes", "--steps", "1,100")
        assert result.exit_code == 0, (result.output, result.exception)
        assert {node.share for node in site.nodes.values()} == {100}
        (whole,) = site.nodes["gpu2"].told("release activate")
        assert "--alone" not in whole
        verbs = [words[0] for words in site.nodes["gpu1"].words if words[:2] != ["release", "list"]]
        assert verbs == ["drain", "release", "undrain"]


def test_a_spare_node_that_fails_is_drained_and_said_to_be(tmp_path: Path) -> None:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        site.nodes["gpu2"].is_empty = True
        site.nodes["gpu2"].rate = 50.0
        site.nodes["gpu2"].refuse["rollback"] = "there is no good release to go back to"
        site.nodes["gpu1"].memory = {"free": 10**9, "total": 2 * 10**9}
        result = start(site, "--yes", "--steps", "1,100")
        assert result.exit_code == 1, (result.output, result.exception)
        assert "there is nothing to go back to" in site.nodes["gpu2"].drained
        assert site.orders() == ["gpu2"]
        assert f"gpu2 is drained and has {NEW} still, for it has nothing to go back to: bring it" in result.stdout


def test_of_two_nodes_one_that_cannot_be_asked_is_half_the_fleet(tmp_path: Path) -> None:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        cut_off(site, "gpu2")
        error = error_of(start(site, "--yes"))
        assert "1 of 2 nodes cannot be asked, which is half of them: gpu2" in error.what
        assert "or name the nodes that are to have it" in error.what
        assert site.orders() == []
        result = start(site, "gpu1", "--yes", "--steps", "100")
        assert result.exit_code == 0, (result.output, result.exception)
        assert site.nodes["gpu1"].share == 100


def test_a_named_node_is_drained_for_it_while_others_of_its_pool_serve(site: Site) -> None:
    site.nodes["gpu1"].memory = {"free": 10**9, "total": 2 * 10**9}
    plan = start(site, "gpu1", "--dry").stdout
    assert "33% of its pool is out" in plan
    assert "gpu2" not in plan
    result = start(site, "gpu1", "--yes", "--steps", "100")
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"{NEW} has all the traffic of 1 of 1 nodes." in result.stdout
    assert site.orders() == ["gpu1"]
