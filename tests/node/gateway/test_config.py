"""gateway.toml: good ones are read, wrong ones are named with file, key and mend."""

from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.gateway.config import Address, load_config, parse_config

KEYS = 'keys_file = "/etc/dsops/api-keys"\n'


def test_only_the_key_file_must_be_said() -> None:
    config = parse_config(KEYS, where="g.toml")
    assert config.listen == Address("0.0.0.0", 8080)
    assert {name: str(address) for name, address in config.slots.items()} == {
        "a": "127.0.0.1:8101",
        "b": "127.0.0.1:8201",
    }


def test_what_is_said_holds() -> None:
    text = KEYS + 'listen = "[::1]:81"\nmax_in_flight = 3\ndeadline = 7\n[slots]\nc = "127.0.0.1:9"'
    config = parse_config(text, where="g.toml")
    assert (config.listen, config.max_in_flight, config.deadline) == (Address("::1", 81), 3, 7)
    assert str(config.listen) == "[::1]:81"
    assert list(config.slots) == ["c"]


@pytest.mark.parametrize(
    ("text", "where", "mend"),
    [
        ("", "g.toml: keys_file", "auth = false"),
        (KEYS + 'lisen = "x"', "g.toml: lisen", "did you mean listen?"),
        (KEYS + "listen = 8080", "g.toml: listen", "0.0.0.0:8080"),
        (KEYS + 'listen = "a:b"', "g.toml: listen", "0.0.0.0:8080"),
        (KEYS + 'auth = "no"', "g.toml: auth", "without quotes"),
        (KEYS + "deadline = 0", "g.toml: deadline", "remove the line"),
        (KEYS + "deadline = nan", "g.toml: deadline", "remove the line"),
        (KEYS + "max_in_flight = 1.5", "g.toml: max_in_flight", "number"),
        (KEYS + 'max_body = "4M"', "g.toml: max_body", "without quotes"),
        (KEYS + 'state_file = "x"', "g.toml: state_file", "write"),
        (KEYS + "slots = 7", "g.toml: slots", "[slots]"),
        (KEYS + '[slots]\na = "x"', "g.toml: slots.a", "write"),
        (KEYS + 'admin_listen = "0.0.0.0:8080"', "g.toml: admin_listen", "port of its own"),
        ("a = = 1", "g.toml", "line"),
    ],
)
def test_a_wrong_line_is_named_with_its_mend(text: str, where: str, mend: str) -> None:
    with pytest.raises(DsopsError) as caught:
        parse_config(text, where="g.toml")
    assert caught.value.where == where
    assert mend in caught.value.mend


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="No such file") as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.mend
