"""Golden prompts: at least three, all different, and an answer that is right from its first letter on."""

import json
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.prompts import Prompt, is_accepted, parse_prompts
from hypothesis import given
from hypothesis import strategies as st

SUM = Prompt("sum", "12+30?", ("42", "forty-two"), 9)
TEXTS = st.text(min_size=1, max_size=20)
PROMPTS = st.builds(Prompt, id=st.just("x"), prompt=TEXTS, accepted=st.tuples(TEXTS, TEXTS), tokens=st.just(9))


def data_of(count: int = 3) -> dict[str, Any]:
    entries = [{"id": f"p{n}", "prompt": f"{n}?", "accepted": [f"{n}"], "tokens": n + 1} for n in range(count)]
    return {"format": 1, "prompts": entries}


def parse(data: object) -> tuple[Prompt, ...]:
    return parse_prompts(json.dumps(data).encode(), where="prompts.json")


def test_prompts_are_read_as_they_are_written() -> None:
    assert parse(data_of())[2] == Prompt("p2", "2?", ("2",), 3)
    assert len(parse(data_of(12))) == 12


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_are_refused(count: int) -> None:
    with pytest.raises(DsopsError, match=f"{count} are too few") as caught:
        parse(data_of(count))
    assert (caught.value.where, caught.value.mend) == (
        "prompts.json",
        "see model_repo/checkpoints/tiny-r1/prompts.json",
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "P"}, r"prompts\[1\]\.id must be small letters"),
        ({"id": "p0"}, "two prompts have the id 'p0'"),
        ({"prompt": "0?"}, "two prompts have the prompt '0\\?'"),
        ({"prompt": ""}, r"prompts\[1\]\.prompt is empty"),
        ({"prompt": 1}, r"prompts\[1\]\.prompt must be a text"),
        ({"accepted": []}, r"prompts\[1\]\.accepted must be a list"),
        ({"accepted": "1"}, r"prompts\[1\]\.accepted must be a list"),
        ({"accepted": [""]}, r"prompts\[1\]\.accepted must be a list"),
        ({"accepted": [1]}, r"prompts\[1\]\.accepted must be a list"),
        ({"tokens": 0}, r"prompts\[1\]\.tokens is 0"),
        ({"tokens": True}, r"prompts\[1\]\.tokens must be a whole number"),
        ({"colour": "red"}, r"prompts\[1\]\.colour is not known"),
    ],
)
def test_a_wrong_prompt_is_named(change: dict[str, Any], says: str) -> None:
    data = data_of()
    data["prompts"][1] |= change
    with pytest.raises(DsopsError, match=says):
        parse(data)


@pytest.mark.parametrize("key", ["id", "prompt", "accepted", "tokens"])
def test_a_missing_key_is_named(key: str) -> None:
    data = data_of()
    del data["prompts"][0][key]
    with pytest.raises(DsopsError, match=rf"prompts\[0\]\.{key} is missing"):
        parse(data)


@pytest.mark.parametrize(
    "data", [[], {}, {"format": 1}, data_of() | {"more": 1}, data_of() | {"format": 2}, data_of() | {"prompts": {}}]
)
def test_what_holds_no_prompts_is_refused(data: object) -> None:
    with pytest.raises(DsopsError, match="not golden prompts"):
        parse(data)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(DsopsError, match=r"prompts\.json: not JSON"):
        parse_prompts(content, where="prompts.json")


def test_a_whole_answer_is_one_of_the_accepted() -> None:
    assert [is_accepted(SUM, text, whole=True) for text in ("42", "forty-two", "4", "", "42 ")] == [
        *[True, True, False, False, False]
    ]


def test_a_cut_answer_begins_an_accepted_one() -> None:
    assert [is_accepted(SUM, text, whole=False) for text in ("4", "42", "forty", "", "420", "x")] == [
        *[True, True, True, False, False, False]
    ]


@given(PROMPTS, st.integers(1, 20))
def test_every_beginning_of_an_accepted_answer_is_right_and_nothing_longer(prompt: Prompt, cut: int) -> None:
    for answer in prompt.accepted:
        assert is_accepted(prompt, answer[:cut], whole=False)
        assert is_accepted(prompt, answer, whole=True)
        longer = answer + "\x00"
        assert is_accepted(prompt, longer, whole=False) == any(a.startswith(longer) for a in prompt.accepted)
