"""store.toml: its defaults are the brain's, and a misspelt or absurd value names its key."""

from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.state import Policy
from dsops.node.store.config import StoreConfig, read_store_config


def test_what_is_left_out_is_as_the_brain_has_it() -> None:
    assert StoreConfig("dsops-release@v1").policy == Policy()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'namespace' is missing"),
        ('namespace = ""', "namespace: is empty"),
        ('namespace = "x"\nbake_secnds = 5', "unknown key 'bake_secnds'"),
        ('namespace = "x"\nbake_seconds = -1', "bake_seconds: should not be below 0"),
        ('namespace = "x"\nrollbacks_per_day = 1.5', "should be a whole number"),
        ('namespace = "x"\npassport = "maybe"', "passport: should be one of demanded, when_there"),
    ],
)
def test_a_wrong_file_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "store.toml"
    path.write_text(text)
    with pytest.raises(DsopsError, match=says):
        read_store_config(path)
