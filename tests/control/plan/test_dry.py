"""The dry run: pyinfra's line, servers that could not be looked at, runs that failed as a whole."""

import json
from pathlib import Path

import pytest
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.plan.dry import SILENT, choose_servers, explain, look, read_words, render_command
from dsops.core.errors import DsopsError

# As pyinfra 3.10 wrote them.
UNREACHED = """--> Loading config...
--> Connecting to hosts...
    [n1] Connected
    [n3] Could not connect: Could not connect ([Errno 113] No route to host)
--> Preparing operations...
    Loading: deploy/site.py
    [n1] Ready: deploy/site.py
"""
REFUSED = """--> Preparing operations...
    Loading: deploy/site.py

--> Disconnecting from hosts...
--> pyinfra error in /site/roles/ops/site.py line 136: /run/lock/x.lock: another deploy is running (pid 7)
  mend: wait for it to end
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/site.py").write_text("")
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/site.py").write_text('gpu = ["n1", "n2"]\nmon = ["n3"]\n')
    return get_fleet(tmp_path / "inventory/site.py")


def script(folder: Path, *, book: str = "", out: str = "", log: str = "", code: int = 0) -> Path:
    """Stands in for pyinfra: writes the book that it is told to, and says the rest."""
    for name, text in (("book", book), ("out", out), ("log", log)):
        (folder / name).write_text(text)
    find = "for word; do case $word in _dsops_changes=*) book=${word#*=};; esac; done"
    file = folder / "pyinfra"
    file.write_text(
        f'#!/bin/sh\necho "$@" > {folder}/argv\n{find}\ncat {folder}/book > "$book"\ncat {folder}/out\n'
        f"cat {folder}/log >&2\nexit {code}\n"
    )
    file.chmod(0o755)
    return file


PLAN = json.dumps({"plan": [], "results": None})


def looked(*names: str) -> str:
    return "".join(json.dumps({"host": name, "kind": "looked"}) + "\n" for name in names)


def test_the_line_is_pyinfras_own_and_changes_nothing(tmp_path: Path) -> None:
    argv = render_command(tmp_path, tmp_path / "x.py", limit=("n1",), book=tmp_path / "book")[1:]
    wanted = ["--chdir", str(tmp_path), "--dry", "--json", "--data", f"_dsops_changes={tmp_path}/book"]
    assert argv == [*wanted, "--limit", "n1", str(tmp_path / "x.py"), "deploy/site.py"]


def test_servers_that_were_looked_at_have_their_changes(tmp_path: Path, fleet: Fleet) -> None:
    seen = look(tmp_path, fleet, fleet.servers, program=script(tmp_path, book=looked("n1", "n2", "n3"), out=PLAN))
    assert dict(seen.dry.changes) == {"n1": (), "n2": (), "n3": ()}
    assert seen.unseen == {}
    assert "--limit" not in (tmp_path / "argv").read_text()


def test_a_server_that_could_not_be_reached_is_named_with_pyinfras_words(tmp_path: Path, fleet: Fleet) -> None:
    program = script(tmp_path, book=looked("n1"), out=PLAN, log=UNREACHED, code=1)
    seen = look(tmp_path, fleet, fleet.servers, program=program)
    assert seen.unseen == {"n2": SILENT, "n3": "Could not connect: Could not connect ([Errno 113] No route to host)"}


def test_where_no_server_can_be_reached_that_is_no_failure_of_the_run(tmp_path: Path, fleet: Fleet) -> None:
    log = "".join(f"    [{name}] Could not connect: gone\n" for name in ("n1", "n2", "n3"))
    seen = look(tmp_path, fleet, fleet.servers, program=script(tmp_path, log=log, code=1))
    assert dict(seen.dry.changes) == {}
    assert set(seen.unseen) == {"n1", "n2", "n3"}


def test_a_run_that_was_refused_is_told_in_its_own_words(tmp_path: Path, fleet: Fleet) -> None:
    with pytest.raises(DsopsError) as caught:
        look(tmp_path, fleet, fleet.servers, program=script(tmp_path, log=REFUSED, code=1))
    assert caught.value.what == "/run/lock/x.lock: another deploy is running (pid 7)"
    assert caught.value.mend == "wait for it to end"


def test_a_run_that_ended_without_known_words_shows_its_last_ones() -> None:
    error = explain("a\nb\nc\nd\ne\n", ["pyinfra", "x"])
    assert error.what == "b\n  c\n  d\n  e"
    assert error.mend == "by hand: pyinfra x"
    assert explain("", ["pyinfra"]).what == "pyinfra said nothing"


def test_routine_words_are_no_reason() -> None:
    assert set(read_words(UNREACHED)) == {"n3"}


def test_a_limit_takes_servers_and_groups(fleet: Fleet) -> None:
    assert [one.name for one in choose_servers(fleet, ("gpu",))] == ["n1", "n2"]
    assert [one.name for one in choose_servers(fleet, ("n3", "n1"))] == ["n1", "n3"]
    assert len(choose_servers(fleet, ())) == 3
    with pytest.raises(DsopsError, match="no such node or group 'n9'"):
        choose_servers(fleet, ("n9",))


def test_only_the_chosen_servers_are_asked(tmp_path: Path, fleet: Fleet) -> None:
    seen = look(tmp_path, fleet, fleet.servers[:1], program=script(tmp_path, book=looked("n1"), out=PLAN))
    assert list(seen.dry.changes) == ["n1"]
    assert "--limit n1" in (tmp_path / "argv").read_text()
