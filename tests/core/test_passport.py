"""A passport: one proof on one node, in bytes that can be signed."""

import json
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.passport import Passport, make_passport, parse_passport

from tests.core.test_status import make_status

PASSPORT = Passport("r0123456789ab", 1.0, "gpu1", ("H100",), "openvino", 12, 12, 0.5, 800.0)


def test_it_is_what_the_node_measured_and_comes_back_as_it_went() -> None:
    assert make_passport(make_status(), engine="openvino") == PASSPORT
    assert parse_passport(PASSPORT.render(), where="x") == PASSPORT
    assert PASSPORT.render() == PASSPORT.render()


def test_a_node_that_proved_nothing_has_none() -> None:
    with pytest.raises(DsopsError, match="gpu1 has no proof") as caught:
        make_passport(make_status(proof=None), engine="openvino")
    assert caught.value.mend


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "passport format 2 is not known"),
        ({"accepted": "12"}, "accepted: should be a whole number"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_is_none_is_refused_with_its_key(change: dict[str, Any], says: str) -> None:
    data = json.loads(PASSPORT.render()) | change
    with pytest.raises(DsopsError, match=says):
        parse_passport(json.dumps(data).encode(), where="x")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(DsopsError):
        parse_passport(content, where="x")
