"""A server whose connection is lost fails alone, in words, whatever pyinfra was doing with it."""

import io
import logging
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from paramiko import SSHException
from pyinfra.api import Config, FactBase, FileUploadCommand, Inventory, State, operation
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_host, host

from roles.ops.connection import guard_connection, quieten
from roles.ops.remote import pipe


class Hello(FactBase[str]):
    """Any fact."""

    default = str

    def command(self) -> str:
        return "echo hello"


@operation()
def reads() -> Generator[str, None, None]:
    """An operation that asks first, as ours do."""
    if host.get_fact(Hello) != "hello":
        yield "echo mend"


@operation()
def runs() -> Generator[str, None, None]:
    """An operation that only does."""
    yield "echo does"


@operation()
def uploads() -> Generator[Any, None, None]:
    """An operation that sends a file with SFTP."""
    yield FileUploadCommand(io.StringIO("x"), "/tmp/x")


@dataclass
class Channel:
    """closes: what closing its input raises."""

    status: int
    closes: Exception | None

    def recv_exit_status(self) -> int:
        return self.status

    def shutdown_write(self) -> None:
        if self.closes:
            raise self.closes


class Buffer(io.BytesIO):
    """One of the three streams of a program."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def close(self) -> None:
        self.channel.shutdown_write()


@dataclass
class Client:
    """As paramiko's, of a server that is gone. alive: paramiko has not noticed it yet."""

    raises: Exception | None = None
    closes: Exception | None = None
    status: int = -1
    alive: bool = False
    asked: list[str] = field(default_factory=list)

    def exec_command(self, command: str, **_: Any) -> tuple[Buffer, Buffer, Buffer]:
        self.asked.append(command)
        if self.raises:
            raise self.raises
        channel = Channel(self.status, self.closes)
        return Buffer(channel), Buffer(channel), Buffer(channel)

    def get_transport(self) -> Any:
        # paramiko checks the type before anything else when SFTP is opened; what it raises is the same for all.
        def open_session(*_: Any, **__: Any) -> None:
            raise self.raises or EOFError

        return type("Transport", (), {"is_active": lambda _: self.alive, "sock": None, "open_session": open_session})()


# How paramiko 4 tells of a server that died while a program was started, its input closed, or its output read.
DEATHS = {
    "a program is started": Client(raises=EOFError()),
    "a program is started, and paramiko has not noticed": Client(raises=EOFError(), alive=True),
    "its input is closed": Client(closes=EOFError()),
    "its output is read": Client(status=-1),
    "nothing is under way": Client(raises=SSHException("SSH session not active")),
    "the link is cut": Client(raises=TimeoutError(110, "Connection timed out")),
}


def run(client: Client, act: Any, *, others: int = 1) -> State:
    """Runs an operation on `mon1`, behind this client, and on others that are well."""
    names = ["mon1", *(f"@fake/gpu{number}" for number in range(1, others + 1))]
    state = State(Inventory((names, {"fake_delay": 0, "fake_delay_jitter": 0})), Config())  # type: ignore[no-untyped-call]
    state.check_for_changes = False
    for server in state.inventory:
        state.activate_host(server)
        if server.name == "mon1":
            server.connector.client = client  # type: ignore[attr-defined]
        server.connected = True
        with ctx_host.use(server):
            guard_connection()
    add_op(state, act, name="x")
    run_ops(state)
    return state


@pytest.mark.parametrize("moment", DEATHS)
@pytest.mark.parametrize("act", [reads, runs])
def test_a_lost_server_fails_alone_and_is_told_once(act: Any, moment: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pyinfra").propagate = True
    state = run(DEATHS[moment], act)
    assert {server.name for server in state.failed_hosts} == {"mon1"}
    assert {server.name for server in state.active_hosts} == {"@fake/gpu1"}
    assert caplog.text.count("connection lost") == 1
    assert "Traceback" not in caplog.text


def test_an_upload_to_a_lost_server_fails_like_any_command() -> None:
    state = run(Client(raises=EOFError()), uploads)
    assert {server.name for server in state.failed_hosts} == {"mon1"}


def test_an_error_of_a_connection_that_lives_stays_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pyinfra").propagate = True
    state = run(Client(raises=SSHException("Administratively prohibited"), alive=True), runs)
    assert {server.name for server in state.failed_hosts} == {"mon1"}
    assert "Administratively prohibited" in caplog.text
    assert "connection lost" not in caplog.text


def test_when_the_last_server_is_lost_no_traceback_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    quieten()
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(Client(raises=EOFError()), reads, others=0)
    assert "Traceback" not in capfd.readouterr().err


def test_what_paramikos_thread_logs_by_itself_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    quieten()
    logging.getLogger("paramiko.transport").error("Traceback (most recent call last):")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("moment", DEATHS)
def test_bytes_for_a_lost_server_are_a_failed_command(moment: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pyinfra").propagate = True
    server: Any = type("Host", (), {"name": "mon1", "connector": type("Connector", (), {"client": DEATHS[moment]})})
    assert not pipe(None, server, "cat", lambda stream: stream.write(b"x"))  # type: ignore[arg-type]
    assert caplog.messages == ["[mon1] connection lost"]
