"""How far a step goes: over how many nodes, with which share, in which order."""

import pytest
from dsops.core.lanes import SHARES
from dsops.core.rollout_state import Part, Rollout, Rules, Stand
from dsops.core.spread import find_crowded, find_no_room, find_targets, order_parts, plan_step
from dsops.core.state import Epoch
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("size", "steps"),
    [
        (1, [(1, 1), (1, 5), (1, 25), (1, 50), (1, 100)]),
        (2, [(1, 1), (1, 5), (1, 50), (1, 100), (2, 100)]),
        (3, [(1, 1), (1, 5), (1, 50), (1, 100), (3, 100)]),
        (10, [(1, 1), (1, 50), (2, 100), (5, 100), (10, 100)]),
        (100, [(1, 1), (5, 100), (25, 100), (50, 100), (100, 100)]),
    ],
)
def test_steps_spread_over_nodes_first_and_over_lanes_where_nodes_are_few(
    size: int, steps: list[tuple[int, int]]
) -> None:
    percents = Rules().steps
    assert [plan_step(percent, size, is_first=percent == 1) for percent in percents] == steps


@settings(max_examples=100)
@given(size=st.integers(1, 300), percents=st.lists(st.integers(1, 99), max_size=5, unique=True))
def test_no_step_gives_more_of_the_traffic_than_its_percent(size: int, percents: list[int]) -> None:
    steps = [plan_step(percent, size, is_first=False) for percent in [*sorted(percents), 100]]
    for percent, (nodes, share) in zip([*sorted(percents), 100], steps, strict=True):
        assert share in SHARES
        assert 1 <= nodes <= size
        assert nodes * share <= max(percent * size, 1)
    assert steps[-1] == (size, 100)
    assert [nodes for nodes, _ in steps] == sorted(nodes for nodes, _ in steps)


def make_rollout(*parts: Part, step: int = 0, **rules: int) -> Rollout:
    return Rollout("7", "r1", "ann", "newer", 0.0, Rules(**rules), Epoch(), parts, step=step)  # type: ignore[arg-type]


def part(node: str, **fields: object) -> Part:
    return Part(node, **({"before": "r0"} | fields))  # type: ignore[arg-type]


def test_those_that_have_it_already_come_first() -> None:
    rollout = make_rollout(part("a"), part("b", wants=50, share=50), part("c"), part("d"), step=3)
    assert find_targets(rollout) == {"b": 100, "a": 100}


def test_nobody_who_is_away_or_worked_on_gets_a_turn() -> None:
    parts = [
        part("a", stand=Stand.OUT),
        part("b", gone_at=5.0),
        part("c", closed="li: fans"),
        part("d", is_moving=True),
        part("e", is_serving=False),
        part("f"),
    ]
    assert find_targets(make_rollout(*parts)) == {"f": 1}
    assert find_targets(make_rollout(*parts[:-1])) == {}


def test_where_two_copies_do_not_fit_or_nothing_serves_yet_it_is_all_or_nothing() -> None:
    assert find_targets(make_rollout(part("a", alone=True))) == {"a": 100}
    assert find_targets(make_rollout(part("a", before="", is_serving=False))) == {"a": 100}


def test_every_pool_has_its_turn_and_single_copies_come_last() -> None:
    parts = [part(f"h{i}", pool="h100") for i in range(4)] + [part(f"t{i}", pool="t4") for i in range(2)]
    parts += [part("x", pool="x", alone=True), part("fresh", pool="y", before="")]
    assert [one.node for one in order_parts(parts)] == ["h0", "t0", "h1", "h2", "t1", "h3", "x", "fresh"]


def test_a_pool_that_lacks_too_many_holds_everything() -> None:
    out = make_rollout(part("a", gone_at=1.0), part("b", closed="li: fans"), part("c"))
    assert find_crowded(out) == "2 of 3 of pool gpu do not serve, 1 may be out: a, b"
    assert not find_crowded(make_rollout(part("a", gone_at=1.0), part("b"), part("c")))
    # Those that the rollout itself drained are reckoned where it drains.
    assert not find_crowded(make_rollout(part("a", drained=True), part("b", drained=True), part("c")))


@settings(max_examples=100)
@given(
    outs=st.lists(st.sampled_from(["", "drained", "gone", "closed", "ill"]), min_size=1, max_size=40),
    asked=st.integers(0, 5),
)
def test_who_is_drained_leaves_enough_others(outs: list[str], asked: int) -> None:
    kinds = {
        "": {},
        "drained": {"drained": True},
        "gone": {"gone_at": 1.0},
        "closed": {"closed": "li"},
        "ill": {"is_serving": False},
    }
    me = part("me", alone=True)
    rollout = make_rollout(me, *(part(f"n{i}", **kinds[out]) for i, out in enumerate(outs)), unavailable=asked)
    if not find_no_room(rollout, me):
        assert "" in outs
        assert sum(map(bool, outs)) + 1 <= max(1, asked, (len(outs) + 1) // 10)
