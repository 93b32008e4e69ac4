"""The whole checkup: all problems at once, whatever fails, and within its deadline."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from dsops.control.doctor.checkup import Checkup, Outside, check_all
from dsops.control.doctor.facts import Seen
from dsops.control.doctor.finding import Finding, Status, decide_exit, ok, problem, skipped, unknown, warning
from dsops.control.doctor.server import attempt
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

from tests.control.doctor.sites import ROOT, make_facts


def look_well(_: Fleet, __: Server) -> Seen:
    return Seen(make_facts(), 1000.0, 1001.0)


def write(folder: Path, text: str) -> Path:
    (folder / "inventory").mkdir(exist_ok=True)
    path = folder / "inventory/site.py"
    path.write_text(text)
    return path


def run(path: Path, look: Any = look_well, *, limit: tuple[str, ...] = (), deadline: float = 5) -> Checkup:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return check_all(path, root=ROOT, limit=limit, by=Outside(look=look, now=lambda: now, deadline=deadline))


def problems(done: Checkup) -> set[tuple[str, str]]:
    return {(finding.check, finding.where) for finding in done.findings if finding.status is Status.PROBLEM}


BAD = """
gpu = [("gpu1", {"ssh_key": "/nonexistent", "gateway_prot": 1, "gateway_port": "x", "agent_gpus": 8}), "gpu2"]
"""


def test_all_problems_of_both_sides_are_said_at_once(tmp_path: Path) -> None:
    def look(fleet: Fleet, server: Server) -> Seen:
        if server.name == "gpu2":
            raise DsopsError("no answer in time", where="gpu2")
        return Seen(make_facts(system="debian 10", has_avx2=False, now=5.0), 1000.0, 1001.0)

    path = write(tmp_path, BAD)
    found = problems(run(path, look))
    assert {check for check, _ in found} >= {"keys", "values", "connection", "files"}
    assert {("system", "gpu1"), ("cpu", "gpu1"), ("clock", "gpu1"), ("gpus", "gpu1"), ("reach", "gpu2")} <= found


def test_a_server_that_hangs_delays_nobody_beyond_the_deadline(tmp_path: Path) -> None:
    def look(fleet: Fleet, server: Server) -> Seen:
        time.sleep(3 if server.name == "gpu2" else 0)
        return look_well(fleet, server)

    start = time.perf_counter()
    done = run(write(tmp_path, 'gpu = ["gpu1", "gpu2"]'), look, deadline=0.5)
    assert time.perf_counter() - start < 2
    assert ("reach", "gpu2") in problems(done)
    assert any(f.check == "system" and f.where == "gpu1" for f in done.findings)


def test_a_bug_on_one_server_hides_no_other(tmp_path: Path) -> None:
    def look(fleet: Fleet, server: Server) -> Seen:
        if server.name == "gpu2":
            raise KeyError("x")
        return look_well(fleet, server)

    done = run(write(tmp_path, 'gpu = ["gpu1", "gpu2"]'), look)
    assert any("this is a bug of dsops" in finding.what for finding in done.findings if finding.where == "gpu2")
    assert any(f.check == "system" and f.status is Status.OK for f in done.findings)


def test_a_login_that_is_not_root_is_judged_no_further(tmp_path: Path) -> None:
    done = run(write(tmp_path, 'gpu = ["gpu1"]'), lambda _, __: Seen(make_facts(uid=1000), 1000.0, 1001.0))
    assert ("login", "gpu1") in problems(done)
    assert not [finding for finding in done.findings if finding.check == "disk"]


@pytest.mark.parametrize(
    ("limit", "names"), [(("gpu1",), ("gpu1",)), (("mon",), ("mon1",)), (("all",), ("gpu1", "mon1"))]
)
def test_a_limit_leaves_the_others_alone(tmp_path: Path, limit: tuple[str, ...], names: tuple[str, ...]) -> None:
    path = write(tmp_path, 'gpu = ["gpu1"]\nmon = ["mon1"]')
    assert run(path, limit=limit).servers == names


def test_an_inventory_that_cannot_be_read_is_unknown_and_nothing_is_asked(tmp_path: Path) -> None:
    for text in ("gpu = [", "x = 1", "gpu = [3]"):
        done = run(write(tmp_path, text), lambda _, __: pytest.fail("asked"))
        assert done.findings[-1].check == "inventory"
        assert decide_exit(done.findings) == 2
    assert decide_exit(run(tmp_path / "none.py").findings) == 2
    assert decide_exit(run(write(tmp_path, 'gpu = ["gpu1"]'), limit=("gpu9",)).findings) == 2


def test_a_folder_without_roles_is_unknown(tmp_path: Path) -> None:
    done = check_all(write(tmp_path, 'gpu = ["gpu1"]'), by=Outside(look=look_well))
    assert "no roles here" in done.findings[-1].what
    assert decide_exit(done.findings) == 2


def test_the_exit_status_is_that_of_the_worst() -> None:
    good, none, bad = ok("a", "x", ""), unknown("a", "x", ""), problem("a", "x", "", mend="")
    assert decide_exit([good, skipped("a", "x", ""), warning("a", "x", "", mend="")]) == 0
    assert decide_exit([good, none]) == 2
    assert decide_exit([good, none, bad]) == 1
    assert decide_exit([]) == 2


def test_a_check_that_fails_is_unknown() -> None:
    def raises(error: Exception) -> Finding:
        def check() -> list[Finding]:
            raise error

        (found,) = attempt("files", "here", check)
        assert found.status is Status.UNKNOWN
        return found

    assert raises(DsopsError("it is so", where="f", mend="m")) == unknown("files", "f", "it is so", mend="m")
    assert raises(PermissionError(13, "Permission denied", "/x")) == unknown("files", "/x", "permission denied")
    assert "KeyError('x')" in raises(KeyError("x")).what
