"""Facts asked ahead: what the next operations of a server will want to know comes in one command, until one changes it.

Nothing about an operation is declared for this. Each is started, up to the first fact that it asks for, and given up
there; the commands of those facts go to the server as one program. When its turn comes the operation runs as ever, and
finds the answers. Whatever is not answered so (a fact that failed, a second one that follows from the first) is asked
as without any of this. docs/decisions/0011 has the reasons and the figures.
"""

import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, State, StringCommand
from pyinfra.api.state import BaseStateCallback, StateOperationHostData
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    extract_control_arguments,
    make_unix_command,
)

Answer = tuple[bool, CommandOutput]
KEEP = 30.0  # seconds that an answer counts, while nothing is changed on the server
PATIENCE = 60  # seconds for all facts together; afterwards each is asked for itself
ALL = 1 << 20


class _Asked(BaseException):
    """A fact is wanted that is not known yet. No Exception, so that nothing on its way takes it for a failure."""


class Memory:
    """What is known of one server, and which of its operations have been asked for."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._get_fact = host.get_fact
        self._run: Callable[..., Answer] = host.connector.run_shell_command
        self._put: Callable[..., bool] = host.connector.put_file
        self._answers: dict[str, Answer] = {}
        self._wanted: dict[str, None] | None = None  # while it is found out what will be asked
        self._in_fact = 0
        self._since = 0.0
        self._until = 0  # how many of the server's operations have been asked for
        self._ahead = ALL  # how many to ask for next

    def install(self) -> None:
        """On the server and its connector, which all facts, commands and uploads of pyinfra go through."""
        host: Any = self._host
        host.get_fact = self.get_fact
        host.connector.run_shell_command = self.run
        host.connector.put_file = self.put

    def get_fact(self, *args: Any, **kwargs: Any) -> Any:
        """pyinfra's own, so that what it runs is known to be a fact."""
        self._in_fact += 1
        try:
            return self._get_fact(*args, **kwargs)
        finally:
            self._in_fact -= 1

    def put(self, *args: Any, **kwargs: Any) -> bool:
        """An upload."""
        self.forget()
        return self._put(*args, **kwargs)

    def run(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> Answer:
        """A fact is answered from memory where it can be; everything else ends what is known."""
        if not self._in_fact:
            self.forget()
            return self._run(command, print_output, print_input, **arguments)
        text = find_plain(command, arguments)
        if self._wanted is not None:
            if text is not None:
                self._wanted[text] = None
            raise _Asked
        if text is not None and text in self._answers and self._is_fresh():
            return self._answers[text]
        return self._run(command, print_output, print_input, **arguments)

    def forget(self) -> None:
        """Something is changed on the server. Goes on carefully: a server that changes once often changes again."""
        self._answers.clear()
        self._until, self._ahead = 0, min(self._ahead, 1)

    def forgetting(self, commands: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
        """The same commands; what is known ends before and after each, whatever way it takes to the server."""

        def generate() -> Iterator[Any]:
            for command in commands():
                self.forget()
                yield command
                self.forget()

        return generate

    def prepare(self, state: State, op_hash: str) -> None:
        """Before an operation: asks for it, and for twice as many as last time, unless that was done already."""
        operations = state.ops[self._host]
        order = [one for one in self._host.op_hash_order if one in operations]
        if op_hash not in order:
            return
        place = order.index(op_hash)
        if place >= self._until or not self._is_fresh():
            coming = order[place : place + self._ahead]
            self._until, self._ahead = place + len(coming), self._ahead * 2
            if len(coming) > 1:
                self.ask([_starter(operations[one]) for one in coming])
        operation = operations[op_hash]
        operation.command_generator = self.forgetting(operation.command_generator)

    def ask(self, calls: Iterable[Callable[[], object]]) -> None:
        """Finds out which fact each call asks for first, and gets all of them with one command."""
        self._answers.clear()
        self._wanted = {}
        try:
            for call in calls:
                with suppress(_Asked, Exception):  # what is wrong with it, it will say itself in its turn
                    call()
        finally:
            wanted, self._wanted = list(self._wanted), None
        self._since = time.monotonic()
        if not wanted:
            return
        mark = secrets.token_hex(8)
        program = render_program(wanted, mark)
        with suppress(OSError, EOFError, SSHException):  # TimeoutError is an OSError
            _, output = self._run(StringCommand("exec sh -s"), _stdin=[program], _timeout=PATIENCE)
            self._answers = {wanted[number]: answer for number, answer in parse_answers(output.stdout_lines, mark)}
        if not self._answers:  # not a server that this works with: one by one from here on
            self._ahead = 0

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._since < KEEP


def find_plain(command: str | StringCommand, arguments: dict[str, Any]) -> str | None:
    """A fact's shell text, when pyinfra would run just that; None where sudo, an environment or the like is added."""
    rest = dict(arguments)
    control = extract_control_arguments(rest)  # type: ignore[arg-type]
    if control.get("_get_pty") or control.get("_stdin") or list(control.get("_success_exit_codes") or [0]) != [0]:
        return None
    text = str(StringCommand(command).get_raw_value())
    made = make_unix_command(StringCommand(text), **rest).get_raw_value()
    return text if made == f"sh -c {shlex.quote(text)}" else None


def render_program(commands: Iterable[str], mark: str) -> str:
    """Shell that runs every command by itself, and after each prints a line: mark, its number, its exit status."""
    return "".join(
        f"( eval {shlex.quote(command)} ) </dev/null 2>/dev/null; printf '\\n%s %d %d\\n' {mark} {number} $?\n"
        for number, command in enumerate(commands)
    )


def parse_answers(lines: Iterable[str], mark: str) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of every command that succeeded."""
    held: list[str] = []
    for line in lines:
        if not line.startswith(f"{mark} "):
            held.append(line)
            continue
        _, number, code = line.split(" ")
        if held[-1:] == [""]:  # the end of its last line, or of nothing
            held.pop()
        if code == "0":
            yield int(number), (True, CommandOutput([OutputLine("stdout", text) for text in held]))
        held = []


def _starter(operation: StateOperationHostData) -> Callable[[], object]:
    def start() -> object:
        commands: Any = operation.command_generator()
        try:
            return next(commands, None)
        finally:
            commands.close()

    return start


class _Ahead(BaseStateCallback):
    """pyinfra says what it is going to do."""

    def __init__(self) -> None:
        self.memories: dict[str, Memory] = {}

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        if memory := self.memories.get(host.name):
            memory.prepare(state, op_hash)

    def operation_host_retry(self, _: State, host: Host, *__: object) -> None:  # type: ignore[override]
        if memory := self.memories.get(host.name):
            memory.forget()


def ask_ahead(state: State, host: Host, calls: Iterable[Callable[[], object]] = ()) -> None:
    """Has the facts of a server asked ahead from now on, and at once those that `calls` ask for.

    Not where every command is to be seen (-vv), nor with a pyinfra that is not as this expects it.
    """
    if state.print_fact_input or state.print_fact_output or not is_known(state, host):
        return
    ahead = next((one for one in state.callback_handlers if isinstance(one, _Ahead)), None)
    if ahead is None:
        ahead = _Ahead()
        state.add_callback_handler(ahead)  # type: ignore[no-untyped-call]
    if host.name not in ahead.memories:
        ahead.memories[host.name] = Memory(host)
        ahead.memories[host.name].install()
    ahead.memories[host.name].ask(calls)


def is_known(state: State, host: Host) -> bool:
    """Whether pyinfra has the places that this hooks into; says so when it has not, for it only makes runs slow."""
    places = {
        "Host.op_hash_order": isinstance(getattr(host, "op_hash_order", None), list),
        "State.ops": isinstance(getattr(state, "ops", None), dict),
        "State.callback_handlers": isinstance(getattr(state, "callback_handlers", None), list),
        "StateOperationHostData.command_generator": "command_generator"
        in {field.name for field in fields(StateOperationHostData)},
        "BaseStateCallback.operation_host_start": hasattr(BaseStateCallback, "operation_host_start"),
    }
    if missing := [name for name, there in places.items() if not there]:
        logger.warning(f"facts are asked one by one: this pyinfra has no {', '.join(missing)}")
    return not missing
