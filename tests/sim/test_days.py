"""A slice of `make sim-days`, and what it stands on: skipped time changes nothing, the chain is the agent's rule."""

import math
from collections import Counter
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from dsops.core.status import Blame

from tests.sim.days.__main__ import LINES, main, play_all
from tests.sim.days.flakes import Flakes
from tests.sim.days.node import Act, Node
from tests.sim.days.play import Line, Play, Tally
from tests.sim.days.real import REALS, Real, find_fault
from tests.sim.days.table import compare, find_wrong, merge, render
from tests.sim.days.theory import Rates, State, find_baked, find_due, find_interval, find_rates, step
from tests.sim.days.unknown import KINDS, Kind

HOUR = 1 / 24
SEED = 7


def play(line: Line, seed: str, *, days: float, skips: bool = True, told: list[str] | None = None) -> Tally:
    lines = [] if told is None else told
    return Play(line, seed=seed, days=days, skips=skips, tell=lines.append).run()


# --- skipped time ------------------------------------------------------------------------------------------------

BUSY = Line("busy", 1e-2, 1.0, releases=60.0, storms=150.0, plain=100.0, reals=200.0)


@pytest.mark.parametrize(
    ("line", "days"),
    [(BUSY, HOUR / 3), (replace(BUSY, rate=0.15), HOUR / 4), (Line("trial", 0.05, 1.0, is_trial=True), HOUR / 5)],
    ids=["all that happens", "many flakes", "on trial"],
)
def test_skipped_time_changes_no_decision_and_not_its_moment(line: Line, days: float) -> None:
    skipped = 0.0
    decisions: Counter[str] = Counter()
    for number in range(2):
        quick, slow = (play(line, f"same:{number}", days=days, skips=skips) for skips in (True, False))
        assert [(round(at, 3), *what) for at, *what in quick.decisions] == [
            (round(at, 3), *what) for at, *what in slow.decisions
        ]
        assert (quick.happened, quick.right, quick.wrong) == (slow.happened, slow.right, slow.wrong)
        assert quick.lived == pytest.approx(slow.lived)
        assert slow.skipped == 0
        skipped += quick.skipped
        decisions.update(what for _, what, _ in quick.decisions)
    assert skipped > 0
    assert decisions


def test_flakes_come_at_their_rate() -> None:
    flakes = Flakes(Random(1), 0.2)
    assert sum(flakes.take() for _ in range(50_000)) == pytest.approx(10_000, rel=0.05)
    assert Flakes(Random(1), 0.0).left == math.inf


# --- the chain ---------------------------------------------------------------------------------------------------


class Script(Flakes):
    """These probes flake, in the order in which they are heard; none after them."""

    def __init__(self, bad: tuple[bool, ...]) -> None:
        super().__init__(Random(0), 0.0)
        self.left = 0
        self._bad = list(bad)

    def take(self) -> bool:
        return self._bad.pop(0) if self._bad else False


def follow_chain(bad: tuple[bool, ...], *, trial: bool) -> tuple[int, str]:
    """(how often traffic was taken away, how it ended) of that path through the chain."""
    script, state, ejects = Script(bad), State(asked=(4, 1) if trial else (14, 14)), 0
    for _ in range(60):
        p = [0.0, 0.0]
        for who in find_due(state, trial=trial):
            p[who] = float(script.take())
        [(state, _, times)] = step(state, (p[0], p[1]), trial=trial)
        ejects += times
        if state.end:
            break
    return ejects, state.end


def follow_agent(bad: tuple[bool, ...], *, trial: bool) -> tuple[int, str]:
    """The same of the real Watch."""
    node = Node(Random(1), rate=0.0)
    node.run(130.5)
    if trial:
        node.bring_release()
    started = node.now
    while node.now < started + 30.0 or set(find_next(node)) != ({2.0, 5.0} if trial else {15.0}):
        node.run(1.0)
    node.acts.clear()
    node.flakes = Script(bad)
    for _ in range(60):
        node.run(1.0)
        if any(act.what != "eject" for act in node.acts):
            break
    done = [act.what for act in node.acts]
    ends = [{"restart gateway": "gateway"}.get(what, "release") for what in done if what != "eject"]
    return done.count("eject"), ends[0] if ends else ""


