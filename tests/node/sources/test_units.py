"""systemd's units, and the door to processes that asks for them."""

import sys
from collections.abc import Sequence

import pytest
from dsops.core.errors import DsopsError
from dsops.node.run import Done, get_output, run
from dsops.node.sources.units import parse_units, read_units

SHOWN = """Id=triton@a.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
ExecMainStatus=0
NRestarts=2
MainPID=4711
ExecMainStartTimestampMonotonic=12500000
ControlGroup=/system.slice/system-triton.slice/triton@a.service

Id=triton@b.service
LoadState=loaded
ActiveState=failed
SubState=failed
Result=exit-code
ExecMainStatus=1
NRestarts=5

Id=gone.service
LoadState=not-found
ActiveState=inactive
SubState=dead
"""
NAMES = ["triton@a.service", "triton@b.service", "gone.service"]


def test_units_are_read_in_the_order_asked() -> None:
    units = parse_units(SHOWN, NAMES)
    assert [units[n].active for n in NAMES] == ["active", "failed", "missing"]
    assert [units[n].is_running for n in NAMES] == [True, False, False]
    assert units["triton@a.service"].restarts == 2
    assert (units["triton@a.service"].pid, units["triton@a.service"].started) == (4711, 12.5)
    assert units["triton@a.service"].cgroup == "/system.slice/system-triton.slice/triton@a.service"
    assert (units["triton@b.service"].pid, units["triton@b.service"].cgroup) == (0, "")
    assert units["triton@b.service"].says == "triton@b.service is failed (exit-code, exit 1)"
    assert units["gone.service"].says == "gone.service is not installed"


def test_a_unit_that_systemctl_left_out_is_unknown() -> None:
    assert parse_units(SHOWN, [*NAMES, "more.service"])["more.service"].active == "unknown"


def test_one_call_asks_for_all() -> None:
    asked: list[Sequence[str]] = []

    def fake(argv: Sequence[str]) -> Done:
        asked.append(argv)
        return Done(0, SHOWN, "")

    assert read_units(NAMES, run=fake)["triton@a.service"].is_running
    assert len(asked) == 1
    assert asked[0][-4:] == ["--", *NAMES]
    assert read_units([], run=fake) == {}


def test_a_dead_systemd_makes_all_unknown_with_its_first_line() -> None:
    units = read_units(NAMES, run=lambda _: Done(1, "", "Failed to connect to bus: Host is down\nmore"))
    assert {u.says for u in units.values()} == {"systemctl: Failed to connect to bus: Host is down"}
    assert {u.active for u in units.values()} == {"unknown"}


def test_a_hung_systemctl_makes_all_unknown() -> None:
    def hang(_: Sequence[str]) -> Done:
        raise DsopsError("no end after 10 s: systemctl show")

    assert read_units(NAMES, run=hang)["gone.service"].says == "no end after 10 s: systemctl show"


def test_a_program_that_does_not_end_is_said_with_its_command() -> None:
    with pytest.raises(DsopsError, match=r"no end after 0\.1 s: sleep 5"):
        run(["sleep", "5"], timeout=0.1)


def test_a_missing_program_is_said() -> None:
    with pytest.raises(DsopsError, match="dsops-no-such-program is not installed"):
        run(["dsops-no-such-program"])


def test_a_program_that_may_not_run_is_said() -> None:
    with pytest.raises(DsopsError, match="cannot run /etc/passwd"):
        run(["/etc/passwd"])


def test_a_failing_program_shows_the_command_to_paste_and_its_words() -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no space left')"]
    with pytest.raises(DsopsError, match=r"exit 1: .*'import sys; sys.exit\(.*no space left"):
        get_output(argv, mend="free some")
