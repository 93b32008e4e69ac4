"""Text leaves in whole characters, and never a part of a stop string."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino_engine.text import LONGEST_WINDOW, StopFilter, TextWindow


def decode_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer with one token a byte: every character beyond ASCII comes in parts."""
    return bytes(tokens).decode("utf-8", errors="replace")


def stream(tokens: Sequence[int], sizes: Sequence[int]) -> list[str]:
    window, pieces, at = TextWindow(), [], 0
    for size in [*sizes, len(tokens)]:
        window.tokens += tokens[at : at + size]
        at += size
        if window.tokens:
            text = decode_bytes(window.tokens)
            pieces.append(window.take(text))
            window.shrink(text, decode_bytes)
    if window.tokens:
        pieces.append(window.take(decode_bytes(window.tokens), last=True))
    return pieces


@given(st.text(max_size=300), st.lists(st.integers(1, 9), max_size=200))
def test_pieces_of_any_size_join_to_the_text(text: str, sizes: list[int]) -> None:
    assert "".join(stream(text.encode(), sizes)) == text


def test_half_a_character_waits_for_its_end() -> None:
    assert stream("世".encode(), [1, 1, 1])[:4] == ["", "", "世", ""]


def test_half_a_character_at_the_end_is_given_as_it_is() -> None:
    assert "".join(stream("a世".encode()[:-1], [1] * 4)) == "a\ufffd"


def test_bytes_that_never_become_a_character_are_not_held_for_ever() -> None:
    window = TextWindow()
    window.tokens += [0x80] * 20
    assert len(window.take(decode_bytes(window.tokens))) == 17


def test_a_long_answer_keeps_a_short_window() -> None:
    window = TextWindow()
    for _ in range(1000):
        window.tokens.append(ord("x"))
        text = decode_bytes(window.tokens)
        assert window.take(text) == "x"
        window.shrink(text, decode_bytes)
    assert len(window.tokens) <= LONGEST_WINDOW + 1


@given(
    st.text(alphabet="abc", max_size=40),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
)
def test_stop_strings_never_leak_whatever_the_pieces(text: str, stops: list[str]) -> None:
    whole, letters = StopFilter(stops), StopFilter(stops)
    at_once = whole.push(text) + whole.finish()
    one_by_one = "".join(letters.push(letter) for letter in text) + letters.finish()
    assert at_once == one_by_one
    assert not any(stop in one_by_one for stop in stops)
    assert letters.hit == any(stop in text for stop in stops)


def test_a_beginning_that_does_not_become_a_stop_string_is_given_later() -> None:
    stops = StopFilter(["</end>"])
    assert [stops.push("a</en"), stops.push("ough")] == ["a", "</enough"]


def test_what_is_held_at_the_end_is_given() -> None:
    stops = StopFilter(["STOP"])
    assert (stops.push("a ST"), stops.finish()) == ("a ", "ST")


@pytest.mark.parametrize(("include", "text"), [(True, "abSTOP"), (False, "ab")])
def test_the_stop_string_itself_is_given_only_when_wanted(include: bool, text: str) -> None:
    stops = StopFilter(["STOP"], include=include)
    assert stops.push("abSTOPcd") == text
    assert stops.push("more") == ""
