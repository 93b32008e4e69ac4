"""What the roles say of themselves is read as they say it, without importing them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from dsops.control.doctor.defaults import Key, parse_keys, read_keys, read_systems
from dsops.control.doctor.site import PLACES
from dsops.core.errors import DsopsError

from roles.ops.site import KINDS
from roles.ops.systems import read_systems as read_systems_of_roles
from tests.control.doctor.sites import ROOT


def test_every_key_of_every_role_is_read_with_its_type_and_default() -> None:
    keys = read_keys(ROOT)
    real = {field.name: field for kind in KINDS for field in fields(kind)}
    assert keys.keys() == real.keys()
    for name, key in keys.items():
        is_made = real[name].default_factory is not MISSING
        assert key.is_required == (real[name].default is MISSING and not is_made), name
        assert key.is_required or is_made or key.default == real[name].default, name


def test_reading_them_imports_no_role() -> None:
    code = "import sys, pathlib; from dsops.control.doctor.defaults import read_keys; "
    code += f"assert read_keys(pathlib.Path({str(ROOT)!r})); assert not [m for m in sys.modules if m[:5] == 'roles']"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_only_dataclass_fields_count() -> None:
    text = "N = 3\n@dataclass\nclass A:\n    a_port: int = N\n    a_file: str\n    kept = 1\nclass B:\n    b: int = 2\n"
    assert parse_keys(text, role="a") == [
        Key("a_port", "a", "int", is_required=False, default=3),
        Key("a_file", "a", "str", is_required=True),
    ]


def test_broken_defaults_are_said_with_their_line() -> None:
    with pytest.raises(DsopsError) as caught:
        parse_keys("\nclass :", role="nginx")
    assert caught.value.where == "roles/nginx/defaults.py:2"


def test_a_folder_without_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="no roles here"):
        read_keys(tmp_path)
    with pytest.raises(DsopsError, match="supported systems cannot be read"):
        read_systems(tmp_path)


def test_the_systems_are_those_of_the_roles() -> None:
    assert list(read_systems(ROOT).values()) == [system.name for system in read_systems_of_roles()]


def find_calls(body: list[ast.stmt], *, group: str) -> Iterator[tuple[str, str]]:
    """(function, group) for every call; an `if` that names a group holds for what stands in it."""
    for node in body:
        if isinstance(node, ast.If):
            named = next((one.value for one in ast.walk(node.test) if isinstance(one, ast.Constant)), group)
            yield from find_calls(node.body, group=str(named))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield ast.unparse(node.value.func), group


def test_roles_run_where_the_site_says() -> None:
    """deploy/site.py is read: a role under `if "gpu" in host.groups` is for that group, one outside for all."""
    found = dict(find_calls(ast.parse((ROOT / "deploy/site.py").read_text()).body, group=""))
    assert {role: group for role, group in found.items() if role != "end_site"} == PLACES
