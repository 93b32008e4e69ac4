"""What operations tell at a dry run: how files would differ, what would restart for it, and nothing of secrets."""

import grp
import json
import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host

from roles.ops import changes
from roles.ops.changes import KEY, is_touched, render_diff, tell_looked, touch
from roles.ops.files import Owner, config_file, folders, link
from roles.ops.units import UnitState, find_unit_files, tell_unit
from tests.roles.here import Here
from tests.roles.test_effects import prepare
from tests.roles.test_roles import ROLES

ME = pwd.getpwuid(os.geteuid()).pw_name
MINE = grp.getgrgid(os.getegid()).gr_name
RUNS = UnitState(active=True, enabled=True, refused=False, stale=False, outdated=False)


@dataclass
class Dry(Here):
    """A server of a dry run that tells into a book."""

    data: dict[str, str] = field(default_factory=dict)
    state: Any = field(default_factory=lambda: SimpleNamespace(is_executing=False))
    current_op_hash: str = "abc"
    current_op_global_arguments: dict[str, str] = field(default_factory=lambda: {"name": "role: it"})

    def look(self, operation: Any, **arguments: Any) -> bool:
        """As far as pyinfra goes at a dry run: to the first command."""
        with ctx_host.use(self):
            return next(operation._inner(**arguments), None) is not None

    def told(self) -> list[dict[str, Any]]:
        book = Path(self.data[KEY])
        return [json.loads(line) for line in book.read_text().splitlines()] if book.exists() else []


@pytest.fixture
def server(tmp_path: Path) -> Dry:
    return Dry(data={KEY: str(tmp_path / "book")})


def own(mode: str = "644") -> Owner:
    return Owner(mode, ME, MINE)


def test_a_file_tells_its_difference(server: Dry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\ntwo\nthree\nfour\n")
    path.chmod(0o644)
    assert server.look(config_file, path=str(path), content="one\ntwo\n3\nfour\n", owner=own())
    (said,) = server.told()
    assert said["diff"] == ["@@ -2,3 +2,3 @@", " two", "-three", "+3", " four"]
    assert (said["host"], said["op"], said["name"], said["target"]) == ("here", "abc", "role: it", str(path))
    assert path.read_text().startswith("one\ntwo\nthree")


def test_a_file_as_wanted_tells_nothing(server: Dry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\n")
    path.chmod(0o644)
    assert not server.look(config_file, path=str(path), content="one\n", owner=own())
    assert not server.told()


def test_a_new_file_and_another_mode_are_said_in_words(server: Dry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    server.look(config_file, path=str(path), content="one\n", owner=own())
    path.write_text("one\n")
    path.chmod(0o666)
    server.look(config_file, path=str(path), content="one\n", owner=own())
    new, mode = server.told()
    assert (new["says"], new["diff"]) == (f"new, 644 {ME} {MINE}", ["@@ -0,0 +1 @@", "+one"])
    assert (mode["says"], mode["diff"]) == (f"666 {ME} {MINE} -> 644 {ME} {MINE}", [])


@pytest.mark.parametrize("old_mode", [0o600, 0o644])
@pytest.mark.parametrize(("mode", "secret"), [("600", False), ("640", False), ("644", True)])
def test_a_secret_is_never_told(server: Dry, tmp_path: Path, old_mode: int, mode: str, secret: bool) -> None:
    path = tmp_path / "key"
    path.write_text("the old password\n")
    path.chmod(old_mode)
    server.look(config_file, path=str(path), content="the new password\n", owner=own(mode), secret=secret)
    (said,) = server.told()
    assert said["secret"]
    assert "password" not in Path(server.data[KEY]).read_text()


def test_a_file_that_was_secret_is_not_told_when_it_becomes_public(server: Dry, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("the old password\n")
    path.chmod(0o640)
    server.look(config_file, path=str(path), content="nothing special\n", owner=own())
    assert "password" not in Path(server.data[KEY]).read_text()


def test_folders_and_links_are_told(server: Dry, tmp_path: Path) -> None:
    server.look(folders, wanted={str(tmp_path / "a"): own("755"), str(tmp_path): own("750")})
    server.look(link, path=str(tmp_path / "link"), target="/there")
    assert [(one["kind"], one["target"]) for one in server.told()] == [
        ("folder", str(tmp_path / "a")),
        ("folder", str(tmp_path)),
        ("link", str(tmp_path / "link")),
    ]


def test_a_unit_that_reads_what_will_change_tells_its_restart(server: Dry) -> None:
    with ctx_host.use(server):
        touch("/etc/x.toml")
        tell_unit("x.service", RUNS, None, inputs=["/etc/x.toml"], reload=False)
        tell_unit("y.service", RUNS, None, inputs=["/etc/y.toml"], reload=False)
        tell_unit("z.service", RUNS, None, inputs=["/etc/x.toml"], reload=True)
    assert [(one["target"], one["says"]) for one in server.told()] == [
        ("x.service", "restart"),
        ("z.service", "reload"),
    ]


def test_a_unit_whose_own_file_will_change_is_restarted_even_where_a_reload_would_do(server: Dry) -> None:
    with ctx_host.use(server):
        touch("/etc/systemd/system/x.service.d/dsops.conf")
        tell_unit("x.service", RUNS, None, inputs=[], reload=True)
    assert [one["says"] for one in server.told()] == ["restart"]


def test_a_template_s_file_is_that_of_its_units() -> None:
    assert "/etc/systemd/system/triton@.service" in find_unit_files("triton@a.service")


def test_what_lies_below_a_changed_folder_is_touched(server: Dry) -> None:
    with ctx_host.use(server):
        touch("/opt/triton")
        assert is_touched(["/opt/triton/bin/x"])
        assert not is_touched(["/opt/triton2"])
    with ctx_host.use(Dry(name="other", data=server.data)):
        assert not is_touched(["/opt/triton"])


def test_nothing_is_told_in_earnest_nor_where_nobody_asks(server: Dry, tmp_path: Path) -> None:
    server.state.is_executing = True
    server.look(config_file, path=str(tmp_path / "a"), content="x", owner=own())
    with ctx_host.use(server):
        tell_looked(is_whole=True)
    assert not server.told()
    assert Here().perform(config_file, path=str(tmp_path / "a"), content="x", owner=own())


def test_a_server_that_was_lost_is_not_told_as_looked_at(server: Dry) -> None:
    with ctx_host.use(server):
        tell_looked(is_whole=False)
        tell_looked(is_whole=True)
    assert [one["kind"] for one in server.told()] == ["lost", "looked"]


@pytest.mark.parametrize("role", ROLES)
def test_every_operation_that_would_change_something_says_what(tmp_path: Path, role: str) -> None:
    book = tmp_path / "book"
    state = prepare(role, tmp_path, **{KEY: str(book)})
    told = {json.loads(line).get("op") for line in book.read_text().splitlines()} if book.exists() else set()
    (server,) = state.limit_hosts
    changing = {
        key: meta.names
        for key, meta in state.op_meta.items()
        if state.get_op_data_for_host(server, key).operation_meta.will_change
    }
    assert not [names for key, names in changing.items() if key not in told]
    assert "the password" not in (book.read_text() if book.exists() else "")
    assert "private key" not in (book.read_text() if book.exists() else "")


def test_what_is_no_text_has_no_difference_and_a_long_one_is_cut() -> None:
    assert render_diff(b"\x00\xff", b"text") == []
    assert render_diff(None, b"text") == []
    long = render_diff(b"", b"line\n" * 500)
    assert len(long) == changes.LINES + 1
    assert long[-1] == "... 301 more lines"
