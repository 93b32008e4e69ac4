"""SSH: only to servers whose host key is pinned, and each failure in its words."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import paramiko
import pytest
from dsops.control.fleet import ssh
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import ask_all
from dsops.control.fleet.ssh import run_node
from dsops.core.errors import DsopsError

from tests.control.fleet.sshd import Sshd, run_sshd
from tests.ports import find_free_port


def make_fleet(tmp_path: Path, sshd: Sshd, *, pinned: paramiko.PKey | None = None, **data: Any) -> Fleet:
    """The files on disk, and a fleet of one server gpu1 behind the given sshd."""
    key = pinned or sshd.host_key
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {key.get_name()} {key.get_base64()}\n")
    sshd.allowed.write_private_key_file(str(tmp_path / "key"))
    data = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": sshd.port,
        "ssh_known_hosts_file": "known_hosts",
        "dsops_ssh_key": "key",
        **data,
    }
    return Fleet(tmp_path / "lab.py", tmp_path, (Server("gpu1", ("gpu",), data, "lab.py:1: gpu1"),), {})


def run(fleet: Fleet, *words: str, timeout: float = 5) -> str:
    return run_node(fleet, fleet.servers[0], words or ("status",), timeout=timeout)


def error_of(fleet: Fleet, *words: str, timeout: float = 5) -> DsopsError:
    with pytest.raises(DsopsError) as caught:
        run(fleet, *words, timeout=timeout)
    return caught.value


def test_a_verb_runs_as_the_dsops_user_and_is_quoted(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, "drained\n", ""))) as sshd:
        assert run(make_fleet(tmp_path, sshd), "drain", "--reason", "it's; loud") == "drained\n"
    assert sshd.asked == [("dsops", "dsops node drain --reason 'it'\"'\"'s; loud'")]


def test_a_changed_host_key_is_refused_with_file_and_mend(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        error = error_of(make_fleet(tmp_path, sshd, pinned=paramiko.ECDSAKey.generate()))
    assert "shows another host key than the pinned one" in error.what
    assert error.where == str(tmp_path / "known_hosts")
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {tmp_path}/known_hosts" in error.mend
    assert sshd.asked == []


def test_a_host_key_of_another_type_is_refused_too(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        error = error_of(make_fleet(tmp_path, sshd, pinned=paramiko.RSAKey.generate(2048)))
    assert "host key" in error.what
    assert (error.where, sshd.asked) == (str(tmp_path / "known_hosts"), [])


def test_an_unknown_host_key_is_refused_and_not_learnt(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        (tmp_path / "known_hosts").write_text("")
        error = error_of(fleet)
    assert error.what == f"the host key of gpu1 ([127.0.0.1]:{sshd.port}) is not pinned"
    assert "ssh-keyscan" in error.mend
    assert (sshd.asked, (tmp_path / "known_hosts").read_text()) == ([], "")


def test_a_key_that_the_server_does_not_know_is_said(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
        error = error_of(fleet)
    assert (error.what, error.where) == ("gpu1 refuses this key for user dsops", str(tmp_path / "key"))


@pytest.mark.parametrize(("key", "name"), [("ssh_known_hosts_file", "known_hosts"), ("dsops_ssh_key", "key")])
def test_a_missing_file_is_said_before_connecting(tmp_path: Path, key: str, name: str) -> None:
    fleet = make_fleet(tmp_path, Sshd(port=1))
    (tmp_path / name).unlink()
    error = error_of(fleet)
    assert (error.what, error.where) == (f"{key} names a file that is not there", str(tmp_path / name))


def test_a_private_key_that_is_none_is_said(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        (tmp_path / "key").write_text("not a key")
        error = error_of(fleet)
    assert "cannot be used as a private key" in error.what
    assert error.where == str(tmp_path / "key")


def test_nobody_there_is_said(tmp_path: Path) -> None:
    port = find_free_port()
    error = error_of(make_fleet(tmp_path, Sshd(port=port)))
    assert error.what == "cannot connect by SSH: nothing listens there"
    assert error.where == f"gpu1 ([127.0.0.1]:{port})"


def test_the_servers_own_error_and_mend_come_through(tmp_path: Path) -> None:
    said = "error: /run/dsops/gateway.sock: no gateway runs on this server\n  mend: start it\n"
    with run_sshd(Sshd(lambda _: (1, "", said))) as sshd:
        error = error_of(make_fleet(tmp_path, sshd))
    assert error.what == "/run/dsops/gateway.sock: no gateway runs on this server"
    assert (error.where, error.mend) == ("gpu1", "start it")


def test_a_failure_without_words_shows_the_command(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (127, "", "bash: dsops: command not found"))) as sshd:
        error = error_of(make_fleet(tmp_path, sshd))
    assert error.what == "exit 127: dsops node status: bash: dsops: command not found"


def test_a_command_that_does_not_end_is_left(tmp_path: Path) -> None:
    def hang(_: str) -> tuple[int, str, str]:
        time.sleep(5)
        return 0, "", ""

    with run_sshd(Sshd(hang)) as sshd:
        start = time.perf_counter()
        error = error_of(make_fleet(tmp_path, sshd), timeout=0.5)
        assert time.perf_counter() - start < 3
    assert error.what == "no end after 0.5 s: dsops node status"


def test_many_servers_at_once(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, "ok", ""))) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        servers = [Server(f"gpu{n}", (), fleet.servers[0].data, "x") for n in range(4)]
        outcomes = ask_all(servers, lambda s: run_node(fleet, s, ["status"], timeout=5), deadline=10)
    assert [o.error for o in outcomes] == [None] * 4
    assert [o.value for o in outcomes] == ["ok"] * 4


def test_a_server_that_hangs_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 0.5)
    sshd = Sshd()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sshd.port = silent.getsockname()[1]
        error = error_of(make_fleet(tmp_path, sshd))
    assert "it takes the connection and says nothing" in error.what


def test_the_librarys_own_log_is_not_printed() -> None:
    code = "import dsops.control.fleet.ssh, logging; logging.getLogger('paramiko.transport').error('Traceback')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
