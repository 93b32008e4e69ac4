"""Every operation of every role says in effects.toml what a change of it does to the service."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from dsops.core.effects import Effect, find_effect, parse_effects, split_name
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.context import ctx_inventory

from tests.roles.bundle import fake_data, write_bundle
from tests.roles.test_roles import ROLES, SITE

FOLDER = Path(__file__).parents[2] / "roles"


def prepare(role: str, tmp_path: Path, **more: Any) -> State:
    """As far as a dry run goes, on one server of a whole site."""
    data = fake_data(write_bundle(tmp_path / "bundle"), tmp_path / "secrets") | more
    members = [f"@fake/{name}" for group in SITE.values() for name in group]
    groups: Any = {group: ([f"@fake/{name}" for name in servers], {}) for group, servers in SITE.items()}
    deploy, target = ROLES[role]
    state = State(Inventory((members, data), **groups), Config())  # type: ignore[no-untyped-call]
    state.limit_hosts = [host for host in state.inventory if host.name == f"@fake/{target}"]
    with ctx_inventory.use(state.inventory):
        connect_all(state)
        add_deploy(state, deploy)
    return state


def names(role: str, tmp_path: Path) -> set[str]:
    """The role's operations on one server of a whole site, and those that its files name beside them."""
    state = prepare(role, tmp_path)
    met = {split_name(name)[1] for meta in state.op_meta.values() for name in meta.names}
    return met | {text.replace("*", "x") for text in written(role) if not any(fnmatchcase(one, text) for one in met)}


def written(role: str) -> Iterator[str]:
    """`name="role: ..."` in the role's files: also what runs on servers of another kind only; {...} is `*`."""
    for file in (FOLDER / role).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "name" and (text := render(node.value)):
                yield from [text] if text.startswith(f"{role}: ") else []
            if isinstance(node, ast.Name) and node.id == "install_packages":
                yield from (f"bundle: apt/{role}", f"{role}: apt source", f"{role}: apt reads the bundle")
                yield f"{role}: packages"


def render(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)  # type: ignore[misc]
    return ""


def effects(role: str) -> tuple[Effect, ...]:
    file = FOLDER / role / "effects.toml"
    return parse_effects(file.read_text(), where=str(file)) if file.exists() else ()


@pytest.mark.parametrize("role", ROLES)
def test_every_operation_says_what_it_does_to_the_service(tmp_path: Path, role: str) -> None:
    known = effects(role)
    assert not sorted(name for name in names(role, tmp_path) if find_effect(known, name) is None)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_said_of_operations_that_are_not_there(tmp_path: Path, role: str) -> None:
    known = effects(role)
    met = {effect for name in names(role, tmp_path) if (effect := find_effect(known, name))}
    assert not sorted(effect.operation for effect in known if effect not in met)


@pytest.mark.parametrize("role", ROLES)
def test_an_operation_has_one_entry_that_says_something(role: str) -> None:
    known = [effect.operation for effect in effects(role)]
    assert sorted(known) == sorted(set(known))
    assert all(effect.note and effect.back for effect in effects(role))
