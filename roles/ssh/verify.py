"""Does sshd take keys only, forbid what it should, and keep the operators' door shut: by what it says and by trying?"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsops.control.fleet.inventory import Fleet, Server

from roles.ops.proofs import Host, get_owners, get_settings
from roles.ssh.defaults import Ssh
from roles.ssh.load import DROP_IN, render_find_missing
from roles.ssh.options import DOOR, get_effective, render_config

GROUPS = ("all",)


@dataclass(frozen=True)
class Door:
    """New connections to a server with OpenSSH's own client, none shared."""

    config: Path
    name: str

    def say(self, *options: str, command: Sequence[str] = ()) -> tuple[int, str]:
        """(exit status, all that was printed)."""
        words = ["ssh", "-F", str(self.config), "-o", "ControlPath=none", "-o", "ConnectTimeout=5"]
        words += ["-o", "LogLevel=INFO"]  # what is refused is said at this level
        words += [*options, self.name, *command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def said(server: Server) -> Ssh:
    """The role's settings; where sshd is left alone there is nothing to prove."""
    said = get_settings(Ssh, server)
    if not said.sshd_hardened:
        pytest.skip("sshd_hardened is false in the inventory: sshd is as the system's own files say")
    return said


@pytest.fixture
def door(server: Server, said: Ssh, ssh_config: Path, host: Host) -> Door:
    """The way in; `host` proves that it is one."""
    assert said
    assert host
    return Door(ssh_config, server.name)


@pytest.fixture
def operators(server: Server, fleet: Fleet, door: Door) -> tuple[Door, list[str]]:
    """The way in with the operators' own key, as their account."""
    if not server.get("dsops_ssh_key", str, ""):
        pytest.skip("the inventory gives the operators no key")
    key = fleet.get_path(server, "dsops_ssh_key")
    return door, ["-o", f"User={DOOR}", "-i", str(key)]


def test_the_drop_in_is_just_what_the_role_writes(host: Host, said: Ssh) -> None:
    assert host.file(DROP_IN).content_string == render_config(said)
    assert get_owners(host, [DROP_IN]) == {DROP_IN: "644 root root"}


def test_sshd_does_what_the_role_promises_whatever_other_files_say(host: Host, said: Ssh) -> None:
    assert not host.check_output(render_find_missing(get_effective(said)))


def test_nothing_but_a_key_is_asked_for(door: Door) -> None:
    for user in ("root", "nobody", DOOR):
        code, text = door.say("-o", f"User={user}", "-o", "PubkeyAuthentication=no", command=["true"])
        assert code == 255
        assert "Permission denied (publickey)." in text


def test_ciphers_and_macs_that_were_broken_are_not_spoken(door: Door) -> None:
    assert "no matching cipher" in door.say("-o", "Ciphers=aes128-cbc", command=["true"])[1]
    weak = ["-o", "Ciphers=aes128-ctr", "-o", "MACs=hmac-sha1"]
    assert "no matching MAC" in door.say(*weak, command=["true"])[1]


def test_nobody_is_led_through_to_another_port(door: Door, said: Ssh) -> None:
    if said.sshd_allow_tcp_forwarding:
        pytest.skip("sshd_allow_tcp_forwarding: this server is a way to others")
    code, text = door.say("-W", "127.0.0.1:22")
    assert code != 0
    assert "administratively prohibited" in text


def test_the_operators_door_gives_no_shell_no_terminal_and_no_way_through(operators: tuple[Door, list[str]]) -> None:
    door, me = operators
    _, text = door.say(*me, command=["id"])
    assert "uid=" not in text
    assert "Permission denied" not in text, "the operators' key is not let in at all"
    _, text = door.say(*me, "-tt", command=["id"])
    assert "PTY allocation request failed" in text
    assert "uid=" not in text
    assert "administratively prohibited" in door.say(*me, "-W", "127.0.0.1:22")[1]


def test_no_change_is_left_on_trial(host: Host) -> None:
    assert not host.check_output("ls /run/dsops-trial/*/token 2>/dev/null || true")
