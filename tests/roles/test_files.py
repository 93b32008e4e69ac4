"""Files, folders and links: what their real shell commands do, in a folder of this machine."""

import grp
import os
import pwd
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from roles.ops.files import Owner, config_file, folders, link
from tests.roles.here import CommandFailed, Here

ME = pwd.getpwuid(os.geteuid()).pw_name
MINE = grp.getgrgid(os.getegid()).gr_name


def own(mode: str = "644") -> Owner:
    return Owner(mode, ME, MINE)


def mode_of(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


def test_a_file_is_written_once_and_then_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a file's name"
    assert Here().perform(config_file, path=str(path), content="hällo\n", owner=own("640"))
    assert (path.read_text(), mode_of(path)) == ("hällo\n", "640")
    assert not Here().perform(config_file, path=str(path), content="hällo\n", owner=own("640"))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["content", "mode"])
def test_a_file_that_drifted_is_mended(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file"
    Here().perform(config_file, path=str(path), content="a", owner=own("600"))
    path.write_text("b") if damage == "content" else path.chmod(0o666)
    assert Here().perform(config_file, path=str(path), content="a", owner=own("600"))
    assert (path.read_text(), mode_of(path)) == ("a", "600")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_owner_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Here().perform(config_file, path=str(path), content="a", owner=own())
    os.chown(path, 65534, 65534)
    assert Here().perform(config_file, path=str(path), content="a", owner=own())
    assert path.stat().st_uid == 0


def test_what_the_check_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    check = "! grep -q bad {}"
    Here().perform(config_file, path=str(path), content="good", owner=own(), check=check)
    with pytest.raises(CommandFailed):
        Here().perform(config_file, path=str(path), content="bad", owner=own(), check=check)
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_never_readable_with_another_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    left_over = tmp_path / "secret.dsops-new"
    left_over.write_text("of a run that was killed")
    left_over.chmod(0o666)
    # The check runs when the file is complete; `modes` sees it before, while it is being written.
    write = "while [ -e {} ]; do stat -c %a {}; done"
    watcher = subprocess.Popen(["sh", "-c", write.replace("{}", str(left_over))], stdout=subprocess.PIPE, text=True)
    os.umask(0o022)
    Here().perform(
        config_file, path=str(path), content="s" * 1_000_000, owner=own("640"), check="sleep 0.2; test -f {}"
    )
    modes = set(watcher.communicate(timeout=10)[0].split())
    # 666 is the left-over itself, before it was removed.
    assert modes <= {"666", "600", "640"}, modes
    assert mode_of(path) == "640"


def test_half_a_file_never_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Here().perform(config_file, path=str(path), content="old", owner=own())
    here = Here()
    with here._as_host():
        (command,) = config_file._inner(path=str(path), content="new and whole", owner=own())
    done = subprocess.run(["sh", "-c", command.args[0]], input=b"new and", capture_output=True, check=False)
    assert done.returncode != 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_neither_in_the_command_nor_in_what_pyinfra_prints(tmp_path: Path) -> None:
    with Here()._as_host():
        (command,) = config_file._inner(path=str(tmp_path / "x"), content="hunter2", owner=own())
    assert "hunter2" not in command.args[0]
    assert sha256(b"hunter2").hexdigest() in command.args[0]


def test_folders_are_made_in_order_and_their_modes_mended(tmp_path: Path) -> None:
    wanted = {str(tmp_path / "a"): own("755"), str(tmp_path / "a/b c"): own("700")}
    assert Here().perform(folders, wanted=wanted)
    assert mode_of(tmp_path / "a/b c") == "700"
    assert not Here().perform(folders, wanted=wanted)
    (tmp_path / "a/b c").chmod(0o777)
    here = Here()
    assert here.perform(folders, wanted=wanted)
    assert len(here.ran) == 1
    assert mode_of(tmp_path / "a/b c") == "700"


def test_a_folder_that_is_a_link_to_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir(mode=0o755)
    (tmp_path / "here").symlink_to("big disk")
    assert not Here().perform(folders, wanted={str(tmp_path / "here"): own("755")})


def test_a_link_is_turned_by_one_rename_and_made_again_when_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lane"
    (tmp_path / "a").mkdir()
    assert Here().perform(link, path=str(path), target="a")
    assert not Here().perform(link, path=str(path), target="a")
    assert Here().perform(link, path=str(path), target="b")
    assert path.readlink() == Path("b")
    path.unlink()
    assert Here().perform(link, path=str(path), target="b")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a", path]


def test_a_link_that_is_someone_elses_stays_where_it_points(tmp_path: Path) -> None:
    path = tmp_path / "lane"
    path.symlink_to("../slots/b")
    assert not Here().perform(link, path=str(path), target="../slots/a", keep=True)
    path.unlink()
    assert Here().perform(link, path=str(path), target="../slots/a", keep=True)
