"""A change on trial, run in a real shell: kept when a new connection says so, undone in every other case."""

import subprocess
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError

from roles.ops import trial
from roles.ops.trial import Change, prove, render_start
from tests.roles.here import write_program


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the thing that is changed, and programs that stand in for systemd's."""
    write_program(tmp_path / "bin", "systemd-run", f'echo "$@" >> {tmp_path}/armed')
    write_program(tmp_path / "bin", "systemctl", f'echo "$@" >> {tmp_path}/systemctl')
    (tmp_path / "thing").write_text("old")
    return tmp_path


def make(place: Path, **steps: str) -> Change:
    thing = place / "thing"
    change = Change(
        name="x",
        check="grep -q good new || { echo 'this is not good' >&2; exit 4; }",
        save=f"cp {thing} old",
        start=f"cp new {thing}",
        back=f"cp old {thing}",
        keep=f"echo kept > {place}/kept",
    )
    return replace(change, **steps)


def shell(place: Path, text: str, data: str = "") -> subprocess.CompletedProcess[str]:
    text = text.replace(trial.FOLDER, str(place / "trial"))
    words = ["sh", "-c", text]
    env = {"PATH": f"{place}/bin:/usr/bin:/bin"}
    return subprocess.run(words, input=data, capture_output=True, text=True, timeout=60, check=False, env=env)


def start(place: Path, change: Change, data: str = "good", token: str = "t1") -> subprocess.CompletedProcess[str]:
    program = render_start(change, token=token, digest=sha256(data.encode()).hexdigest())
    return shell(place, program, data)


def decide(place: Path, verdict: str, token: str = "t1") -> subprocess.CompletedProcess[str]:
    return shell(place, f"sh {trial.FOLDER}/x/decide {verdict} {token}")


def thing(place: Path) -> str:
    return (place / "thing").read_text()


def test_it_is_in_force_with_the_timer_armed_before(place: Path) -> None:
    done = start(place, make(place, start=f"test -s {place}/armed; cp new {place}/thing"))
    assert done.returncode == 0, done.stderr
    assert thing(place) == "good"
    assert "--on-active=60" in (place / "armed").read_text()
    assert "decide back t1" in (place / "armed").read_text()


def test_it_is_kept_once_and_the_timer_stopped(place: Path) -> None:
    start(place, make(place))
    assert decide(place, "keep").returncode == 0
    assert (place / "kept").exists()
    assert "stop change-on-trial-x-t1.timer" in (place / "systemctl").read_text()
    late = decide(place, "back")
    assert late.returncode == 3
    assert "this trial is over" in late.stderr
    assert thing(place) == "good"


def test_the_timer_undoes_it_and_a_late_keep_does_nothing(place: Path) -> None:
    start(place, make(place))
    assert decide(place, "back").returncode == 0
    assert thing(place) == "old"
    assert decide(place, "keep").returncode == 3
    assert not (place / "kept").exists()


def test_the_word_of_another_run_counts_for_nothing(place: Path) -> None:
    start(place, make(place))
    assert decide(place, "keep", "t0").returncode == 3
    assert not (place / "kept").exists()
    assert thing(place) == "good"


def test_what_the_check_refuses_changes_nothing_and_arms_nothing(place: Path) -> None:
    done = start(place, make(place), "bad")
    assert done.returncode == 4
    assert "this is not good" in done.stderr
    assert thing(place) == "old"
    assert not (place / "armed").exists()


def test_half_a_file_goes_no_further(place: Path) -> None:
    program = render_start(make(place), token="t1", digest=sha256(b"good and whole").hexdigest())
    done = shell(place, program, "good")
    assert done.returncode == 1
    assert "it did not arrive whole" in done.stderr
    assert thing(place) == "old"


def test_without_a_timer_nothing_is_changed(place: Path) -> None:
    write_program(place / "bin", "systemd-run", "echo 'no bus' >&2; exit 1")
    done = start(place, make(place))
    assert done.returncode == 1
    assert "systemd gives no timer that would undo it: nothing was changed" in done.stderr
    assert thing(place) == "old"


