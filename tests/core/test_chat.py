"""Templates, stop sequences and the division of reasoning, also under every way to cut the pieces."""

from datetime import datetime

import pytest
from dsops.core.chat import (
    Delta,
    PromptRefusedError,
    ReasoningSplitter,
    StopFinder,
    Tags,
    compile_template,
    render_prompt,
)
from dsops.core.errors import DsopsError
from hypothesis import given
from hypothesis import strategies as st

TAGS = Tags("<think>", "</think>")
# Few letters, and pieces of the tags, so that near misses are common.
TEXTS = st.lists(
    st.sampled_from(["a", "b", " ", "\n", "<", "</", "think", ">", "<think>", "</think>", "é", "你"]),
    max_size=24,
).map("".join)
CUTS = st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=12)


def cut(text: str, sizes: list[int]) -> list[str]:
    """`text` in pieces of these sizes, repeated as needed."""
    pieces, at, i = [], 0, 0
    while at < len(text):
        pieces.append(text[at : at + sizes[i % len(sizes)]])
        at, i = at + sizes[i % len(sizes)], i + 1
    return pieces


def split(pieces: list[str], *, opened: bool = True, tags: Tags | None = TAGS, ended: bool = False) -> Delta:
    splitter = ReasoningSplitter(tags, opened=opened)
    parts = [*map(splitter.feed, pieces), splitter.finish(ended_by_itself=ended)]
    return Delta("".join(p.reasoning for p in parts), "".join(p.content for p in parts))


def find_stop(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    finder = StopFinder(stops)
    out = "".join(map(finder.feed, pieces))
    return out + finder.finish(), finder.found


def judge_split(text: str, *, opened: bool) -> Delta:
    """The same division, said plainly for a text that is there as a whole."""
    bare = text.lstrip()
    if bare.startswith(TAGS.open):
        inside = bare.removeprefix(TAGS.open)
    elif opened:
        inside = text
    else:
        return Delta(content=text)
    reasoning, closed, content = inside.partition(TAGS.close)
    return Delta(reasoning.strip(), content.lstrip()) if closed else Delta(reasoning.strip())


@given(TEXTS, CUTS, st.booleans())
def test_reasoning_is_divided_the_same_however_the_text_is_cut(text: str, sizes: list[int], opened: bool) -> None:
    assert split(cut(text, sizes), opened=opened) == judge_split(text, opened=opened)


@given(TEXTS, CUTS)
def test_without_tags_every_character_is_content(text: str, sizes: list[int]) -> None:
    assert split(cut(text, sizes), tags=None) == Delta(content=text)


@given(TEXTS, CUTS, st.booleans())
def test_nothing_but_tags_and_white_space_is_ever_lost(text: str, sizes: list[int], opened: bool) -> None:
    got = split(cut(text, sizes), opened=opened)
    for letter in "abé你":
        assert (got.reasoning + got.content).count(letter) == text.count(letter)


def test_a_closing_tag_cut_across_pieces_is_found() -> None:
    assert split(["I add.\n</th", "ink", ">\n\n4", "2"]) == Delta("I add.", "42")


def test_a_model_that_ends_without_closing_its_reasoning_has_answered() -> None:
    assert split(["The answer ", "is 4"], ended=True) == Delta("The answer is 4", "The answer is 4")


def test_reasoning_that_was_cut_off_is_no_answer() -> None:
    assert split(["I was still thin", "king</th"]) == Delta("I was still thinking</th", "")


def test_an_opening_tag_that_the_model_repeats_is_dropped() -> None:
    assert split(["<thi", "nk>\nhm\n</think>x"]) == Delta("hm", "x")


def test_a_model_that_does_not_reason_speaks_plainly() -> None:
    assert split([" 4", "2"], opened=False) == Delta(content=" 42")


def test_reasoning_is_passed_on_as_it_comes() -> None:
    splitter = ReasoningSplitter(TAGS, opened=True)
    assert [splitter.feed(piece).reasoning for piece in ("\na", "b", " ", "c<", "d")] == [
        "a",
        "b",
        "",
        " c",
        "<d",
    ]


STOPS = st.lists(st.text("ab<\n", min_size=1, max_size=4), min_size=0, max_size=4)


@given(st.text("ab<\n", max_size=30), CUTS, STOPS)
def test_a_stop_is_found_the_same_for_every_cut(text: str, sizes: list[int], stops: list[str]) -> None:
    ends = [(text.find(s) + len(s), text.find(s)) for s in stops if s in text]
    expected = (text[: min(ends)[1]], True) if ends else (text, False)
    assert find_stop(cut(text, sizes), stops) == expected


def test_the_stop_that_is_complete_first_counts() -> None:
    assert find_stop(["xabcd"], ["abcd", "c"]) == ("xab", True)


def test_what_may_become_a_stop_is_held_back_and_given_at_the_end() -> None:
    finder = StopFinder(["END"])
    assert [finder.feed("abE"), finder.feed("N"), finder.finish()] == ["ab", "", "EN"]


def test_after_a_stop_nothing_comes() -> None:
    finder = StopFinder(["."])
    assert [finder.feed("a.b"), finder.feed("c"), finder.finish()] == ["a", "", ""]


def render(source: str, **variables: object) -> str:
    template = compile_template(source, now=lambda: datetime(2025, 1, 20, 8))
    return render_prompt(template, [{"role": "user", "content": 'é "x" <b>'}], variables=variables)


def test_the_helpers_that_hugging_face_templates_expect_are_there() -> None:
    assert render("{{ messages[0].content | tojson }}") == '"é \\"x\\" <b>"'
    assert render("{{ strftime_now('%Y-%m-%d') }}") == "2025-01-20"
    assert (
        render("{% if true %}\n  {% for m in messages %}\n{{ m.role }}{% break %}\n{% endfor %}{% endif %}") == "user"
    )
    assert render("{% generation %}{{ bos_token }}{% endgeneration %}", bos_token="B") == "B"


def test_a_template_may_refuse_a_conversation() -> None:
    with pytest.raises(PromptRefusedError, match="only two roles"):
        render("{{ raise_exception('only two roles') }}")


def test_a_template_cannot_leave_its_sandbox_or_change_messages() -> None:
    for source in ("{{ ''.__class__.__mro__ }}", "{% set _ = messages.append(1) %}"):
        with pytest.raises(DsopsError, match="template failed"):
            render(source)


def test_a_broken_template_says_where() -> None:
    with pytest.raises(DsopsError, match="line 2"):
        render("a\n{% if %}")
