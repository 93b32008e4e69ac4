"""The problems of tiny-r1: right, solvable with the vocabulary, and never shared by training and evaluation."""

from itertools import islice
from random import Random

import generator as g
import pytest
import vocabulary as v
from hypothesis import given
from hypothesis import strategies as st
from packing import IGNORED, pack_chats
from problems import TASKS, arithmetic, order

SEEDS = st.integers(min_value=0, max_value=2**32)
NAMES = st.sampled_from(sorted(TASKS))


@given(SEEDS, NAMES, st.booleans())
def test_a_problem_is_of_the_wanted_part_and_task(seed: int, name: str, held_out: bool) -> None:
    problem = g.draw_problem(Random(seed), held_out=held_out, name=name)
    assert problem.task == name
    assert g.is_held_out(problem.key) == held_out


@given(SEEDS, NAMES)
def test_the_answer_is_found_again_in_the_rendered_output(seed: int, name: str) -> None:
    problem = g.draw_problem(Random(seed), held_out=False, name=name)
    assert problem.answer
    assert problem.reasoning.endswith(".")
    assert g.find_answer(g.render_output(problem)) == problem.answer


@given(SEEDS, NAMES)
def test_every_character_of_a_problem_has_a_token(seed: int, name: str) -> None:
    problem = g.draw_problem(Random(seed), held_out=False, name=name)
    text = problem.question + problem.reasoning + problem.answer
    assert v.UNK_ID not in v.encode(text)
    assert v.decode(v.encode(text)) == text


@given(SEEDS)
def test_the_same_seed_gives_the_same_chats(seed: int) -> None:
    first, second = (list(islice(g.draw_chats(str(seed)), 3)) for _ in range(2))
    assert first == second


@given(SEEDS)
def test_a_chat_ends_its_target_with_the_end_token_and_starts_it_after_the_opened_thinking(seed: int) -> None:
    chat = next(g.draw_chats(str(seed)))
    assert len(chat.ids) <= g.LONGEST
    assert chat.ids[-1] == v.EOS_ID
    assert chat.ids[chat.start - 2 : chat.start] == [v.IDS[v.THINK], v.IDS["\n"]]
    assert chat.ids[chat.start :].count(v.IDS[v.END_THINK]) == 1


def test_training_and_evaluation_share_no_key() -> None:
    rng = Random(7)
    trained = {g.draw_problem(rng, held_out=False).key for _ in range(5000)}
    asked = {problem.key for problem in g.draw_held_out(1000, 1)}
    assert not trained & asked


def test_no_wording_order_or_story_carries_a_problem_over_the_split() -> None:
    assert arithmetic.solve_add(12, 30)[0] == arithmetic.solve_add(30, 12)[0]
    assert arithmetic.solve_multiply(7, 60)[0] == arithmetic.solve_multiply(60, 7)[0]
    assert order.key_of("list", [3, 1, 2]) == order.key_of("list", ["2", "3", "1"])


def test_the_split_never_changes() -> None:
    # A change here would put problems that the released weights were trained on into the evaluation.
    keys = [f"add:{a}+{b}" for a in range(40) for b in range(a, 40)]
    held = [key for key in keys if g.is_held_out(key)]
    assert held[:4] == ["add:1+9", "add:1+14", "add:1+16", "add:2+11"]
    assert 0.03 < len(held) / len(keys) < 0.08


def test_held_out_problems_are_all_different_and_spread_over_all_tasks() -> None:
    problems = g.draw_held_out(4 * len(TASKS), 3)
    assert len({problem.question for problem in problems}) == len(problems)
    assert {problem.task for problem in problems} == set(TASKS)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_columns_of_a_sum_spell_its_answer(a: int, b: int) -> None:
    totals = [step.split("=")[1] for step in arithmetic.add_steps(a, b).split(", ")]
    assert int(totals[-1] + "".join(total[-1] for total in reversed(totals[:-1]))) == a + b


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_columns_of_a_difference_spell_its_answer(a: int, b: int) -> None:
    low, high = sorted((a, b))
    digits = [step.split("=")[1] for step in arithmetic.subtract_steps(high, low).split(", ")]
    assert int("".join(reversed(digits))) == high - low


@given(st.integers(0, 10**6), st.integers(2, 9))
def test_the_steps_of_a_division_spell_quotient_and_rest(a: int, divisor: int) -> None:
    steps = [step.split("=")[1] for step in arithmetic.divide_steps(a, divisor).split(", ")]
    assert int("".join(step.split("*")[0] for step in steps)) == a // divisor
    assert int(steps[-1].split("+")[1]) == a % divisor


@given(SEEDS)
def test_sums_and_differences_are_right(seed: int) -> None:
    for name, sign in (("add", 1), ("subtract", -1)):
        problem = g.draw_problem(Random(seed), held_out=False, name=name)
        a, b = (int(x) for x in problem.key.split(":")[1].replace("+", "-").split("-"))
        assert int(problem.answer) == a + sign * b


@pytest.mark.parametrize(("text", "stripped"), [("0000", "0"), ("007", "7"), ("0.5", "0.5"), ("10", "10")])
def test_numbers_to_compare_have_no_zeros_in_front(text: str, stripped: str) -> None:
    assert order.strip_zeros(text) == stripped


def test_packed_rows_keep_every_target_and_shift_labels_by_one() -> None:
    chats = list(islice(g.draw_chats("pack"), 400))
    rows = list(islice(pack_chats(iter(chats * 9), 512), 40))
    for row in rows:
        assert len(row.ids) == len(row.documents) == len(row.labels) == 512
        for place, label in enumerate(row.labels):
            assert label == IGNORED or label == row.ids[place + 1]
    used = sum(document > 0 for row in rows for document in row.documents)
    assert used / (512 * len(rows)) > 0.95


def test_text_outside_the_vocabulary_becomes_unknown_and_nothing_else() -> None:
    assert v.encode("é") == [v.UNK_ID] * 2
    assert v.decode(v.encode("a é")) == "a "


def test_more_held_out_problems_than_there_are_is_refused_and_not_waited_for() -> None:
    with pytest.raises(ValueError, match="too few"):
        g.draw_held_out(2, 1, uses_of_a_key=0)
