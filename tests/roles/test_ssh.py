"""The ssh role: what sshd is told, what it must say that it does, and what is refused."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import paramiko
import pytest
from dsops.core.errors import DsopsError
from pyinfra.api.exceptions import DeployError

from roles.ssh.defaults import Ssh
from roles.ssh.load import DROP_IN, SshdState, make_change, render_find_missing
from roles.ssh.options import (
    CIPHERS,
    DOOR_RUNS,
    KEX,
    MACS,
    get_effective,
    get_options,
    get_users,
    render_config,
)
from tests.roles.bundle import fake_data, write_bundle
from tests.roles.here import write_program
from tests.roles.test_roles import SYSTEMS, commands

ROOT = Path(__file__).parents[2]
# As OpenSSH 8.9 (Ubuntu 22.04) has them: `ssh -Q kex`, `ssh -Q cipher`, `ssh -Q mac`.
OLDEST = {
    *("curve25519-sha256", "curve25519-sha256@libssh.org", "sntrup761x25519-sha512@openssh.com"),
    *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
    *("diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"),
    *("aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *("hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
}


def value(said: Ssh, key: str) -> str:
    return next(option.value for option in get_options(said) if option.key == key)


def test_keys_are_the_only_way_in() -> None:
    said = Ssh()
    assert {value(said, key) for key in ("PasswordAuthentication", "KbdInteractiveAuthentication")} == {"no"}
    assert value(said, "PubkeyAuthentication") == "yes"
    assert value(said, "PermitRootLogin") == "prohibit-password"


def test_port_and_addresses_are_left_to_the_system() -> None:
    text = render_config(Ssh())
    assert not re.search(r"^\s*(Port|ListenAddress|AddressFamily|UsePAM|Subsystem)\b", text, re.MULTILINE)


def test_the_oldest_openssh_and_paramiko_both_speak_what_is_left() -> None:
    assert {*KEX, *CIPHERS, *MACS} <= OLDEST
    transport: Any = paramiko.Transport
    for ours, theirs in ((KEX, "_preferred_kex"), (CIPHERS, "_preferred_ciphers"), (MACS, "_preferred_macs")):
        assert len(set(ours) & set(getattr(transport, theirs))) >= 2


def test_nothing_that_was_broken_is_spoken() -> None:
    assert not [name for name in (*KEX, *CIPHERS, *MACS) if "sha1" in name or "cbc" in name or "chacha" in name]


def test_the_operators_door_runs_what_the_base_role_promises_and_nothing_leads_through_it() -> None:
    head, door = render_config(Ssh()).split("Match User dsops\n")
    assert f"ForceCommand {DOOR_RUNS}\n" in door
    assert {"DisableForwarding yes", "PermitTTY no", "PermitUserRC no"} <= {line.strip() for line in door.splitlines()}
    assert "Match" not in head
    assert f'command="{DOOR_RUNS}"' in (ROOT / "roles/base/deploy.py").read_text()


def test_every_account_may_log_in_unless_some_are_named_and_ours_always_may() -> None:
    assert "AllowUsers" not in render_config(Ssh())
    said = Ssh(sshd_allow_users=("alice", "root", "ops-*@10.0.0.0/8"))
    assert get_users(said) == ("root", "dsops", "alice", "ops-*@10.0.0.0/8")
    assert "\nAllowUsers root dsops alice ops-*@10.0.0.0/8\n" in render_config(said)
    assert "allowusers alice" in get_effective(said)["root"]


@pytest.mark.parametrize("user", ["", "alice bob", "!root", "alice\nPermitRootLogin yes", "a@"])
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(DsopsError, match="is no user"):
        render_config(Ssh(sshd_allow_users=(user,)))


@pytest.mark.parametrize("key", ["sshd_max_auth_tries", "sshd_login_grace_seconds", "sshd_alive_seconds"])
def test_a_zero_which_means_never_to_sshd_is_refused(key: str) -> None:
    settings: dict[str, Any] = {key: 0}
    with pytest.raises(DsopsError, match=f"{key}: should be 1 or more, is 0"):
        render_config(Ssh(**settings))


def test_a_way_to_other_servers_forwards_tcp_and_nothing_else() -> None:
    said = Ssh(sshd_allow_tcp_forwarding=True)
    assert value(said, "AllowTcpForwarding") == "yes"
    others = ("AllowStreamLocalForwarding", "AllowAgentForwarding", "X11Forwarding", "PermitTunnel", "GatewayPorts")
    assert {value(said, key) for key in others} == {"no"}


def run(text: str, path: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", text],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={"PATH": f"{path}:/usr/bin:/bin"},
    )
    return done.stdout


def test_what_sshd_does_not_do_is_told_for_each_user(tmp_path: Path) -> None:
    wanted = {"root": ["passwordauthentication no", "maxauthtries 4"], "dsops": ["permittty no"]}
    write_program(tmp_path, "sshd", 'echo "PasswordAuthentication NO"; echo "maxauthtries 40"; echo "permittty no"')
    write_program(tmp_path, "mkdir", "")
    assert run(render_find_missing(wanted), tmp_path) == "root: maxauthtries 4\n"


def test_an_sshd_that_refuses_its_files_does_nothing_of_what_is_wanted(tmp_path: Path) -> None:
    write_program(tmp_path, "sshd", "echo bad >&2; exit 255")
    write_program(tmp_path, "mkdir", "")
    assert run(render_find_missing({"root": ["a b", "c d"]}), tmp_path) == "root: a b\nroot: c d\n"


def test_the_drop_in_is_as_sshd_wants_it(tmp_path: Path) -> None:
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if sshd is None:
        pytest.skip("there is no sshd here; the lab has one")
    (tmp_path / "config").write_text(render_config(Ssh()))
    done = subprocess.run(
        [sshd, "-T", "-f", str(tmp_path / "config")], capture_output=True, text=True, timeout=20, check=False
    )
    missing = set(get_effective(Ssh())["root"]) - set(done.stdout.lower().splitlines())
    assert not missing


def test_the_state_is_read_from_what_the_server_says() -> None:
    found = SshdState().process(["0" * 64, "644 root root", "---", "root: maxauthtries 4"])
    assert found.found == "0" * 64 + " 644 root root"
    assert found.missing == ("root: maxauthtries 4",)
    assert SshdState().process(["---"]).found == ""


def test_what_is_on_trial_is_laid_over_the_old_one_so_that_a_reboot_forgets_it() -> None:
    change = make_change(get_effective(Ssh()))
    assert change.start.startswith(f"mount --bind new {DROP_IN}; ")
    assert "mount --bind" in change.check
    assert "unshare -m " in change.check
    assert "mv -fT" not in change.start
    for step in (change.check, change.save, change.start, change.back, change.keep):
        done = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_new_login_is_proven_before_the_change_lasts(tmp_path: Path, system: str) -> None:
    said = commands("ssh", tmp_path, system=system)
    trial = next(i for i, line in enumerate(said) if "systemd-run" in line)
    keep = next(i for i, line in enumerate(said) if "/run/dsops-trial/ssh/decide keep " in line)
    assert trial < keep
    steps = said[trial].split("timeout 30 ")[1:]
    assert ["sshd -t" in step for step in steps] == [True, False, False]
    assert ["systemctl reload ssh.service" in step for step in steps] == [False, False, True]


def answers(tmp_path: Path, **said: str) -> dict[str, Any]:
    """Inventory data under which a server behind @fake says this."""
    known = fake_data(write_bundle(tmp_path / "bundle"), tmp_path / "secrets")["fake_responses"]
    return {"fake_responses": known | said}


def test_a_system_that_reads_no_drop_ins_is_refused_before_any_change(tmp_path: Path) -> None:
    more = answers(tmp_path, **{"grep -Eqi": "there is no line in it that includes /etc/ssh/sshd_config.d"})
    with pytest.raises(DeployError, match=r"/etc/ssh/sshd_config: there is no line .*\n  mend: put `Include .*nothing"):
        commands("ssh", tmp_path, **more)


def test_a_login_by_password_is_refused_before_any_change(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"pyinfra logs in with a password.*\n  mend: log in with a key"):
        commands("ssh", tmp_path, ssh_password="x")


def test_where_it_is_not_wanted_what_was_there_is_taken_away(tmp_path: Path) -> None:
    more = answers(tmp_path, **{f"[ -e {DROP_IN} ]": "yes"})
    said = commands("ssh", tmp_path, sshd_hardened=False, **more)
    assert any(f"mv -f {DROP_IN}" in line for line in said)
    assert not any("systemd-run" in line for line in said)
