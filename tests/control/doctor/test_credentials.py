"""Keys and passwords that belong together."""

from pathlib import Path

import pytest
from dsops.control.doctor.credentials import check_api_keys, check_credentials, check_pair, check_users
from dsops.control.doctor.finding import Finding, Status
from dsops.control.run import run
from dsops.control.secrets import add_api_key, ensure_api_key, ensure_users

from tests.control.doctor.sites import make_server, make_site


def make_pair(key: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ensure_api_key(tmp_path / "keys", tmp_path / "plain", name="ops")
    make_pair(tmp_path / "ssh")
    ensure_users(tmp_path / "users", tmp_path / "password")
    return tmp_path


def is_problem(finding: Finding, what: str) -> None:
    assert (finding.status, what in finding.what, bool(finding.mend)) == (Status.PROBLEM, True, True), finding


def test_what_secrets_made_is_ok(folder: Path) -> None:
    data = {
        "gateway_api_keys_file": str(folder / "keys"),
        "dsops_api_key_file": str(folder / "plain"),
        "dsops_ssh_key": str(folder / "ssh"),
        "dsops_public_key_file": str(folder / "ssh.pub"),
        "monitoring_users_file": str(folder / "users"),
        "monitoring_password_file": str(folder / "password"),
    }
    found = check_credentials(make_site(make_server(**data), make_server("gpu22", **data)))
    assert [(f.check, f.status) for f in found] == [
        ("API keys", Status.OK),
        ("SSH pair", Status.OK),
        ("monitoring's users", Status.OK),
    ]


def test_a_broken_api_key_line_is_said_with_its_number(folder: Path) -> None:
    (folder / "keys").write_text("# x\nops:zz:00\n")
    found = check_api_keys(folder / "keys", None)
    is_problem(found, "not a key line")
    assert found.where == f"{folder / 'keys'}: line 2"


def test_a_file_without_keys_is_said(folder: Path) -> None:
    (folder / "keys").write_text("# none\n")
    is_problem(check_api_keys(folder / "keys", None), "holds no key")


def test_an_api_key_that_is_not_among_the_hashes_is_said(folder: Path) -> None:
    (folder / "plain").write_text("dsops-other\n")
    is_problem(check_api_keys(folder / "keys", folder / "plain"), "holds a key that keys does not know")
    add_api_key(folder / "keys", name="second")
    assert check_api_keys(folder / "keys", None).what == "2 keys"


def test_a_public_key_of_another_pair_is_said(folder: Path) -> None:
    make_pair(folder / "other")
    is_problem(check_pair(folder / "ssh", folder / "other.pub"), "is not the public key of")
    (folder / "other.pub").write_text("rubbish")
    is_problem(check_pair(folder / "ssh", folder / "other.pub"), "is not the public key of")
    (folder / "ssh").write_text("rubbish")
    is_problem(check_pair(folder / "ssh", None), "cannot be used as a private key")


def test_monitorings_users_are_judged(folder: Path) -> None:
    (folder / "other").write_text("not it")
    is_problem(check_users(folder / "users", folder / "other"), "is not prometheus' password")
    operator = (folder / "users").read_text().split()[0]
    (folder / "users").write_text(operator)
    is_problem(check_users(folder / "users", None), "has no user `prometheus`")
    (folder / "users").write_text(operator + "\nprometheus:plain\n")
    assert check_users(folder / "users", None).where == f"{folder / 'users'}:2"
