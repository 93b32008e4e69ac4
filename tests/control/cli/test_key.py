"""`dsops key`: a key is shown once, its hash is kept, and mistakes are words."""

from pathlib import Path

from click.testing import CliRunner
from dsops.control.cli.key import key
from dsops.core.errors import DsopsError
from dsops.core.keys import find_key, parse_keys


def site(folder: Path, keys: str = "api-keys") -> str:
    """An inventory that names a file of keys below `folder`; its path."""
    (folder / "inventory.py").write_text(f'gpu = [("gpu1", {{"gateway_api_keys_file": "{folder}/{keys}"}})]\n')
    return str(folder / "inventory.py")


def test_a_key_is_printed_once_and_works(tmp_path: Path) -> None:
    file = tmp_path / "api-keys"
    made = CliRunner().invoke(key, ["add", "alice", "-i", site(tmp_path)])
    assert made.exit_code == 0
    plain = made.stdout.strip()
    assert plain.startswith("dsops-")
    assert plain not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    found = find_key(parse_keys(file.read_text()), plain)
    assert found is not None
    assert found.name == "alice"


def test_names_are_listed_and_nothing_else(tmp_path: Path) -> None:
    file = site(tmp_path)
    for name in ("alice", "bob"):
        CliRunner().invoke(key, ["add", name, "-i", file])
    assert CliRunner().invoke(key, ["list", "-i", file]).stdout == "alice\nbob\n"


def test_a_missing_file_is_told_and_how_it_is_made(tmp_path: Path) -> None:
    error = CliRunner().invoke(key, ["list", "-i", site(tmp_path, "none")]).exception
    assert isinstance(error, DsopsError)
    assert error.what == "there are no keys yet"
    assert "dsops key add" in error.mend


def test_a_broken_file_is_told_with_its_line(tmp_path: Path) -> None:
    for data in (b"x\n", b"\xff\xfe"):
        (tmp_path / "api-keys").write_bytes(data)
        error = CliRunner().invoke(key, ["list", "-i", site(tmp_path)]).exception
        assert isinstance(error, DsopsError)
        assert error.where == str(tmp_path / "api-keys")
