"""The table: what servers have in common is one row, and problems stand last."""

import io
from pathlib import Path

from dsops.control.doctor.finding import Finding, Status, ok, problem, skipped, warning
from dsops.control.doctor.summary import merge, render_names, summarize, to_data
from dsops.control.doctor.view import render
from rich.console import Console

SERVERS = ("lb1", "gpu1", "gpu2")


def show(*findings: Finding) -> list[str]:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    console.print(render(findings, inventory=Path("/x/site.py"), servers=SERVERS))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_well_servers_share_a_row_and_a_problem_stands_last_with_its_mend() -> None:
    bad = problem("clock", "gpu1", "is 9 s ahead", mend="set the clock")
    lines = show(bad, *(ok("system", name, "debian 12") for name in SERVERS), skipped("gpus", "lb1", "none asked"))
    assert lines[1].split() == ["ok", "system", "all", "3", "servers", "debian", "12"]
    assert lines[2].startswith("skipped  gpus")
    assert lines[3].split()[:3] == ["problem", "clock", "gpu1"]
    assert lines[4].strip() == "mend: set the clock"
    assert lines[6] == "3 ok, 1 skipped, 1 problem. Mend the problems before you deploy."
    assert lines[7] == "inventory: /x/site.py"


def test_different_answers_of_well_servers_are_told_apart() -> None:
    found = [ok("disk", "lb1", "1 GiB"), ok("disk", "gpu1", "2 GiB"), ok("disk", "gpu2", "2 GiB")]
    row = (Status.OK, "disk", "all 3 servers", ("lb1: 1 GiB", "gpu1 gpu2: 2 GiB"), "")
    assert merge(found, servers=SERVERS) == [row]


def test_many_answers_are_cut_and_point_to_json() -> None:
    names = [f"gpu{n}" for n in range(200)]
    ((_, _, where, lines, _),) = merge([ok("disk", name, name) for name in names], servers=names)
    assert where == "all 200 servers"
    assert lines[-1] == "and 197 more answers (--json)"
    assert render_names(names[:9], servers=names) == "gpu0 gpu1 gpu2 gpu3 gpu4 gpu5 and 3 more"


def test_files_that_are_well_keep_a_row_each() -> None:
    assert len(merge([ok("certificates", "/a", "fine"), ok("certificates", "/b", "fine")], servers=SERVERS)) == 2


def test_equal_problems_of_servers_are_one_row() -> None:
    rows = merge([problem("apt", name, "busy", mend="wait") for name in SERVERS], servers=SERVERS)
    assert rows == [(Status.PROBLEM, "apt", "all 3 servers", ("busy",), "wait")]


def test_json_has_every_finding_by_itself() -> None:
    data = to_data([ok("system", "gpu1", "debian 12")], inventory=Path("/x"))
    assert data["findings"] == [{"check": "system", "where": "gpu1", "status": "ok", "what": "debian 12", "mend": ""}]
    assert (data["ok"], data["exit"], data["inventory"]) == (True, 0, "/x")
    both = [warning("kernel", "gpu1", "is old", mend="m"), problem("gpus", "gpu1", "is gone", mend="m")]
    data = to_data(both, inventory=None)
    assert (data["failures"], data["warnings"]) == (["gpu1: is gone"], ["gpu1: is old"])
    assert summarize(both[:1]) == "0 ok, 1 warning. Nothing stands in the way of a deploy."
    assert summarize([]) == "0 ok. Not all could be looked at."
