"""A server that cannot be looked at: not there, another machine, or a login that does not work."""

from pathlib import Path
from typing import Any

import paramiko
import pytest
from dsops.control.doctor.facts import Seen
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.probe import look
from dsops.control.doctor.reach import judge_failure
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

from tests.control.doctor.sites import DEPLOYED
from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.ports import find_free_port


def make_fleet(tmp_path: Path, sshd: Sshd, *, pinned: paramiko.PKey | None = None, line: str = "") -> Fleet:
    key = pinned or sshd.host_key
    said = line or f"[127.0.0.1]:{sshd.port} {key.get_name()} {key.get_base64()}\n"
    (tmp_path / "known_hosts").write_text(said)
    sshd.allowed.write_private_key_file(str(tmp_path / "key"))
    data: dict[str, Any] = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": sshd.port,
        "ssh_user": "root",
        "ssh_key": "key",
        "ssh_known_hosts_file": "known_hosts",
    }
    return Fleet(tmp_path / "lab.py", tmp_path, (Server("gpu1", ("gpu",), data, "lab.py:1: gpu1"),), {})


def failure(fleet: Fleet) -> list[Finding]:
    with pytest.raises(DsopsError) as caught:
        look(fleet, fleet.servers[0])
    return judge_failure(fleet.servers[0], caught.value, known_hosts="known_hosts")


def steps(found: list[Finding]) -> list[tuple[str, Status]]:
    return [(finding.check, finding.status) for finding in found]


REACHED, PINNED, REST = ("reach", Status.OK), ("host key", Status.OK), ("server", Status.UNKNOWN)


def test_one_exec_as_root_brings_the_facts(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, DEPLOYED, ""))) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        seen = look(fleet, fleet.servers[0])
    assert isinstance(seen, Seen)
    assert seen.started <= seen.ended
    ((user, command),) = sshd.asked
    assert (user, command[:8]) == ("root", "sh -c '#")


def test_a_changed_host_key_shows_both_fingerprints_and_asks_nothing(tmp_path: Path) -> None:
    pinned = paramiko.ECDSAKey.generate()
    with run_sshd(Sshd()) as sshd:
        found = failure(make_fleet(tmp_path, sshd, pinned=pinned))
    assert steps(found) == [REACHED, ("host key", Status.PROBLEM), REST]
    assert pinned.fingerprint in found[1].what
    assert sshd.host_key.fingerprint in found[1].what
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in found[1].mend
    assert sshd.asked == []


def test_a_key_that_is_not_pinned_is_told_apart_from_a_changed_one(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        found = failure(make_fleet(tmp_path, sshd, line="# none\n"))
    assert steps(found) == [REACHED, ("host key", Status.PROBLEM), REST]
    assert "is not pinned" in found[1].what
    assert "console or BMC" in found[1].mend
    assert (tmp_path / "known_hosts").read_text() == "# none\n"


def test_a_refused_login_names_the_key(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
        found = failure(fleet)
    assert steps(found) == [REACHED, PINNED, ("login", Status.PROBLEM), REST]
    assert found[2].what == f"refuses ssh_key ({tmp_path}/key) for user root"


def test_a_key_that_is_none_is_said(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        fleet = make_fleet(tmp_path, sshd)
        (tmp_path / "key").write_text("rubbish")
        found = failure(fleet)
    assert steps(found) == [("login", Status.PROBLEM), REST]
    assert "cannot be used as a private key" in found[0].what


def test_a_missing_key_is_left_to_the_files_check(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, Sshd(port=1))
    (tmp_path / "key").unlink()
    (found,) = failure(fleet)
    assert (found.status, found.what) == (Status.UNKNOWN, f"not looked at: {tmp_path}/key is missing")


def test_nobody_there_is_said_with_the_port(tmp_path: Path) -> None:
    port = find_free_port()
    found = failure(make_fleet(tmp_path, Sshd(port=port)))
    assert steps(found) == [("reach", Status.PROBLEM), REST]
    assert found[0].what == f"[127.0.0.1]:{port} is up and refuses SSH: nothing listens on port {port}"


def test_a_server_that_is_off_is_said_otherwise() -> None:
    server = Server("gpu1", ("gpu",), {"ssh_hostname": "192.0.2.1"}, "x")
    error = DsopsError("nothing listens there")
    error.__cause__ = paramiko.ssh_exception.NoValidConnectionsError(
        {("192.0.2.1", 22): OSError(113, "No route to host")}
    )
    found = judge_failure(server, error, known_hosts="h")
    assert found[0].what == "192.0.2.1 cannot be reached: no route to host"
    late = judge_failure(server, DsopsError("no answer in 25 s"), known_hosts="h")
    assert (late[0].what, late[0].status) == ("192.0.2.1 does not answer: no answer in 25 s", Status.PROBLEM)


@pytest.mark.parametrize("reply", [(127, "", "sh: not found"), (0, "Welcome!\n", ""), (0, DEPLOYED[:200], "")])
def test_a_login_without_an_answer_is_unknown(tmp_path: Path, reply: Reply) -> None:
    with run_sshd(Sshd(lambda _: reply)) as sshd:
        found = failure(make_fleet(tmp_path, sshd))
    assert steps(found) == [REACHED, PINNED, REST]
    assert "cut short" in found[2].what
