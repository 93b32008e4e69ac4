"""Units: what systemd really printed is understood, and only what must be is started, reloaded or restarted."""

import os
from pathlib import Path

import pytest

from roles.ops.units import UnitFact, UnitState, find_verb, unit
from tests.roles.here import CommandFailed, Here, write_program

# As systemd 252 printed them on the lab's servers.
RUNNING = """ActiveState=active
UnitFileState=enabled
InactiveExitTimestamp=Sun 2026-11-22 01:17:12.419350 UTC
NeedDaemonReload=no
ConditionResult=yes
ConditionTimestamp=Sun 2026-11-22 01:17:12.403871 UTC
"""
NEVER_STARTED = """ActiveState=inactive
UnitFileState=disabled
InactiveExitTimestamp=
NeedDaemonReload=no
ConditionResult=no
ConditionTimestamp=
"""
REFUSED = """ActiveState=inactive
UnitFileState=enabled
InactiveExitTimestamp=
NeedDaemonReload=no
ConditionResult=no
ConditionTimestamp=Sun 2026-11-22 01:04:20.471008 UTC
"""
UNKNOWN = NEVER_STARTED.replace("disabled", "")
STARTED = 1795310232.419350  # 2026-11-22 01:17:12.419350 UTC


class Server(Here):
    """With a systemctl that answers as captured and notes what it is told."""

    def __init__(self, folder: Path, shown: str, *, unit_file: Path | None = None) -> None:
        super().__init__(path=str(folder / "bin"))
        self.log = folder / "log"
        self.log.touch()
        (folder / "shown").write_text(shown)
        script = f"""case "$*" in
*FragmentPath*) cat {folder}/shown; echo FragmentPath={unit_file or ""} ;;
*InactiveExitTimestamp*--value*) sed -n s/^InactiveExitTimestamp=//p {folder}/shown ;;
*ConditionResult*--value*) sed -n s/^ConditionResult=//p {folder}/shown ;;
show*) cat {folder}/shown ;;
is-active*) ! grep -q ^ConditionResult=no {folder}/shown && test ! -e {folder}/dies ;;
*) echo "$*" >> {self.log} ;;
esac"""
        write_program(folder / "bin", "systemctl", script)
        write_program(folder / "bin", "journalctl", "echo 'Assertion failed'")

    def told(self) -> list[str]:
        """The verbs, without what each start does first."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if not line.startswith(("daemon-reload", "reset-failed"))]


def make(path: Path, *, after: float) -> Path:
    """A file that was last changed so many seconds after the unit began to start."""
    path.write_text("x")
    os.utime(path, ns=(0, int((STARTED + after) * 1e9)))
    return path


def test_a_running_unit_whose_inputs_are_older_is_left_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, RUNNING, unit_file=make(tmp_path / "x.service", after=-5))
    assert not server.perform(unit, unit_name="x.service", inputs=[str(make(tmp_path / "x.toml", after=-0.01))])
    assert server.told() == []


def test_an_input_that_came_after_the_start_restarts_it(tmp_path: Path) -> None:
    server = Server(tmp_path, RUNNING)
    assert server.perform(unit, unit_name="x.service", inputs=[str(make(tmp_path / "x.toml", after=0.01))])
    assert server.told() == ["restart x.service"]


def test_a_run_that_was_cut_between_file_and_restart_is_made_good_by_the_next(tmp_path: Path) -> None:
    # The file is as wanted already, so that nothing of this run changed it: the time alone tells.
    late = make(tmp_path / "x.toml", after=3600)
    assert Server(tmp_path, RUNNING).perform(unit, unit_name="x.service", inputs=[str(late)])


def test_a_unit_file_that_came_after_the_start_restarts_it_though_systemd_has_read_it(tmp_path: Path) -> None:
    server = Server(tmp_path, RUNNING, unit_file=make(tmp_path / "x.service", after=2))
    assert server.perform(unit, unit_name="x.service", reload=True)
    assert server.told() == ["restart x.service"]


def test_a_link_counts_by_its_own_time(tmp_path: Path) -> None:
    target, link = make(tmp_path / "target", after=100), tmp_path / "slot"
    link.symlink_to(target)
    os.utime(link, ns=(0, int((STARTED - 5) * 1e9)), follow_symlinks=False)
    assert not Server(tmp_path, RUNNING).perform(unit, unit_name="x.service", inputs=[str(link)])
    os.utime(link, ns=(0, int((STARTED + 5) * 1e9)), follow_symlinks=False)
    assert Server(tmp_path, RUNNING).perform(unit, unit_name="x.service", inputs=[str(link)])


def test_where_a_reload_is_enough_it_is_reloaded_once(tmp_path: Path) -> None:
    server, config = Server(tmp_path, RUNNING), make(tmp_path / "nginx.conf", after=9)
    assert server.perform(unit, unit_name="nginx.service", inputs=[str(config)], reload=True)
    assert server.told() == ["reload nginx.service"]
    assert not server.perform(unit, unit_name="nginx.service", inputs=[str(config)], reload=True)


def test_an_input_that_is_not_there_is_no_reason(tmp_path: Path) -> None:
    assert not Server(tmp_path, RUNNING).perform(unit, unit_name="x.service", inputs=[str(tmp_path / "no")])


@pytest.mark.parametrize("shown", [NEVER_STARTED, UNKNOWN])
def test_a_unit_that_never_ran_is_enabled_and_started(tmp_path: Path, shown: str) -> None:
    server = Server(tmp_path, shown.replace("ConditionResult=no", "ConditionResult=yes"))
    assert server.perform(unit, unit_name="x.service", inputs=["/etc/hostname"])
    assert server.told() == ["enable --quiet x.service", "start x.service"]


def test_a_start_that_dies_at_once_fails_with_the_journals_words(tmp_path: Path) -> None:
    (tmp_path / "dies").touch()
    with pytest.raises(CommandFailed, match="Assertion failed"):
        Server(tmp_path, RUNNING.replace("=active", "=failed")).perform(unit, unit_name="x.service")


def test_where_its_own_condition_does_not_hold_an_optional_unit_may_stay_down(tmp_path: Path) -> None:
    assert not Server(tmp_path, REFUSED).perform(unit, unit_name="chrony.service", optional=True)
    first = Server(tmp_path, REFUSED.replace("Sun 2026-11-22 01:04:20.471008 UTC", ""))
    assert first.perform(unit, unit_name="chrony.service", optional=True)
    assert first.told() == ["start chrony.service"]


def test_a_unit_that_must_run_fails_where_its_condition_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        Server(tmp_path, REFUSED).perform(unit, unit_name="x.service")


def parse(*lines: str) -> UnitState:
    return UnitFact().process([*RUNNING.splitlines(), *lines])


def test_what_find_prints_is_told_apart_from_what_systemd_prints() -> None:
    assert parse() == UnitState(active=True, enabled=True, refused=False, stale=False, outdated=False)
    assert parse("stale: /etc/a=b").stale
    assert parse("outdated: /etc/systemd/system/x.service").outdated
    assert UnitFact().process(RUNNING.replace("Reload=no", "Reload=yes").splitlines()).outdated


@pytest.mark.parametrize("state", ["activating", "deactivating", "failed", "inactive"])
def test_only_active_counts_as_running(state: str) -> None:
    found = UnitFact().process(RUNNING.replace("=active", f"={state}").splitlines())
    assert find_verb(found, reload=True) == "start"


def test_a_unit_that_is_just_starting_with_old_files_is_restarted() -> None:
    starting = UnitState(active=False, enabled=True, refused=False, stale=True, outdated=False)
    assert find_verb(starting, reload=True) == "restart"
