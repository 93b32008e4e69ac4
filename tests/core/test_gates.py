"""Gates: each wave through all of them in order, nothing more after the first that fails, done servers left alone."""

from dsops.core.gates import ORDER, Gate, Progress, begin, step
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [f"s{i}" for i in range(9)]


@st.composite
def waves(draw: st.DrawFn) -> tuple[tuple[str, ...], ...]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    found: list[tuple[str, ...]] = []
    while names:
        size = draw(st.integers(1, len(names)))
        found.append(tuple(names[:size]))
        names = names[size:]
    return tuple(found)


def play(progress: Progress, fail: int) -> tuple[list[tuple[Gate, tuple[str, ...]]], Progress]:
    """Through the gates until the end; the one of this number fails."""
    passed = []
    while not progress.is_over:
        passed.append((progress.gate, progress.wave))
        progress = step(progress, why="broken" if len(passed) == fail else "")
    return passed, progress


@settings(max_examples=60)
@given(waves=waves(), fail=st.integers(1, 60), done=st.sets(st.sampled_from(NAMES)))
def test_it_stops_at_the_first_gate_that_fails(waves: tuple[tuple[str, ...], ...], fail: int, done: set[str]) -> None:
    passed, end = play(begin(waves, frozenset(done)), fail)
    assert len(passed) <= fail
    assert (end.stop is not None) == (len(passed) == fail)
    assert end.stop is None or (end.stop.gate, end.stop.why) == (passed[-1][0], "broken")


@settings(max_examples=60)
@given(waves=waves(), done=st.sets(st.sampled_from(NAMES)))
def test_every_wave_passes_all_gates_in_order_and_done_servers_are_left_alone(
    waves: tuple[tuple[str, ...], ...], done: set[str]
) -> None:
    passed, end = play(begin(waves, frozenset(done)), 0)
    left = [tuple(name for name in wave if name not in done) for wave in waves]
    assert passed == [(gate, wave) for wave in left if wave for gate in ORDER]
    assert end.left == ()


@settings(max_examples=60)
@given(waves=waves(), fail=st.integers(1, 60))
def test_a_second_apply_goes_on_with_what_was_left(waves: tuple[tuple[str, ...], ...], fail: int) -> None:
    _, first = play(begin(waves), fail)
    again, second = play(begin(waves, first.done), 0)
    assert {name for _, wave in again for name in wave} == set(first.left)
    assert second.left == ()


def test_what_was_begun_is_told_from_what_was_not_touched() -> None:
    waves = (("a",), ("b", "c"), ("d",))
    _, end = play(begin(waves), len(ORDER) + ORDER.index(Gate.VERIFY) + 1)
    assert (end.done, end.wave, end.untouched) == ({"a"}, ("b", "c"), ("d",))
    _, end = play(begin(waves), len(ORDER) + ORDER.index(Gate.DRAIN) + 1)
    assert end.untouched == ("b", "c", "d")
