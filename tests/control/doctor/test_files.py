"""Files that the inventory names: there, readable, and safe from others."""

import os
import subprocess
from pathlib import Path

import pytest
from dsops.control.doctor.files import Named, check_file, check_files, judge_mode
from dsops.control.doctor.finding import Status

from tests.control.doctor.sites import make_server, make_site

ME = os.getuid()


def make(path: Path, mode: int) -> Path:
    path.write_text("x")
    path.chmod(mode)
    return path


def test_private_secrets_and_plain_others_are_ok(tmp_path: Path) -> None:
    key, ca = make(tmp_path / "key", 0o600), make(tmp_path / "ca", 0o644)
    site = make_site(make_server(ssh_key=str(key), dsops_ca_file=str(ca)), root=tmp_path.parent / "elsewhere")
    assert [(f.status, f.what[:20]) for f in check_files(site)] == [(Status.OK, "2 named files are th")]


def test_all_missing_files_are_said_at_once(tmp_path: Path) -> None:
    data = {key: str(tmp_path / key) for key in ("ssh_key", "gateway_api_keys_file", "bundle_allowed_signers")}
    found = check_files(make_site(make_server(**data), root=tmp_path))
    assert [f.what.split()[0] for f in found] == sorted(data)
    assert all(f.status is Status.PROBLEM and f.mend for f in found)


@pytest.mark.parametrize(
    ("key", "mode", "what"),
    [
        ("gateway_api_keys_file", 0o640, "a secret that others may read (mode 640)"),
        ("nginx_tls_key_file", 0o604, "a secret that others may read (mode 604)"),
        ("monitoring_password_file", 0o644, "a secret that others may read (mode 644)"),
        ("ssh_key", 0o644, "a secret that others may read (mode 644)"),
        ("ssh_known_hosts_file", 0o664, "others may change it (mode 664)"),
        ("dsops_public_key_file", 0o646, "others may change it (mode 646)"),
    ],
)
def test_unsafe_modes_are_said_with_the_chmod(tmp_path: Path, key: str, mode: int, what: str) -> None:
    (found,) = check_file(Named(key, make(tmp_path / "file", mode)), me=ME)
    assert found.what == f"{key}: {what}"
    assert found.mend.startswith("chmod 6")


def test_public_files_may_be_read() -> None:
    assert judge_mode(0o100644, is_secret=False) == ""
    assert not Named("dsops_public_key_file", Path("x")).is_secret
    assert Named("dsops_api_key_file", Path("x")).is_secret


def test_a_folder_that_others_may_write_is_said(tmp_path: Path) -> None:
    path = make(tmp_path / "ca", 0o644)
    tmp_path.chmod(0o777)
    (found,) = check_file(Named("dsops_ca_file", path), me=ME)
    assert (found.what, found.mend) == ("others may write to its folder", f"chmod go-w {tmp_path}")


def test_somebody_elses_file_is_said(tmp_path: Path) -> None:
    path = make(tmp_path / "ca", 0o644)
    if ME == 0:
        os.chown(path, 1234, 1234)
    (found,) = check_file(Named("dsops_ca_file", path), me=ME if ME == 0 else ME + 1)
    assert "who could change it" in found.what


def test_a_secret_among_the_checkouts_files_is_said(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("kept\n")
    (tmp_path / "kept").mkdir()
    inside, ignored = make(tmp_path / "key", 0o600), make(tmp_path / "kept/key", 0o600)
    (found,) = check_files(make_site(make_server(ssh_key=str(inside)), root=tmp_path))
    assert "the next bundle would carry it" in found.what
    (found,) = check_files(make_site(make_server(ssh_key=str(ignored)), root=tmp_path))
    assert found.status is Status.OK
