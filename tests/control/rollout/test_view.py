"""The picture of a rollout: lanes, samples, what the gates say, what comes next, and what it says to machines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.rollout.memory import Memory
from dsops.control.rollout.run import Runner
from dsops.control.rollout.store import Store
from dsops.control.rollout.view import (
    render,
    render_coming,
    render_controller,
    render_lanes,
    render_line,
    render_meaning,
    render_memory,
    render_next,
    render_reasons,
    render_span,
    render_steps,
    to_data,
)
from dsops.control.rollout.watch import Lines, open_screen
from dsops.core.rollout_events import Abort, Pause
from dsops.core.rollout_state import Judged, Judgement, Rollout, Stand, Status, Trial
from rich.console import Console

from tests.control.rollout.world import NEW, OLD, SITE, World, make_rollout, make_runner, make_world, start


def show(rollout: Rollout, *, at: float, width: int = 140) -> str:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(render(rollout, at=at, width=width))
    return capture.get()


def make_run(folder: Path, world: World, *, turns: int) -> Runner:
    store = Store(folder, SITE)
    runner = make_runner(store, start(store, world), world)
    for _ in range(turns):
        runner.turn()
        world.sleep(20.0)
    return runner


def test_it_shows_lanes_samples_gates_and_what_comes_next(tmp_path: Path) -> None:
    world = make_world(3)
    shown = show(make_run(tmp_path, world, turns=3).rollout, at=world.at)
    assert f"rollout 1 of {NEW}: under way, begun 60 s ago by me" in shown
    assert "steps: [1 %]  5 %  25 %  50 %  100 %   (new)" in shown
    assert "gpu1  ■□□□□   1 %  has it" in shown
    assert "gpu2  □□□□□   0 %  waits for its turn" in shown
    assert "HOLD   failed requests: 0 of " in shown
    assert "nothing speaks against it so far" in shown
    assert "Next: 5 %, not before 40 s of baking." in shown


def test_a_narrow_terminal_gets_no_squares(tmp_path: Path) -> None:
    world = make_world(3)
    shown = show(make_run(tmp_path, world, turns=3).rollout, at=world.at, width=80)
    assert "■" not in shown
    assert "gpu1  1 %" in shown


def test_of_many_nodes_those_that_wait_are_counted(tmp_path: Path) -> None:
    world = make_world(100)
    shown = show(make_run(tmp_path, world, turns=2).rollout, at=world.at)
    assert "99 more" in shown
    assert "gpu50" not in shown


def test_one_that_failed_says_why_and_what_is_refused_from_now_on(tmp_path: Path) -> None:
    world = make_world(3)
    world.rates = {NEW: 40.0}
    runner = make_run(tmp_path, world, turns=6)
    shown = show(runner.rollout, at=world.at)
    assert f"rollout 1 of {NEW}: taken back" in shown
    assert "too rare to be chance" in shown
    assert f"no node may take {NEW}: failed requests: " in render_memory(runner.memory, at=world.at)[-1]


def test_one_that_a_person_took_back_is_not_said_to_be_refused(tmp_path: Path) -> None:
    world = make_world(3)
    runner = make_run(tmp_path, world, turns=3)
    runner.take(Abort(world.at, "ann", "no"), who="ann")
    assert render_next(runner.rollout, at=world.at) == [
        "It goes back: aborted by ann: no",
        "Next: gpu1 must still go back.",
    ]
    assert render_line(runner.rollout).endswith("; goes back: aborted by ann: no")
    for _ in range(2):
        runner.turn()
    assert render_next(runner.rollout, at=world.at) == ["It is over: aborted by ann: no."]
    assert show(runner.rollout, at=world.at).count("aborted by ann: no") == 1
    done = replace(runner.rollout, status=Status.DONE, failed="", said="done, without gpu2")
    assert render_next(done, at=world.at) == ["It is over: done, without gpu2."]


def test_what_waits_for_a_person_says_so(tmp_path: Path) -> None:
    world = make_world(3)
    runner = make_run(tmp_path, world, turns=4)
    runner.take(Pause(world.at, "ann", "lunch"), who="ann")
    runner.turn()
    assert render_next(runner.rollout, at=world.at) == [
        "It holds: paused by ann: lunch",
        "Next: 5 %, not before `dsops rollout resume` and 20 s of baking.",
    ]
    held = replace(runner.rollout, rules=replace(runner.rollout.rules, hold_at=1), trial=Trial(is_passed=True))
    assert "`dsops rollout resume`" in render_coming(replace(held, status=Status.RUNNING))
    assert "resume" not in render_coming(replace(held, status=Status.RUNNING, ended=True))


def test_a_lost_node_is_whole_on_a_narrow_screen_and_its_ways_on_are_named(tmp_path: Path) -> None:
    world = make_world(3)
    runner = make_run(tmp_path, world, turns=3)
    world.nodes["gpu1"].is_dead = True
    for _ in range(20):
        runner.turn()
        world.sleep(20.0)
    shown = show(runner.rollout, at=world.at, width=80)
    assert "gpu1  1 %    lost: counts as" in shown
    assert "…" not in shown
    assert shown.count("unreachable for 5 min") == 1
    assert "Mend gpu1; or go on without: `dsops rollout resume`" in shown


def test_a_reason_of_many_nodes_is_said_once() -> None:
    rollout = make_rollout(make_world(9))
    parts = tuple(replace(part, stand=Stand.OUT, reason="drained: disks") for part in rollout.parts)
    assert render_reasons(replace(rollout, parts=parts)) == ["gpu1, gpu2, gpu3, gpu4, gpu5 and 4 more: drained: disks"]


@pytest.mark.parametrize(
    ("share", "squares"), [(0, "□□□□□   0 %"), (5, "■■□□□   5 %"), (50, "■■■■□  50 %"), (100, "■■■■■ 100 %")]
)
def test_each_lane_is_a_square(share: int, squares: str) -> None:
    assert render_lanes(share) == squares


@pytest.mark.parametrize(
    ("judgement", "p", "words"),
    [
        (Judgement.HOLD, None, "not tested yet"),
        (Judgement.HOLD, 0.6, "nothing speaks against it so far"),
        (Judgement.HOLD, 0.01, "it looks worse, and may be chance"),
        (Judgement.PASS, 1e-9, "as good as sure that it is no worse"),
        (Judgement.FAIL, 1e-9, "too rare to be chance"),
    ],
)
def test_a_p_value_is_said_in_words(judgement: Judgement, p: float | None, words: str) -> None:
    assert render_meaning(Judged("failed", judgement, "x", p)) == words


def test_what_holds_it_and_that_nobody_looks_is_said() -> None:
    world = make_world(2)
    rollout = replace(make_rollout(world), hold="alerts fire: x", seen_at=world.at)
    assert render_next(rollout, at=world.at + 600)[0] == "It holds: alerts fire: x"
    assert render_next(rollout, at=world.at + 600)[-1] == "Nobody has looked for 10 min."
    assert render_controller(None, rollout).startswith("No controller runs it: nothing goes further")
    last = replace(rollout, step=4, baked=10**6)
    assert render_coming(last) == "Next: it is done, not before 100 more requests."
    assert render_steps(last).startswith("steps: 1 %✓  5 %✓  25 %✓  50 %✓  [100 %]")


def test_in_one_line_it_says_who_has_it_and_who_is_lost() -> None:
    rollout = make_rollout(make_world(2))
    parts = (replace(rollout.parts[0], share=5), replace(rollout.parts[1], stand=Stand.LOST))
    line = render_line(replace(rollout, parts=parts, hold=""))
    assert line == "running 1 %: gpu1 5 %; 0 requests, 0 failed; lost: gpu2"


def test_machines_get_all_of_it(tmp_path: Path) -> None:
    runner = make_run(tmp_path, make_world(2), turns=2)
    data = to_data(runner.kept, runner.rollout, Memory(halted="x"), None, runner.store.read_lines(1))
    assert json.loads(json.dumps(data))["rollout"]["parts"][0]["before"] == OLD
    assert (data["active"], data["controller"]) == (True, None)
    assert to_data(None, None, Memory(), None, ())["rollout"] is None


def test_in_a_file_samples_that_come_make_no_lines() -> None:
    world, console = make_world(2), Console(width=300, force_terminal=False)
    rollout = make_rollout(world)
    with console.capture() as capture:
        lines = Lines(console, lambda: 0.0)
        for hold in ("316 of 800 samples", "322 of 800 samples", "no samples of gpu1", "alerts fire: x"):
            lines.show(replace(rollout, hold=hold), Memory())
    told = capture.get().splitlines()
    assert [line.partition("holds: ")[2] for line in told] == [
        "316 of 800 samples",
        "no samples of gpu1",
        "alerts fire: x",
    ]


def test_in_a_file_a_line_comes_when_something_but_the_counts_changed() -> None:
    world, console = make_world(2), Console(width=300, force_terminal=False)
    rollout, now = make_rollout(world), [0.0]
    with console.capture() as capture:
        lines = Lines(console, lambda: now[0])
        for at, one in (
            (0.0, rollout),
            (3.0, replace(rollout, seen_at=1.0)),
            (6.0, replace(rollout, hold="x")),
            (400.0, rollout),
        ):
            now[0] = at
            lines.show(one, Memory())
    assert len(capture.get().splitlines()) == 3


def test_on_a_terminal_it_changes_in_place() -> None:
    world, console = make_world(2), Console(width=120, force_terminal=True, force_interactive=True)
    with console.capture() as capture, open_screen(console, now=lambda: world.at) as screen:
        screen.tell("gpu1 has it")
        screen.show(make_rollout(world), Memory(halted="two fell"))
    assert "gpu1 has it" in capture.get()
    assert "THE FLEET IS HALTED: two fell" in capture.get()


def test_spans_are_said_as_people_do() -> None:
    assert [render_span(one) for one in (40, 600, 12000)] == ["40 s", "10 min", "3 h 20 min"]