def find_next(node: Node) -> list[float]:
    """How long ago each witness will have been asked with the next tick."""
    tick = math.ceil(node.now)
    return [tick - at for at in node.watch.eyes._rounds.began.values()]


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("probes", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_the_chain_ends_as_the_real_agent_does_on_every_path(*, probes: int, trial: bool) -> None:
    odd = [
        (bad, follow_chain(bad, trial=trial), agent)
        for bad in product((False, True), repeat=probes)
        if follow_chain(bad, trial=trial) != (agent := follow_agent(bad, trial=trial))
    ]
    assert not odd


def test_a_chain_of_flakes_that_never_come_never_acts() -> None:
    assert find_rates(0.0, trial=True) == Rates(0.0, 0.0, 0.0)
    assert find_baked(Rates(0.0, 0.0, 0.0)).rollbacks == 0.0


def test_four_flakes_in_a_row_are_what_an_act_takes_once_baked_and_three_on_trial() -> None:
    for trial, order in ((False, 4), (True, 3)):
        one, half = (find_rates(p, trial=trial).release for p in (1e-4, 5e-5))
        assert one / half == pytest.approx(2**order, rel=0.02)


def test_of_restarts_in_a_quick_row_each_second_one_is_a_rollback() -> None:
    often = find_baked(Rates(1.0, 0.0, 0.0))
    assert often.rollbacks == pytest.approx(often.restarts)
    seldom = find_baked(Rates(1e-6, 1e-6, 0.0))
    assert seldom.rollbacks / seldom.restarts == pytest.approx(0.0036, rel=0.01)
    assert seldom.gateway == pytest.approx(1e-6, rel=0.001)


def test_of_many_restarts_of_the_gateway_two_an_hour_are_made() -> None:
    often = find_baked(Rates(1e-9, 100 / 3600, 0.0)).gateway * math.exp(100 / 3600 * 120)
    assert often * 3600 == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("expected", [0.0, 1e-5, 0.7, 12.0, 400.0])
def test_the_interval_misses_one_in_a_thousand(expected: float) -> None:
    low, high = find_interval(expected)
    inside = sum(
        math.exp(n * math.log(expected or 1e-300) - expected - math.lgamma(n + 1)) for n in range(low, high + 1)
    )
    assert inside >= 0.999
    assert low <= expected <= high or expected < 1


# --- the slice ---------------------------------------------------------------------------------------------------


def test_nothing_is_done_from_unknown_and_false_acts_are_as_many_as_theory_says() -> None:
    tallies = play_all(0.003, seed=SEED)
    assert find_wrong(tallies) == []
    whole = merge(tallies)
    assert whole.days == pytest.approx(3000)
    assert whole.happened["storms"] > 10
    assert whole.count("eject", cause="unknown") == 0
    table = "\n".join(render(tallies))
    assert "acts from UNKNOWN: 0" in table
    assert "OFF" not in table


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_hides_the_truth_leads_to_no_act(kind: Kind) -> None:
    node = Node(Random(1), rate=0.0)
    node.run(0.5)
    node.live(200.0)
    assert node.is_quiet
    node.fault = "it"
    kind.begin(node, Random(2))
    node.live(70.0)
    node.mend()
    node.live(30.0)
    assert node.acts == []


@pytest.mark.parametrize("real", REALS, ids=lambda real: real.name)
def test_what_is_really_wrong_is_found_and_answered(real: Real) -> None:
    line = Line("one", 0.0, 1.0, reals=1.0)
    played = Play(line, seed="real", days=1.0)
    played.node.live(200.0)
    played.play_real(real)
    assert played.tally.wrong == []
    assert played.tally.right[real.name] == 1


# --- that it can fail --------------------------------------------------------------------------------------------


def test_more_false_acts_than_theory_says_are_off() -> None:
    line = replace(LINES[2], days=1.0)
    lived = {True: 0.0, False: 86400.0}
    good = Tally(lived=lived, acts=Counter({("eject", "flake", False): 7}))
    bad = Tally(lived=lived, acts=Counter({("eject", "flake", False): 30}))
    assert find_wrong({line: good}) == []
    [said] = find_wrong({line: bad})
    assert "traffic taken away: 30 instead of" in said
    assert any("OFF" in row for row in render({line: bad}))
    assert not all(one.is_good for one in compare(line, bad))


def test_an_act_from_unknown_is_told_with_the_node_that_it_befell() -> None:
    played = Play(Line("one", 0.0, 1.0), seed="1:0:5", days=1.0)
    played.node.acts.append(Act(9.0, "eject", "unknown", baking=False, blame=None))
    played.take_acts()
    assert played.tally.wrong == ["eject because of unknown at 9.0 s of 1:0:5"]


@pytest.mark.parametrize(
    ("done", "codes", "blames", "says"),
    [
        (("eject", "rollback"), {"xid.79"}, {Blame.HARDWARE}, "done eject, rollback; must be eject"),
        ((), {"xid.79"}, {Blame.HARDWARE}, "done nothing; must be eject"),
        (("eject",), set(), {Blame.HARDWARE}, "xid.79 was not found"),
        (("eject",), {"xid.79"}, {Blame.RELEASE}, "blamed release; must be hardware"),
        (("eject", "eject"), {"xid.79"}, {Blame.HARDWARE}, ""),
    ],
)
def test_what_is_done_otherwise_than_it_must_is_told(
    done: tuple[str, ...], codes: set[str], blames: set[Blame], says: str
) -> None:
    acts = [Act(1.0, what, "real", baking=False, blame=None) for what in done]
    assert says in find_fault(REALS[0], acts, codes, blames)
    assert bool(says) == bool(find_fault(REALS[0], acts, codes, blames))


def test_one_node_is_played_again_act_by_act(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["days", "--days", "2000", "--replay", "1:3:0"])
    assert main() == 0
    first = capsys.readouterr().out
    assert "eject because of flake" in first
    assert main() == 0
    assert capsys.readouterr().out == first
