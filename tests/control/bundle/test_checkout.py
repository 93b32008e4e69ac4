"""The checkout in the bundle: exactly its own files, readable by all, and nothing from outside."""

import subprocess
from pathlib import Path

import pytest
from dsops.control.bundle.checkout import copy_checkout, find_root, list_files
from dsops.core.errors import DsopsError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    built = ("build/junk", ".venv/lib/x.py", ".torch-venv/lib/x.py", "roles/__pycache__/x.pyc")
    for name in ("deploy/site.py", "bin/demo", *built):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "bin/demo").chmod(0o700)
    (root / ".gitignore").write_text("/build/\n/.venv/\n/.torch-venv/\n__pycache__/\n")
    return root


OWN = [".gitignore", "bin/demo", "deploy/site.py"]


def test_with_and_without_git_the_same_files_are_its_own(root: Path) -> None:
    assert list_files(root) == OWN
    subprocess.run(["git", "init", "-q", root], check=True)
    assert list_files(root) == OWN
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    (root / "deploy/new.py").write_text("")
    (root / "bin/demo").unlink()
    assert list_files(root) == [".gitignore", "deploy/new.py", "deploy/site.py"]


def test_programs_stay_programs_and_all_can_read_whatever_the_umask(root: Path, tmp_path: Path) -> None:
    (root / "deploy/site.py").chmod(0o600)
    copy_checkout(root, out=tmp_path / "out")
    modes = {name: (tmp_path / "out" / name).stat().st_mode & 0o777 for name in OWN}
    assert modes == {".gitignore": 0o644, "bin/demo": 0o755, "deploy/site.py": 0o644}


def test_a_link_inside_becomes_a_copy_and_one_that_leads_out_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "inside").symlink_to("deploy/site.py")
    copy_checkout(root, out=tmp_path / "one")
    assert not (tmp_path / "one/inside").is_symlink()
    assert (tmp_path / "one/inside").read_text() == "deploy/site.py"
    (tmp_path / "secret").write_text("secret")
    (root / "outside").symlink_to(tmp_path / "secret")
    with pytest.raises(DsopsError, match="leads out of the checkout"):
        copy_checkout(root, out=tmp_path / "two")


def test_the_root_is_found_from_any_folder_in_it(root: Path, tmp_path: Path) -> None:
    assert find_root(root / "deploy") == root
    with pytest.raises(DsopsError, match="not inside a dsops checkout"):
        find_root(tmp_path)
