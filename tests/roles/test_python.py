"""Environments: built once, whole or not at all, switched by one rename, one older one kept."""

from pathlib import Path

import pytest

from roles.ops.python import WHOLE, environment
from tests.roles.here import CommandFailed, Here, write_program

# Stands in for a Python that can make environments and for the pip in them.
FAKE = """
for last in "$@"; do :; done
case "$*" in
"-m venv "*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
*) echo "$*" >> {log}; test ! -e {log}.fails ;;
esac
"""


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """A server with such a Python."""
    write_program(tmp_path / "bin", "python3", FAKE.format(log=tmp_path / "log"))
    write_program(tmp_path / "bin", "flock", 'shift 3; exec "$@"')
    return Here(path=str(tmp_path / "bin"))


def make(here: Here, folder: Path, version: str, *, turn: bool = True) -> bool:
    lock = folder / "bundle/node/requirements.txt"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("click==8.5.1 --hash=sha256:aa\n")
    arguments = {"requirements": [str(lock.parent)], "wheels": {"/bundle/dsops.whl": "bb"}, "turn": turn}
    return here.perform(environment, path=str(folder / "venv"), version=version, **arguments)


def test_it_is_built_from_the_bundles_wheels_alone_with_every_hash_checked(here: Here, tmp_path: Path) -> None:
    assert make(here, tmp_path, "1")
    assert (tmp_path / "venv").readlink() == tmp_path / "venvs/1"
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert "--no-index --no-deps" in said
    assert said.endswith(f"--require-hashes --find-links {tmp_path}/bundle/node -r {tmp_path}/venvs/1/requirements.txt")
    lock = (tmp_path / "venvs/1/requirements.txt").read_text()
    assert lock == "click==8.5.1 --hash=sha256:aa\n/bundle/dsops.whl --hash=sha256:bb\n"
    assert not make(here, tmp_path, "1")


def test_where_something_runs_already_a_build_waits_beside_it_to_be_turned_to(here: Here, tmp_path: Path) -> None:
    assert make(here, tmp_path, "1", turn=False), "the first one is turned to at once"
    assert (tmp_path / "venv").readlink() == tmp_path / "venvs/1"
    assert make(here, tmp_path, "2", turn=False)
    assert (tmp_path / "venv").readlink() == tmp_path / "venvs/1"
    assert (tmp_path / "venvs/2" / WHOLE).exists()
    assert not make(here, tmp_path, "2", turn=False)


def test_what_is_in_use_is_never_removed_however_many_builds_turned_out_bad(here: Here, tmp_path: Path) -> None:
    make(here, tmp_path, "good", turn=False)
    for version in ("bad", "worse", "worst"):
        make(here, tmp_path, version, turn=False)
        assert sorted(path.name for path in (tmp_path / "venvs").iterdir()) == sorted(["good", version])


def test_one_older_environment_stays_and_going_back_to_it_builds_nothing(here: Here, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        make(here, tmp_path, version)
    assert sorted(path.name for path in (tmp_path / "venvs").iterdir()) == ["2", "3"]
    (tmp_path / "log").unlink()
    assert make(here, tmp_path, "2")
    assert (tmp_path / "venv").readlink() == tmp_path / "venvs/2"
    assert not (tmp_path / "log").exists()


def test_a_build_that_failed_or_was_cut_is_not_used_and_built_anew(here: Here, tmp_path: Path) -> None:
    make(here, tmp_path, "1")
    (tmp_path / "log.fails").touch()
    with pytest.raises(CommandFailed):
        make(here, tmp_path, "2")
    assert (tmp_path / "venv").readlink() == tmp_path / "venvs/1"
    (tmp_path / "log.fails").unlink()
    (tmp_path / "venvs/2/half").touch()
    assert make(here, tmp_path, "2")
    assert not (tmp_path / "venvs/2/half").exists()
    assert (tmp_path / "venvs/2" / WHOLE).exists()


def test_a_link_that_was_deleted_comes_back_without_a_build(here: Here, tmp_path: Path) -> None:
    make(here, tmp_path, "1")
    (tmp_path / "venv").unlink()
    (tmp_path / "log").unlink()
    assert make(here, tmp_path, "1")
    assert not (tmp_path / "log").exists()


def test_an_environment_without_its_python_is_built_anew(here: Here, tmp_path: Path) -> None:
    make(here, tmp_path, "1")
    (tmp_path / "venvs/1/bin/python").unlink()
    assert make(here, tmp_path, "1")
    assert (tmp_path / "venvs/1/bin/python").exists()


def test_another_interpreter_can_be_named(tmp_path: Path) -> None:
    write_program(tmp_path / "bin", "python3.11", FAKE.format(log=tmp_path / "log"))
    write_program(tmp_path / "bin", "python3", "exit 1")
    (tmp_path / "requirements.txt").touch()
    write_program(tmp_path / "bin", "flock", 'shift 3; exec "$@"')
    here = Here(path=str(tmp_path / "bin"))
    assert here.perform(
        environment, path=str(tmp_path / "venv"), version="1", requirements=[str(tmp_path)], python="python3.11"
    )
