"""effects.toml: read whole, refused with file and key, and found by an operation's name."""

import pytest
from dsops.core.effects import Capacity, Reboots, find_effect, parse_effects, split_name
from dsops.core.errors import DsopsError

ENTRY = """
[[effects]]
operation = "{operation}"
restarts = ["x.service"]
reboots = "asked"
capacity = "node"
note = "why"
back = "how"
"""


def test_an_entry_is_read() -> None:
    (effect,) = parse_effects(ENTRY.format(operation="swap: file"), where="f")
    assert (effect.reboots, effect.capacity, effect.restarts) == (Reboots.ASKED, Capacity.NODE, ("x.service",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENTRY.replace("asked", "maybe"), r"f: effects\[0\]: reboots: should be one of never, asked, is 'maybe'"),
        (ENTRY.replace("note", "nte"), r"f: effects\[0\]: unknown key 'nte'"),
        ("[[effects]", "f: is no TOML"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(DsopsError, match=said):
        parse_effects(text, where="f")


def test_an_exact_name_comes_before_a_pattern() -> None:
    text = ENTRY.format(operation="engine: release *") + ENTRY.format(operation="engine: release in use")
    effects = parse_effects(text, where="f")
    assert find_effect(effects, "engine: release in use") == effects[1]
    assert find_effect(effects, "engine: release r12") == effects[0]
    assert find_effect(effects, "engine: other") is None


def test_pyinfras_name_has_the_role_first() -> None:
    assert split_name("base | packages | base: apt source") == ("base", "base: apt source")
    assert split_name("alone") == ("", "alone")
