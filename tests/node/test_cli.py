"""The local door: what it does, what it refuses, and its exit codes."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.core.errors import DsopsError
from dsops.node.cli import Door, check_unit, node, parse_asked
from dsops.node.run import Done

from tests.core.test_status import make_status
from tests.node.sources.server import Canned, serve


@dataclass
class Gateway:
    """A gateway's control socket; 503 with `refuse` as body; in_flight counts down at each look."""

    socket: Path
    in_flight: int = 0
    persisted: bool = True
    refuse: bytes = b""
    drained: dict[str, str] | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split()[0])
        body = await reader.readexactly(length)
        self.asked.append((" ".join(head.split()[:2]), json.loads(body) if body else None))
        data = json.dumps(self.say(head.split()[1], body)).encode()
        status = b"503 No" if self.refuse else b"200 OK"
        data = self.refuse or data
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data))
        await writer.drain()
        writer.close()

    def say(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/drain":
            self.drained = json.loads(body)
        if path == "/undrain":
            self.drained = None
        if path == "/status":
            self.in_flight = max(0, self.in_flight - 1)
            return {"drained": self.drained, "in_flight": self.in_flight}
        return {"drained": bool(self.drained), "persisted": self.persisted}


@contextmanager
def run_gateway(gateway: Gateway) -> Iterator[Gateway]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(asyncio.start_unix_server(gateway.answer, gateway.socket), loop).result(5)
    try:
        yield gateway
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


@dataclass
class Bench:
    """A door with everything injected."""

    socket: Path
    agent: str = "127.0.0.1:1"
    done: Done = field(default_factory=lambda: Done(0, "line\n", ""))
    said: list[str] = field(default_factory=list)
    ran: list[Sequence[str]] = field(default_factory=list)
    now: float = 0.0

    def run(self, argv: Sequence[str]) -> Done:
        self.ran.append(argv)
        return self.done

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call(self, *words: str, env: dict[str, str] | None = None) -> Result:
        door = Door(
            self.socket,
            self.agent,
            run=self.run,
            sleep=self.sleep,
            clock=lambda: self.now,
            audit=self.said.append,
        )
        return CliRunner().invoke(node, list(words), obj=door, env=env, catch_exceptions=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "gateway.sock")


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), result.output
    return result.exception


def test_drain_tells_the_gateway_why_and_who_and_leaves_a_name(bench: Bench) -> None:
    with run_gateway(Gateway(bench.socket, in_flight=4)) as gateway:
        result = bench.call("drain", "--reason", "a fan; it's loud", "--who", "ann@ops")
    assert (result.exit_code, result.output) == (0, "drained, 3 in flight\n")
    assert gateway.asked[0] == ("POST /drain", {"reason": "a fan; it's loud", "who": "ann@ops"})
    assert bench.said == ["dsops: drained by ann@ops: a fan; it's loud"]