def test_a_start_that_fails_half_way_is_undone_at_once(place: Path) -> None:
    done = start(place, make(place, start=f"cp new {place}/thing; exit 7"))
    assert done.returncode == 7
    assert thing(place) == "old"
    assert decide(place, "keep").returncode == 3


def test_a_keep_that_fails_is_no_keep_and_can_still_be_undone(place: Path) -> None:
    start(place, make(place, keep="echo 'no space' >&2; exit 1"))
    done = decide(place, "keep")
    assert done.returncode == 1
    assert "no space" in done.stderr
    assert decide(place, "back").returncode == 0
    assert thing(place) == "old"


def test_a_run_that_was_cut_is_undone_before_the_next_one_saves_what_it_found(place: Path) -> None:
    start(place, make(place), "good one")
    assert thing(place) == "good one"
    start(place, make(place), "good two", token="t2")
    assert thing(place) == "good two"
    assert decide(place, "back", "t2").returncode == 0
    assert thing(place) == "old"


# The proof, on the control host.


@dataclass
class _Stream:
    said: bytes
    code: int

    @property
    def channel(self) -> "_Stream":
        return self

    def read(self) -> bytes:
        return self.said

    def recv_exit_status(self) -> int:
        return self.code


@dataclass
class _Client:
    code: int = 0
    said: bytes = b""
    ran: list[str] = field(default_factory=list)

    def exec_command(self, command: str, timeout: float) -> tuple[None, _Stream, _Stream]:
        assert timeout
        self.ran.append(command)
        return None, _Stream(b"", self.code), _Stream(self.said, self.code)

    def close(self) -> None:
        self.ran.append("closed")


class Connector:
    """Stands for pyinfra's: `client` of the open connection, and a class whose new ones connect or do not."""

    fresh = _Client()
    error: Exception | None = None

    def __init__(self, state: object, host: object) -> None:
        self.client = _Client()

    def connect(self) -> None:
        if self.error:
            raise self.error
        self.client = self.fresh


@dataclass
class Host:
    """Stands for pyinfra's; `lost`: what the open connection says when it is asked."""

    connector: Connector
    name: str = "gpu1"
    lost: Exception | None = None
    ran: list[str] = field(default_factory=list)

    def run_shell_command(self, command: Any, **_: object) -> tuple[bool, None]:
        self.ran.append(str(command))
        if self.lost:
            raise self.lost
        return True, None


@pytest.fixture
def host() -> Host:
    class Fresh(Connector):
        fresh = _Client()

    return Host(Fresh(None, None))


def attempt(host: Host) -> bool:
    state: Any = None
    server: Any = host
    return prove(state, server, "x", "t1")


def test_a_new_connection_keeps_it_and_the_open_one_is_not_asked(host: Host) -> None:
    assert attempt(host)
    assert type(host.connector).fresh.ran == ["sh /run/dsops-trial/x/decide keep t1", "closed"]
    assert host.ran == []


def test_a_login_that_is_refused_undoes_it_over_the_open_connection(host: Host) -> None:
    type(host.connector).error = ConnectError("Authentication error (username=root)")
    assert not attempt(host)
    assert host.ran == ["sh /run/dsops-trial/x/decide back t1"]


def test_where_the_open_connection_is_dead_too_the_servers_own_timer_is_what_is_left(host: Host) -> None:
    type(host.connector).error = ConnectError("Authentication error (username=root)")
    host.lost = SSHException("Timeout opening channel.")
    assert not attempt(host)


def test_a_keep_that_the_server_refuses_is_undone(host: Host) -> None:
    type(host.connector).fresh = _Client(code=1, said=b"no space left")
    assert not attempt(host)
    assert host.ran == ["sh /run/dsops-trial/x/decide back t1"]
