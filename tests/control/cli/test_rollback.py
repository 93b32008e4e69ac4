"""`dsops rollback`: a plan, one question, node by node, and an exit status for scripts."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import paramiko
import pytest
from click.testing import CliRunner, Result
from dsops.control.cli.rollback import rollback
from dsops.core.errors import DsopsError
from dsops.core.state import NodeState

from tests.control.fleet.fake_node import FakeNode, option, write_site
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.control.fleet.test_rollback import NEW, OLD, fine
from tests.node.sources.server import Canned, serve


@dataclass
class Site:
    """Three gpu servers with agents; agent_says: what an agent's status has beside the quiet one."""

    root: Path
    inventory: Path
    nodes: dict[str, FakeNode]
    agent_says: dict[str, dict[str, object]] = field(default_factory=dict)

    def status(self, name: str) -> bytes:
        active = next(one["release"] for one in self.nodes[name].releases.values() if one["state"] == "active")
        return json.dumps(asdict(fine(name, **{"release": active, **self.agent_says.get(name, {})}))).encode()

    def call(self, *words: str, answer: str | None = None) -> Result:
        argv = [*words, "-i", str(self.inventory), "--state", str(self.root / "state")]
        return CliRunner().invoke(rollback, argv, input=answer)

    def orders(self) -> list[str]:
        """The nodes that were told to go back."""
        return [name for name, node in self.nodes.items() if any(words[0] == "rollback" for words in node.words)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    nodes = {name: FakeNode(name, on_rollback=lambda node: node.switch(OLD)) for name in ("gpu1", "gpu2", "gpu3")}
    for node in nodes.values():
        node.hold(NEW, "active", since=50.0, slot="a")
        node.hold(OLD, "fallback", since=10.0, slot="b")
    site, key = Site(tmp_path, tmp_path, nodes), paramiko.ECDSAKey.generate()
    with ExitStack() as stack:
        servers, agents = {}, {}
        for name, node in nodes.items():
            servers[name] = stack.enter_context(run_sshd(Sshd(serve=node.serve, allowed=key)))
            canned = Canned({"/v1/status": (200, lambda name=name: site.status(name))})  # type: ignore[misc]
            agents[name] = stack.enter_context(serve(canned))
        ports = {name: {"dsops_agent_port": agent.port} for name, agent in agents.items()}
        site.inventory = write_site(tmp_path, servers, **ports)
        yield site


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception


def test_it_shows_a_plan_asks_once_and_goes_node_by_node(site: Site) -> None:
    for name in ("gpu1", "gpu3"):
        site.agent_says[name] = {"baking_until": 820.0}
    result = site.call(answer="y\n")
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["node", "leaves", "goes", "to", "how", "about", "why"]
    assert lines[1].split()[:6] == ["gpu1", NEW, OLD, "hot", "9", "s"]
    assert lines[1].endswith("on trial, 12 min left")
    assert "gpu2 stays: serves as it should" in result.stdout
    assert "Go back on 2 nodes? [y/N]: y" in result.stdout
    assert f"gpu1: {OLD} serves again, " in result.stdout
    assert "2 of 2 nodes went back in " in result.stdout
    assert f"{NEW} is marked bad there" in result.stdout
    assert site.orders() == ["gpu1", "gpu3"]


def test_all_nodes_of_one_command_hear_one_epoch_and_the_reason(site: Site) -> None:
    assert site.call("--yes", "--reason", "answers wrongly").exit_code == 0
    told = [words for node in site.nodes.values() for words in node.words if words[0] == "rollback"]
    assert len(told) == 3
    assert {(option(words, "--epoch"), option(words, "--reason")) for words in told} == {("1", "answers wrongly")}
    assert "--to" not in told[0]
    site.nodes["gpu1"].switch(NEW)
    site.call("gpu1", "--yes", "--to", OLD)
    told = [words for words in site.nodes["gpu1"].words if words[0] == "rollback"]
    assert (option(told[-1], "--epoch"), option(told[-1], "--to")) == ("2", OLD)


def test_a_plan_says_what_is_copied_first_and_how_long_that_takes(site: Site) -> None:
    cold = {"tier": "cold", "way": "cold", "seconds": 700.0, "copy_seconds": 600.0, "bytes": 9, "since": 10.0}
    site.nodes["gpu1"].hold(OLD, "fallback", **cold)
    (item, other) = json.loads(site.call("gpu1", "gpu2", "--dry", "--json").stdout)["nodes"]
    assert (item["way"], item["warm"], other["way"]) == ("cold", False, "hot")
    result = site.call("gpu1", "gpu2", "--yes")
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.stdout.splitlines()
    assert lines[1].split()[:6] == ["gpu1", NEW, OLD, "cold", "10", "min"]
    assert f"gpu1 copies {OLD} from its cold tier first, about 10 min, and serves meanwhile." in result.stdout
    assert "gpu2 copies" not in result.stdout


def test_no_changes_nothing(site: Site) -> None:
    result = site.call("gpu1", answer="n\n")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (130, "Nothing was changed.")
    assert site.orders() == []
    assert not (site.root / "state").exists(), "no epoch is taken either"


def test_enter_means_no(site: Site) -> None:
    assert site.call("gpu1", answer="\n").exit_code == 130
    assert site.orders() == []


def test_where_nobody_can_answer_a_script_is_told_of_yes(site: Site) -> None:
    error = error_of(site.call("gpu1", answer=""))
    assert (error.what, error.mend) == ("nobody answered, so nothing was changed", "add --yes in a script")
    assert site.orders() == []


def test_a_dry_run_shows_the_plan_and_asks_nothing(site: Site) -> None:
    result = site.call("--dry")
    assert result.exit_code == 0
    assert "Go back" not in result.stdout
    assert site.orders() == []


def test_it_stops_at_the_node_that_refuses_and_leaves_the_rest(site: Site) -> None:
    site.nodes["gpu2"].refuse["rollback"] = "a rollback is under way"
    result = site.call("--yes")
    assert result.exit_code == 1
    assert f"gpu1: {OLD} serves again" in result.stdout
    assert "gpu2: FAILED after " in result.stdout
    assert "a rollback is under way\n  mend: as the node says\n" in result.stdout
    assert "1 of 3 nodes went back in " in result.stdout
    assert "Not touched: gpu3." in result.stdout
    assert not [words for words in site.nodes["gpu3"].words if words[0] == "rollback"]


def test_it_stops_at_the_node_that_does_not_come_back(site: Site) -> None:
    site.nodes["gpu1"].on_rollback = lambda node: node.start_slowly(OLD)
    site.agent_says["gpu1"] = {"move": "rollback to the old one (step prove)"}
    result = site.call("--yes", "--wait", "1")
    assert result.exit_code == 1
    assert f"does not serve {OLD} after 1 s: rollback to the old one (step prove)" in result.stdout
    assert "`dsops why gpu1`" in result.stdout
    assert site.orders() == ["gpu1"]


def test_it_does_not_wait_for_a_node_that_gave_up(site: Site) -> None:
    def fail(node: FakeNode) -> None:
        node.start_slowly(OLD)
        site.agent_says["gpu1"] = {"halted": f"rollback to {OLD} failed: it never loaded"}

    site.nodes["gpu1"].on_rollback = fail
    result = site.call("gpu1", "--yes")
    assert result.exit_code == 1
    assert "it gave up: rollback to" in result.stdout


def test_a_node_whose_agent_is_dead_goes_back_too(site: Site) -> None:
    text = site.inventory.read_text()
    site.inventory.write_text(re.sub(r"'dsops_agent_port': \d+", "'dsops_agent_port': 1", text, count=1))
    result = site.call("gpu1", "--yes")
    assert result.exit_code == 0, result.stdout
    assert "its agent does not answer" in result.stdout
    assert site.nodes["gpu1"].state != NodeState()


def test_nothing_to_go_back_to_is_said_with_each_nodes_reason(site: Site) -> None:
    for node in site.nodes.values():
        node.releases.pop(OLD)
    result = site.call("--yes")
    assert result.exit_code == 3
    assert "There is nothing to go back to.\ngpu1 stays: has nothing to go back to\n" in result.stdout


def test_machines_get_plan_and_outcome(site: Site) -> None:
    site.nodes["gpu2"].refuse["rollback"] = "no"
    result = site.call("--yes", "--json")
    data = json.loads(result.stdout)
    first, second, third = data["nodes"]
    assert (first["node"], first["to"], first["warm"], first["done"]["error"]) == ("gpu1", OLD, False, None)
    assert first["done"]["release"] == OLD
    assert (second["done"]["error"], third["done"]) == ("gpu2: no", None)
    assert result.exit_code == 1
    assert json.loads(site.call("--dry", "--json", "gpu3").stdout)["nodes"][0]["done"] is None


def test_json_asks_nothing(site: Site) -> None:
    assert site.call("--json").exit_code == 2


def test_the_exit_statuses_are_in_the_help() -> None:
    text = CliRunner().invoke(rollback, ["--help"]).output
    assert all(f"{code} " in text.partition("Exit status:")[2] for code in (0, 1, 3, 130))
