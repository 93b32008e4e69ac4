"""A folder of the bundle on a server: what is sent, what is removed, and when its stamp counts."""

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from dsops.core.sums import Sums, make_sums

from roles.ops.tree import STAMP, TreeStamp, make_stamp, prove, send, tree
from tests.roles.here import CommandFailed, Here

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what the tree holds is given to root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A part of a bundle: a program, a plain file, a name with a space, a folder below."""
    folder = tmp_path / "bundle"
    (folder / "lib/deep").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/run").write_text("#!/bin/sh\n")
    (folder / "bin/run").chmod(0o755)
    (folder / "a file").write_text("a")
    (folder / "lib/deep/b").write_text("bb" * 70_000)
    (folder / "lib/empty").write_text("")
    return folder


def sums_of(folder: Path) -> Sums:
    files = (file for file in folder.rglob("*") if file.is_file())
    return make_sums((f.relative_to(folder).as_posix(), sha256(f.read_bytes()).hexdigest()) for f in files)


def bring(source: Path, path: Path, here: Here | None = None) -> bool:
    return (here or Here()).perform(tree, source=str(source), path=str(path), sums=sums_of(source))


def content(path: Path) -> dict[str, tuple[str, str]]:
    files = (f for f in path.rglob("*") if f.is_file() and f.name != STAMP)
    return {f.relative_to(path).as_posix(): (f.read_text(), f"{f.stat().st_mode & 0o777:o}") for f in files}


def test_the_folder_comes_whole_and_a_second_run_changes_nothing(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server/x"
    assert bring(source, path)
    assert content(path)["bin/run"] == ("#!/bin/sh\n", "755")
    assert content(path)["a file"] == ("a", "644")
    assert content(path).keys() == sums_of(source).files.keys()
    assert not bring(source, path)


def test_the_stamp_is_what_the_shell_prints(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    bring(source, path)
    assert Here().get_fact(TreeStamp, path=str(path)) == " ".join(make_stamp(source, sums_of(source)))
    assert Here().get_fact(TreeStamp, path=str(tmp_path / "nowhere")) == ""


class Recorder(Here):
    """Notes which files were sent."""

    def _run(self, command: Any) -> None:
        if getattr(command, "function", None) is send:
            self.said += command.args[2]
        super()._run(command)


def test_only_what_is_missing_or_wrong_is_sent(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    bring(source, path)
    (path / "a file").write_text("b")  # same size: found by its hash, once the stamp does not fit any more
    (path / "bin/run").unlink()
    here = Recorder()
    assert bring(source, path, here)
    assert here.said == ["a file", "bin/run"]
    assert content(path)["a file"] == ("a", "644")


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_does_not_belong_there_is_removed(source: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "server"
    bring(source, path)
    extra = path / "lib/an extra"
    if kind == "file":
        extra.write_text("x")
    elif kind == "link":
        extra.symlink_to("/etc/passwd")
    else:
        extra.mkdir()
    here = Recorder()
    assert bring(source, path, here)
    assert not extra.is_symlink()
    assert not extra.exists()
    assert here.said == []
    assert not bring(source, path)


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone(source: Path, tmp_path: Path) -> None:
    path, victim = tmp_path / "server", tmp_path / "victim"
    bring(source, path)
    victim.write_text("precious")
    (path / "a file").unlink()
    (path / "a file").symlink_to(victim)
    assert bring(source, path)
    assert not (path / "a file").is_symlink()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["a file", "bin/run", "lib", "."])
def test_a_wrong_mode_is_mended_without_sending_anything(source: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "server"
    bring(source, path)
    (path / name).chmod(0o700)
    here = Recorder()
    assert bring(source, path, here)
    assert here.said == []
    assert not bring(source, path)


def test_a_wrong_owner_is_mended(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    bring(source, path)
    os.chown(path / "lib/deep/b", 65534, 65534)
    assert bring(source, path)
    assert (path / "lib/deep/b").stat().st_uid == 0


def test_what_python_leaves_beside_its_modules_is_no_difference(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    bring(source, path)
    (path / "lib/__pycache__").mkdir()
    (path / "lib/__pycache__/b.cpython-311.pyc").write_bytes(b"x")
    assert not bring(source, path)


def test_a_new_content_sends_only_the_difference(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    bring(source, path)
    (source / "a file").write_text("new")
    (source / "lib/empty").unlink()
    here = Recorder()
    assert bring(source, path, here)
    assert here.said == ["a file"]
    assert not (path / "lib/empty").exists()


def test_a_run_that_was_cut_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    here = Recorder()
    steps = 0
    with here._as_host():
        for command in tree._inner(source=str(source), path=str(path), sums=sums_of(source)):
            here._run(command)
            if (steps := steps + 1) == 2:
                break  # sent, but never proven
    assert not (path / STAMP).exists()
    again = Recorder()
    assert bring(source, path, again)
    assert again.said == []
    assert not bring(source, path)


def test_half_a_list_of_sums_proves_nothing(source: Path, tmp_path: Path) -> None:
    path, sums = tmp_path / "server", sums_of(source)
    bring(source, path)
    (path / STAMP).unlink()
    (path / "lib/empty").write_text("altered")
    commands: list[str] = []
    client = type("Client", (), {"exec_command": lambda _, command, timeout: commands.append(command)})
    host = type("Host", (), {"connector": type("Connector", (), {"client": client()})})
    with pytest.raises(TypeError):  # the recorder answers nothing
        prove(None, host, str(path), sums, make_stamp(source, sums)[0])  # type: ignore[arg-type]
    half = "".join(sums.render().splitlines(keepends=True)[:2])  # whole lines, all true, but not all
    assert subprocess.run(commands[0], shell=True, input=half, text=True, capture_output=True, check=False).returncode
    assert not (path / STAMP).exists()


def test_a_changed_byte_on_the_way_leaves_no_stamp(source: Path, tmp_path: Path) -> None:
    sums = sums_of(source)
    wrong = Sums(dict(sums.files) | {"a file": "0" * 64})
    with pytest.raises(CommandFailed):
        Here().perform(tree, source=str(source), path=str(tmp_path / "server"), sums=wrong)
    assert not (tmp_path / "server" / STAMP).exists()
