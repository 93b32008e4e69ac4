"""A release's manifest: canonical bytes, an id for exactly those bytes, and every wrong key by its name."""

import json
from dataclasses import replace
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.release import FileSum, Limits, Probe, Reasoning, Release, parse_limits, parse_release, release_id
from hypothesis import given
from hypothesis import strategies as st

RELEASE = Release(
    model="tiny-r1",
    quantization="int8",
    engine="openvino",
    template="chat_template.jinja",
    eos="<｜end▁of▁sentence｜>",
    reasoning=Reasoning("<think>", "</think>", opened_by_prompt=True),
    limits=Limits(context=1024, max_tokens=512, queue=128, sequences=64),
    files={"models/llm/config.pbtxt": FileSum(3, "c" * 64), "chat_template.jinja": FileSum(0, "d" * 64)},
    prompts="prompts.json",
    probe=Probe(load_seconds=60, answer_seconds=5, tokens=16),
    bos="<s>",
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(1, 1 << 40)
LIMITS = st.builds(Limits, context=st.just(1 << 41), max_tokens=st.just(1 << 40), queue=COUNTS, sequences=COUNTS)
RELEASES = st.builds(
    Release,
    model=WORDS,
    quantization=WORDS,
    engine=WORDS,
    template=st.just("chat_template.jinja"),
    eos=WORDS,
    bos=WORDS,
    reasoning=st.none() | st.builds(Reasoning, open=WORDS, close=WORDS, opened_by_prompt=st.booleans()),
    limits=LIMITS,
    prompts=st.just("prompts.json"),
    probe=st.builds(Probe, load_seconds=COUNTS, answer_seconds=COUNTS, tokens=COUNTS),
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}\.[a-z]{1,3}", fullmatch=True),
        st.builds(FileSum, size=COUNTS, sha256=st.just("e" * 64)),
    ),
)


def data_of(release: Release = RELEASE) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(release.render())
    return data


def canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@given(RELEASES)
def test_what_is_rendered_is_read_back_with_the_same_id(release: Release) -> None:
    manifest = release.render()
    read = parse_release(manifest, where="release.json")
    assert read == release
    assert read.id == release_id(manifest) == release.id


@given(st.integers(0, len(RELEASE.render()) - 1), st.integers(0, 255))
def test_any_other_byte_is_another_id_and_is_refused_or_read_as_what_it_says(place: int, byte: int) -> None:
    manifest = bytearray(RELEASE.render())
    if manifest[place] == byte:
        return
    manifest[place] = byte
    assert release_id(bytes(manifest)) != RELEASE.id
    try:
        read = parse_release(bytes(manifest), where="release.json")
    except DsopsError:
        return
    assert read.id == release_id(bytes(manifest))


def test_the_bytes_are_canonical() -> None:
    manifest = RELEASE.render()
    assert manifest == canonical(json.loads(manifest))
    assert manifest.startswith(b'{"bos":"<s>","engine":"openvino","eos":"<\xef\xbd\x9cend')
    shuffled = replace(RELEASE, files=dict(reversed(list(RELEASE.files.items()))))
    assert shuffled.id == RELEASE.id


@pytest.mark.parametrize(
    "manifest",
    [RELEASE.render() + b"\n", b" " + RELEASE.render(), json.dumps(data_of()).encode()],
    ids=["a line end", "a space", "another form"],
)
def test_other_bytes_for_the_same_content_are_refused(manifest: bytes) -> None:
    with pytest.raises(DsopsError, match="canonical"):
        parse_release(manifest, where="release.json")


def test_a_key_given_twice_is_refused() -> None:
    twice = RELEASE.render().replace(b'"bos":"<s>"', b'"bos":"x","bos":"<s>"')
    with pytest.raises(DsopsError, match="canonical"):
        parse_release(twice, where="release.json")


@pytest.mark.parametrize("manifest", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "cut", "binary", "deep"])
def test_what_is_no_json_is_refused(manifest: bytes) -> None:
    with pytest.raises(DsopsError, match=r"release\.json: not JSON"):
        parse_release(manifest, where="release.json")


