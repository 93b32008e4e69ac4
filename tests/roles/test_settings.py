"""Inventory data: types, missing keys, misspelt keys, and who the roles run as."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dsops.control.fleet.inventory import get_fleet
from dsops.core.errors import DsopsError

from roles.ops.settings import check_keys, read_settings
from roles.ops.site import KINDS, check_server

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Role:
    role_file: str
    role_port: int = 80
    role_share: float = 0.5
    role_is_on: bool = True
    role_servers: tuple[str, ...] = ()
    role_floors: dict[str, float] = field(default_factory=dict)


def read(**data: Any) -> Role:
    return read_settings(Role, {"role_file": "/x"} | data, where="gpu1")


def test_what_the_inventory_does_not_say_has_its_default() -> None:
    assert read(role_port=81, role_servers=["a"]) == Role("/x", 81, 0.5, True, ("a",))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("role_port", "80", "an integer"),
        ("role_port", True, "an integer"),
        ("role_is_on", 1, "true or false"),
        ("role_share", "half", "a number"),
        ("role_servers", "ntp1", "a list of texts"),
        ("role_servers", [1], "a list of texts"),
        ("role_file", None, "a text"),
        ("role_floors", [1], "a table of numbers"),
        ("role_floors", {"rate": "fast"}, "a table of numbers"),
        ("role_floors", {"rate": True}, "a table of numbers"),
    ],
)
def test_a_wrong_type_names_server_key_and_what_it_should_be(key: str, value: object, kind: str) -> None:
    with pytest.raises(DsopsError, match=f"gpu1/{key}: should be {kind}, is "):
        read(**{key: value})


def test_a_table_of_numbers_is_one() -> None:
    assert read(role_floors={"rate": 1, "share": 0.5}).role_floors == {"rate": 1, "share": 0.5}


@pytest.mark.parametrize("name", ["lab", "metal", "example"])
def test_our_own_inventories_have_no_key_that_a_deploy_refuses(name: str) -> None:
    fleet = get_fleet(ROOT / f"inventory/{name}.py")
    assert [text for server in fleet.servers for text in check_server(server.name, server.data)] == []


def test_a_whole_number_is_a_number() -> None:
    assert read(role_share=1).role_share == 1.0


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DsopsError, match="gpu1/role_file: must be given"):
        read_settings(Role, {}, where="gpu1")


def test_a_misspelt_key_is_named_with_the_nearest_one() -> None:
    (problem,) = check_keys(["gatway_port", "ssh_user", "_env", "fake_delay"], KINDS, where="gpu1")
    assert problem == "gpu1: unknown key 'gatway_port'; did you mean 'gateway_port'?"


def test_a_key_like_no_other_is_named_without_a_guess() -> None:
    assert check_keys(["zzz"], KINDS, where="gpu1") == ["gpu1: unknown key 'zzz'"]


def test_the_detour_by_sudo_is_refused_instead_of_failing_in_the_middle() -> None:
    (problem,) = check_server("gpu1", {"_sudo": True, "ssh_user": "ubuntu"})
    assert "_sudo is set, but the roles log in as root" in problem
    assert check_server("gpu1", {"_sudo": False, "ssh_user": "root"}) == []
