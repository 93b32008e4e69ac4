"""`dsops epoch adopt`: whoever was believed before has no say any more, however far it had counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsops.control.cli.epoch import epoch
from dsops.control.fleet.epoch import read_epoch
from dsops.control.rollout.backup import RAISE
from dsops.core.errors import DsopsError
from dsops.core.events import Adopt, Take
from dsops.core.node import step
from dsops.core.state import Epoch, NodeState, Policy

from tests.control.fleet.fake_node import option
from tests.control.rollout.site import RolloutNode, Site, run_site


class BelievingNode(RolloutNode):
    """It believes epochs by the real rule."""

    def _answer(self, verb: str, words: list[str], content: bytes) -> dict[str, Any]:
        if verb != "adopt":
            return super()._answer(verb, words, content)
        was = self.state.epoch
        said = Epoch(int(option(words, "--epoch")), option(words, "--holder"))
        self.state, _ = step(self.state, Adopt(said), Policy())
        return {"ok": True, "was": vars(was)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        for node in site.nodes.values():
            node.__class__ = BelievingNode
        yield site


def adopt(site: Site, *nodes: str) -> None:
    result = site.call(epoch, "adopt", *nodes, "--reason", "restored")
    assert result.exit_code == 0, (result.output, result.exception)


def test_the_other_host_counts_on_and_is_refused_all_the_same(site: Site) -> None:
    for node, number in (("gpu1", 40), ("gpu2", 43)):
        site.nodes[node].state = NodeState(epoch=Epoch(number, "other"))
    adopt(site, "gpu1", "gpu2")
    mine = read_epoch(site.state, inventory=site.inventory)
    for node in site.nodes.values():
        with pytest.raises(DsopsError, match="older than"):
            step(node.state, Take(Epoch(100, "other")), Policy())
        step(node.state, Take(Epoch(mine.number + 1, mine.holder)), Policy())


@pytest.mark.parametrize("order", [("gpu1", "gpu2"), ("gpu2", "gpu1")])
def test_nodes_that_were_far_apart_all_believe_the_next_command(site: Site, order: tuple[str, str]) -> None:
    """One of them was of an inventory that lay elsewhere: this host's own name, and a number far above."""
    holder = read_epoch(site.state, inventory=site.inventory).holder
    site.nodes["gpu1"].state = NodeState(epoch=Epoch(3, "other"))
    site.nodes["gpu2"].state = NodeState(epoch=Epoch(1144, holder))
    adopt(site, *order)
    mine = read_epoch(site.state, inventory=site.inventory)
    assert mine.number > 1144 + RAISE
    for node in site.nodes.values():
        step(node.state, Take(Epoch(mine.number + 1, mine.holder)), Policy())
        with pytest.raises(DsopsError, match="older than"):
            step(node.state, Take(Epoch(1145, holder)), Policy())


def test_among_its_own_numbers_nothing_is_raised(site: Site) -> None:
    adopt(site, "gpu1", "gpu2")
    adopt(site, "gpu1", "gpu2")
    assert read_epoch(site.state, inventory=site.inventory).number == 2
    site.nodes["gpu1"].state = NodeState(epoch=Epoch(1, "other"))
    adopt(site, "gpu1")
    assert read_epoch(site.state, inventory=site.inventory).number == 3
    assert RAISE > 100