@pytest.mark.parametrize("manifest", [b"[]", b"null", b"1", b'"x"'])
def test_what_is_no_table_is_refused(manifest: bytes) -> None:
    with pytest.raises(DsopsError, match="not a table"):
        parse_release(manifest, where="release.json")


@pytest.mark.parametrize("version", [0, 3, True, 2.0, "2", None])
def test_an_unknown_format_says_what_to_do(version: object) -> None:
    with pytest.raises(DsopsError, match=r"format .* is not known") as caught:
        parse_release(canonical(data_of() | {"format": version}), where="release.json")
    assert caught.value.mend == "use a newer dsops"


def test_a_manifest_without_golden_prompts_is_to_be_built_again() -> None:
    with pytest.raises(DsopsError, match="format 1 has no golden prompts") as caught:
        parse_release(canonical(data_of() | {"format": 1}), where="release.json")
    assert "release build" in caught.value.mend


@pytest.mark.parametrize("key", sorted(data_of()))
def test_a_missing_key_is_named(key: str) -> None:
    data = data_of()
    del data[key]
    with pytest.raises(DsopsError, match=key):
        parse_release(canonical(data), where="release.json")


@pytest.mark.parametrize("table", ["limits", "reasoning", "probe"])
def test_a_missing_or_extra_key_of_a_table_is_named(table: str) -> None:
    data = data_of()
    del data[table][next(iter(data[table]))]
    data[table]["depth"] = 3
    with pytest.raises(DsopsError, match=rf"{table}\.\w+ is missing; {table}\.depth is not known"):
        parse_release(canonical(data), where="release.json")


def test_an_extra_key_is_named() -> None:
    with pytest.raises(DsopsError, match="colour is not known"):
        parse_release(canonical(data_of() | {"colour": 1}), where="release.json")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model", 1, "model must be a text"),
        ("eos", None, "eos must be a text"),
        ("limits", [], "limits is not a table"),
        ("limits", {"context": "9", "max_tokens": 1, "queue": 1, "sequences": 1}, "limits.context must be a whole"),
        ("limits", {"context": True, "max_tokens": 1, "queue": 1, "sequences": 1}, "limits.context must be a whole"),
        ("limits", {"context": 9, "max_tokens": 1, "queue": 0, "sequences": 1}, "limits.queue is 0"),
        ("limits", {"context": 9, "max_tokens": 10, "queue": 1, "sequences": 1}, "limits.max_tokens is 10"),
        ("reasoning", {"open": "a", "close": "b", "opened_by_prompt": 1}, "reasoning.opened_by_prompt must be true"),
        ("reasoning", {}, "reasoning.close is missing"),
        ("files", [], "files is missing or not a table"),
        ("files", {"a": 1}, "not a table"),
        ("files", {"a": {"size": -1, "sha256": "c" * 64}}, "has no size"),
        ("files", {"a": {"size": 1, "sha256": "xyz"}}, "no sha256"),
        ("files", {"../a": {"size": 1, "sha256": "c" * 64}}, "must not climb out"),
        ("template", "../../etc/passwd", "must not climb out"),
        ("prompts", "../../etc/passwd", "must not climb out"),
        ("prompts", None, "prompts must be a text"),
        ("probe", {"load_seconds": 0, "answer_seconds": 1, "tokens": 1}, "probe.load_seconds is 0"),
        ("probe", {"load_seconds": 1, "answer_seconds": 1, "tokens": 513}, "probe.tokens is 513, more than"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(DsopsError, match=says) as caught:
        parse_release(canonical(data_of() | {key: value}), where="release.json")
    assert caught.value.where == "release.json"
    assert caught.value.mend


def test_limits_are_read_from_a_table() -> None:
    table = {"context": 4, "max_tokens": 3, "queue": 2, "sequences": 1}
    assert parse_limits(table) == Limits(context=4, max_tokens=3, queue=2, sequences=1)
