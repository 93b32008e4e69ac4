"""A daemon's TOML: what is wrong is said with file and key."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.sources.config import parse_config, parse_listen, read_config


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Outer:
    seconds: float = 1.0
    many: tuple[Inner, ...] = ()
    one: Inner | None = None


def test_tables_become_dataclasses() -> None:
    text = 'seconds = 2\n[one]\nname = "x"\n[[many]]\nname = "a"\n[[many]]\nname = "b"\n'
    assert parse_config(text, Outer, where="f") == Outer(2.0, (Inner("a"), Inner("b")), Inner("x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secconds = 1", "f: unknown key 'secconds'"),
        ("seconds = true", "f: seconds: should be a number, is True"),
        ("[[many]]\nnaem = 'a'", "f: many[0]: unknown key 'naem'"),
        ("many = 3", "f: many: should be a list"),
        ("one = 3", "f: one: should be a table"),
        ("seconds = ", "f: not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(text: str, said: str) -> None:
    with pytest.raises(DsopsError) as caught:
        parse_config(text, Outer, where="f")
    assert str(caught.value).startswith(said)
    assert caught.value.mend or "should be" in caught.value.what


def test_a_missing_or_unreadable_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    for name in ("none", "bad"):
        with pytest.raises(DsopsError, match="cannot be read"):
            read_config(tmp_path / name, Outer)


def test_listen_is_host_and_port() -> None:
    assert parse_listen("0.0.0.0:9410", where="f") == ("0.0.0.0", 9410)
    assert parse_listen("[::]:80", where="f") == ("::", 80)
    for wrong in ("9410", ":80", "host:http", "host:70000"):
        with pytest.raises(DsopsError, match="is not host:port"):
            parse_listen(wrong, where="f")
