"""What a deploy's own connections saw, judged: what refuses, what is only shown, and quickly."""

import json
import subprocess
import sys
from typing import Any

from dsops.control.doctor.preflight import judge_run

from tests.control.doctor.sites import DEPLOYED, ROOT

ROOM = DEPLOYED.replace("systemd=running", "systemd=")


def make_server(name: str, said: str | None = DEPLOYED, group: str = "gpu", **data: Any) -> dict[str, Any]:
    return {"name": name, "groups": [group], "data": data, "said": said, "started": 1000.0, "ended": 1001.0}


def judge(*servers: dict[str, Any]) -> tuple[int, int, tuple[str, ...]]:
    verdict = judge_run({"root": str(ROOT), "servers": servers})
    return verdict.problems, verdict.warnings, verdict.lines


def test_deployed_servers_have_nothing_to_say() -> None:
    assert judge(make_server("gpu1"), make_server("gpu2")) == (0, 0, ())


def test_what_servers_have_in_common_is_one_line_and_counts_for_each() -> None:
    problems, _, lines = judge(make_server("gpu1", ROOM), make_server("gpu2", ROOM), make_server("lb1", group="lb"))
    assert problems == 2
    assert lines == (
        "gpu1 gpu2: does not answer, should be running [systemd]",
        "  mend: boot it with systemd as init; one that hangs needs a reboot",
    )


def test_lenient_servers_show_their_problems_and_do_not_count() -> None:
    problems, _, lines = judge(make_server("gpu1", ROOM, preflight="warn"), make_server("gpu2"))
    assert (problems, lines[0]) == (0, "gpu1: does not answer, should be running [systemd]")


def test_a_server_that_was_lost_is_left_to_its_own_deploy() -> None:
    assert judge(make_server("gpu1", None)) == (0, 0, ())


def test_a_server_that_hangs_is_told_and_refuses_nothing() -> None:
    problems, _, lines = judge(make_server("gpu1", ""))
    assert (problems, lines[0]) == (0, "gpu1: gave no answer in 1 s [unknown]")


def test_ports_of_ours_that_clash_are_told_without_an_answer() -> None:
    problems, _, lines = judge(make_server("gpu1", None, gateway_port=9410))
    assert problems == 1
    assert "port 9410 is wanted by dsops-agent.service and by dsops-gateway.service [ports]" in lines[0]


def test_a_login_that_is_not_root_is_judged_no_further() -> None:
    problems, _, lines = judge(make_server("gpu1", DEPLOYED.replace("uid=0", "uid=1000")))
    assert problems == 1
    assert [line for line in lines if "[" in line] == [
        "gpu1: the other checks of this server were not made: they need root [unknown]",
        "gpu1: is user 1000 there, not root [login]",
    ]


def test_as_a_program_it_needs_neither_ssh_nor_tables() -> None:
    run = json.dumps({"root": str(ROOT), "servers": [make_server(f"gpu{number}") for number in range(30)]})
    words = [sys.executable, "-m", "dsops.control.doctor.preflight"]
    done = subprocess.run(words, input=run, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert json.loads(done.stdout) == {"problems": 0, "warnings": 0, "lines": []}
    broken = json.dumps({"root": "/nowhere", "servers": []})
    done = subprocess.run(words, input=broken, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stderr.startswith("/nowhere: no roles here")) == (1, True)
    code = "import sys, dsops.control.doctor.preflight as _; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"paramiko", "fabric", "rich", "cryptography", "pyinfra"} & set(loaded)
