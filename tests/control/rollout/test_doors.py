"""The doors to nodes: what is seen of one, which words each order has, and what became of it."""

import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsops.control.fleet.inventory import Server, get_fleet
from dsops.control.rollout.doors import Order, RealDoors, Told, build_seen, find_pool, render_order
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Activate, Back, Drain, Undrain, Widen
from dsops.core.samples import Samples
from dsops.core.state import Epoch
from dsops.core.status import BadMark, Canary, Phase, Verdict
from dsops.node.cli.main import Door, ask_gateway
from dsops.node.helper.client import call

from tests.control.fleet.test_rollback import fine
from tests.control.rollout.site import Site, run_site
from tests.control.rollout.world import NEW, OLD

EPOCH = Epoch(7, "here-1")
SERVER = Server("gpu1", ("gpu", "rack1"), {}, "x")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        yield site


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (
            Activate("gpu1", NEW, 1),
            f"release activate {NEW} --share 1 --who me --reason why --epoch 7 --holder here-1 --json",
        ),
        (
            Activate("gpu1", NEW, 100, alone=True),
            f"release activate {NEW} --share 100 --alone --who me --reason why --epoch 7 --holder here-1 --json",
        ),
        (
            Widen("gpu1", NEW, 25),
            f"release widen {NEW} --share 25 --who me --reason why --epoch 7 --holder here-1 --json",
        ),
        (
            Back("gpu1", NEW, "it fails"),
            f"rollback --leaves {NEW} --who me --reason 'it fails' --epoch 7 --holder here-1 --json",
        ),
        (Drain("gpu1", "rollout 1 brings it"), "drain --who me --reason 'rollout 1 brings it' --wait 120"),
        (Undrain("gpu1"), "undrain --who me"),
    ],
)
def test_each_order_is_what_an_operator_would_type(order: Order, words: str) -> None:
    assert shlex.join(render_order(order, EPOCH, who="me", reason="why")[0]) == words


def see(**changes: Any) -> Any:
    return build_seen(SERVER, fine("gpu1", **changes), None, at=100.0)


def test_a_canary_that_waits_is_no_change_under_way() -> None:
    canary = Canary(NEW, "b", 5, 1.0, Verdict.OK)
    seen = see(release=OLD, canary=canary, move=f"activate of {NEW} (step canary)")
    assert (seen.active, seen.canary, seen.share, seen.is_moving) == (OLD, NEW, 5, False)
    assert see(move=f"activate of {NEW} (step prove)").is_moving


def test_what_keeps_a_node_from_serving_is_seen() -> None:
    assert see().is_serving
    for changes in ({"phase": Phase.LOADING}, {"ejected": "wrong"}, {"drained": "rollout 1 brings it (me)"}):
        assert not see(**changes).is_serving
    assert see(drained="fans (kim)").drained == "fans (kim)"
    marked = see(bad=(BadMark(NEW, "wrong"),), halted="two")
    assert (marked.bad, marked.find_bad(NEW), marked.find_bad("r-other")) == ((NEW,), "wrong", "")


def test_its_clock_is_compared_with_ours_and_its_pool_is_its_own_group() -> None:
    assert see(observed_at=90.0).skew == -10.0
    assert build_seen(SERVER, fine("gpu1"), Samples("gpu1", 107.0), at=100.0).skew == 7.0
    assert (see().pool, find_pool(replace(SERVER, groups=("gpu",)))) == ("rack1", "gpu")


def test_nodes_are_looked_at_and_told_for_real(site: Site) -> None:
    doors = RealDoors(get_fleet(site.inventory), ("gpu1", "gpu2"), "me", alone=frozenset({"gpu2"}))
    first, second = doors.look()
    assert (first.active, first.alone, second.alone) == (OLD, False, True)
    assert first.samples
    assert doors.tell(Activate("gpu1", NEW, 5), EPOCH, reason="why") == Told()
    assert doors.look()[0].share_of(NEW) == 5
    site.nodes["gpu1"].refuse["release widen"] = "epoch 7 is older than 9 of east"
    told = doors.tell(Widen("gpu1", NEW, 25), EPOCH, reason="why")
    assert told == Told(refused="epoch 7 is older than 9 of east")
    lost = doors.tell(Widen("gpu9", NEW, 25), EPOCH, reason="why")
    assert "no such node 'gpu9'" in lost.lost


def test_the_nodes_own_words_for_a_helper_that_is_away_are_known(tmp_path: Path, site: Site) -> None:
    doors = RealDoors(get_fleet(site.inventory), ("gpu1",), "me")
    for error in (hear(tmp_path / "none.sock"), hear(tmp_path / "died.sock", answer=b"")):
        site.nodes["gpu1"].refuse["release activate"] = str(error)
        assert doors.tell(Activate("gpu1", NEW, 5), EPOCH, reason="why") == Told(refused=str(error), is_away=True)
    with pytest.raises(DsopsError) as gateway:
        ask_gateway(Door(tmp_path / "none.sock", "127.0.0.1:1"), "/drain", {})
    site.nodes["gpu1"].refuse["drain"] = str(gateway.value)
    assert doors.tell(Drain("gpu1", "x"), EPOCH, reason="why").is_away


def hear(path: Path, answer: bytes | None = None) -> DsopsError:
    """What `dsops node` says when its helper is not there, or ends without an answer."""
    with ExitStack() as stack:
        if answer is not None:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()
            threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        with pytest.raises(DsopsError) as caught:
            call(path, "state", timeout=5)
    return caught.value


def test_only_the_rollouts_own_nodes_are_looked_at_and_a_silent_one_is_unreachable(site: Site) -> None:
    fleet = get_fleet(site.inventory)
    assert [seen.node for seen in RealDoors(fleet, ("gpu2",), "me").look()] == ["gpu2"]
    text = site.inventory.read_text()
    port = text.partition("'dsops_agent_port': ")[2].partition("}")[0]
    site.inventory.write_text(text.replace(port, "1"))
    assert [seen.is_reachable for seen in RealDoors(get_fleet(site.inventory), ("gpu1", "gpu2"), "me").look()] == [
        False,
        True,
    ]
