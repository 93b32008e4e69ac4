"""Lines of the key file."""

import pytest
from dsops.core.errors import DsopsError
from dsops.core.keys import find_key, hash_key, parse_keys
from hypothesis import given
from hypothesis import strategies as st

SALT = b"0123456789abcdef"


@given(st.text(min_size=1), st.binary(min_size=8, max_size=32))
def test_a_key_is_known_by_its_line_and_no_other_key_is(key: str, salt: bytes) -> None:
    keys = parse_keys(hash_key(key, salt, name="me"))
    found = find_key(keys, key)
    assert found is not None
    assert found.name == "me"
    assert find_key(keys, key + "x") is None


def test_the_form_is_name_salt_and_sha256_of_salt_and_key() -> None:
    line = hash_key("sk-1", SALT, name="team")
    assert line.startswith("team:" + SALT.hex() + ":")
    assert len(line.split(":")[2]) == 64


def test_comments_and_empty_lines_are_skipped() -> None:
    assert [k.name for k in parse_keys("# who\n\n" + hash_key("k", SALT, name="a") + "\n")] == ["a"]


@pytest.mark.parametrize("line", ["a", "a:b:c", "a:00:00", ":" + "00" * 8 + ":" + "00" * 32, "a:zz:zz", "x" * 99])
def test_a_wrong_line_is_named(line: str) -> None:
    with pytest.raises(DsopsError, match="line 2: not a key line"):
        parse_keys("# first\n" + line)


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(DsopsError, match="twice"):
        parse_keys("\n".join(hash_key(k, SALT, name="a") for k in "xy"))


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(DsopsError):
        hash_key("k", SALT, name=name)
