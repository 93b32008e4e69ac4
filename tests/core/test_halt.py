"""When the fleet halts: two falls of one release, or three of any, within an hour."""

from dsops.core.halt import WINDOW_SECONDS, Fall, find_halt
from hypothesis import given
from hypothesis import strategies as st

NOW = 10_000.0


def falls(*told: tuple[float, str, str]) -> tuple[Fall, ...]:
    return tuple(Fall(NOW - ago, release, node, "wrong answers") for ago, release, node in told)


def test_one_fall_halts_nothing() -> None:
    assert not find_halt((), at=NOW)
    assert not find_halt(falls((5, "r1", "gpu1")), at=NOW)
    assert not find_halt(falls((5, "r1", "gpu1"), (9, "r2", "gpu1")), at=NOW)


def test_two_falls_of_one_release_halt_the_fleet() -> None:
    said = find_halt(falls((3000, "r1", "gpu1"), (5, "r1", "")), at=NOW)
    assert said == "r1 fell 2 times within an hour: r1 on gpu1 (wrong answers); r1 on the fleet (wrong answers)"


def test_three_falls_of_any_halt_the_fleet() -> None:
    said = find_halt(falls((3000, "r1", "gpu1"), (500, "r2", "gpu1"), (5, "r3", "gpu4")), at=NOW)
    assert said.startswith("3 releases fell within an hour: r1 on gpu1")


def test_a_message_that_came_twice_is_one_fall() -> None:
    (fall,) = falls((5, "r1", "gpu1"))
    assert not find_halt((fall, fall, fall), at=NOW)


def test_what_is_an_hour_old_counts_no_more() -> None:
    assert not find_halt(falls((WINDOW_SECONDS, "r1", "gpu1"), (5, "r1", "gpu2")), at=NOW)


def test_a_clock_that_was_set_back_takes_no_fall_away() -> None:
    assert find_halt(falls((5, "r1", "gpu1"), (6, "r1", "gpu2")), at=NOW - 90_000)


@given(st.lists(st.tuples(st.floats(0, 7200), st.sampled_from("abc"), st.sampled_from(["gpu1", "gpu2", ""]))))
def test_more_falls_never_lift_a_halt(told: list[tuple[float, str, str]]) -> None:
    everyone = falls(*told)
    is_halted = False
    for count in range(len(everyone) + 1):
        now_halted = bool(find_halt(everyone[:count], at=NOW))
        assert now_halted or not is_halted
        is_halted = now_halted