def test_drain_waits_for_what_is_in_flight(bench: Bench) -> None:
    with run_gateway(Gateway(bench.socket, in_flight=4)):
        result = bench.call("drain", "--reason", "fan", "--wait", "5", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["in_flight"] == 0


def test_drain_ends_with_3_when_the_wait_is_over(bench: Bench) -> None:
    with run_gateway(Gateway(bench.socket, in_flight=400)):
        result = bench.call("drain", "--reason", "fan", "--wait", "1")
    assert (result.exit_code, bench.now >= 1) == (3, True)
    assert "in flight" in result.output


def test_a_drain_that_would_not_survive_a_restart_says_so(bench: Bench) -> None:
    with run_gateway(Gateway(bench.socket, persisted=False)):
        assert "NOT saved to disk" in bench.call("drain", "--reason", "fan").output


def test_undrain_leaves_a_name_too(bench: Bench) -> None:
    with run_gateway(Gateway(bench.socket)) as gateway:
        result = bench.call("undrain", "--who", "ann", "--json")
    assert (json.loads(result.output), gateway.asked[0][0]) == ({"drained": None}, "POST /undrain")
    assert bench.said == ["dsops: undrained by ann"]


def test_a_reason_is_needed(bench: Bench) -> None:
    assert bench.call("drain").exit_code == 2
    assert error_of(bench.call("drain", "--reason", "  ")).what == "the reason is empty"


def test_a_server_without_gateway_says_so(bench: Bench) -> None:
    error = error_of(bench.call("drain", "--reason", "fan"))
    assert (error.what, bench.said) == ("no gateway runs on this server", [])


def test_a_gateway_that_refuses_is_quoted(bench: Bench) -> None:
    refusal = b'{"error": {"message": "the address is taken"}}'
    with run_gateway(Gateway(bench.socket, refuse=refusal)):
        error = error_of(bench.call("undrain"))
    assert error.what == "the gateway did not do it (the address is taken)"
    assert error.mend == "`dsops node logs dsops-gateway`"


def test_status_comes_from_the_agent(bench: Bench) -> None:
    status = make_status()
    with serve(Canned({"/v1/status": (200, status.to_json().encode())})) as canned:
        bench.agent = f"127.0.0.1:{canned.port}"
        assert bench.call("status", "--json").output == status.to_json() + "\n"
        text = bench.call("status").output
    assert "release    r0123456789ab (active)" in text
    assert "mend       gpu0: reboot" in text


def test_an_agent_that_is_down_is_said(bench: Bench) -> None:
    error = error_of(bench.call("status"))
    assert (error.what, error.where) == ("the agent does not answer (connection refused)", "127.0.0.1:1")


def test_logs_reads_our_units_only(bench: Bench) -> None:
    assert bench.call("logs", "triton@a", "-n", "7").output == "line\n"
    assert bench.ran[0][-2:] == ["--lines=7", "--unit=triton@a"]
    bench.call("logs")
    assert "--unit=dsops-*" in bench.ran[1]
    for unit in ("ssh", "--rotate", "triton@a --rotate", "dsops-*", ""):
        with pytest.raises(DsopsError, match="no unit of dsops"):
            check_unit(unit)


def test_a_journal_that_cannot_be_read_is_said(bench: Bench) -> None:
    bench.done = Done(1, "", "No journal files were opened due to insufficient permissions.")
    error = error_of(bench.call("logs"))
    assert "insufficient permissions" in error.what
    assert error.mend == "the user needs the group systemd-journal"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("dsops node status --json", ["status", "--json"]),
        ("dsops node drain --reason 'a; b | $c' --wait 5", ["drain", "--reason", "a; b | $c", "--wait", "5"]),
        ("dsops node drain --reason 'it'\"'\"'s'", ["drain", "--reason", "it's"]),
        ("dsops node logs triton@a -n 5", ["logs", "triton@a", "-n", "5"]),
    ],
)
def test_ssh_may_run_the_verbs(asked: str, words: list[str]) -> None:
    assert parse_asked(asked) == words


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "bash",
        "dsops",
        "dsops node",
        "dsops deploy x",
        "/opt/dsops/venv/bin/dsops node status",
        "dsops node --ssh",
        "dsops node --socket /x status",
        "dsops node drian",
        "dsops node status; rm -rf /",
        "dsops node status && id",
        "dsops node status | tee x",
        "dsops node status > /etc/passwd",
        "dsops node status $(id)",
        "dsops node status `id`",
        "dsops node status\nid",
        "dsops node drain --reason 'open",
        "dsops node drain --reason open\\",
        "internal-sftp",
        "scp -t /",
    ],
)
def test_ssh_may_run_nothing_else(asked: str) -> None:
    with pytest.raises(DsopsError) as caught:
        parse_asked(asked)
    assert caught.value.mend


def test_the_forced_command_runs_what_was_asked(bench: Bench) -> None:
    env = {"SSH_ORIGINAL_COMMAND": "dsops node drain --reason 'a fan' --who ann"}
    with run_gateway(Gateway(bench.socket)) as gateway:
        result = bench.call("--ssh", env=env)
    assert (result.exit_code, result.output) == (0, "drained, 0 in flight\n")
    assert gateway.drained == {"reason": "a fan", "who": "ann"}


def test_a_login_without_a_command_is_refused(bench: Bench) -> None:
    error = error_of(bench.call("--ssh", env={"SSH_ORIGINAL_COMMAND": ""}))
    assert error.what == "only `dsops node VERB ...` runs through this key"


def test_a_wrong_option_over_ssh_is_a_usage_error(bench: Bench) -> None:
    result = bench.call("--ssh", env={"SSH_ORIGINAL_COMMAND": "dsops node drain --reson x"})
    assert result.exit_code == 2
    assert "--reason" in result.output


def test_without_a_verb_the_help_is_shown(bench: Bench) -> None:
    assert "undrain" in bench.call().output
