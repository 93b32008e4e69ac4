"""Another build of dsops on servers that run one: one server first, proven, then the next; a bad one goes back."""

import shlex
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import IO, Any

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, Host, State, operation

from roles.base.templates.upgrade import PROVEN
from roles.ops.changes import find_book, tell
from roles.ops.order import in_order, is_failed
from roles.ops.remote import pipe

PROGRAM = Path(__file__).parents[1] / "base/templates/upgrade.py"


class UpgradeState(FactBase[tuple[str, bool]]):
    """(where the link leads, whether the wanted environment was proven on this server)."""

    @staticmethod
    def default() -> tuple[str, bool]:
        """What a server says that says nothing."""
        return "", False

    def command(self, path: str, target: str) -> str:
        return f"readlink {shlex.quote(path)} || echo; [ -f {shlex.quote(target)}/{PROVEN} ] && echo proven || true"

    def process(self, output: list[str]) -> tuple[str, bool]:
        return output[0], output[1:] == ["proven"]


class OwnServices(FactBase[list[str]]):
    """The services of ours that run: what a turn to another build restarts."""

    default = list

    def command(self) -> str:
        return "systemctl list-units --plain --no-legend --state=active 'dsops-*.service' | cut -d' ' -f1"

    def process(self, output: list[str]) -> list[str]:
        return sorted(output)


@operation()
def upgrade(path: str, *, version: str, python: str = "python3") -> Generator[Any, None, None]:
    """Makes what runs from the link `path` run from environment `version`, proven; run it serially.

    Nothing is done on any further server once one did not come up with it: those fail here, before anything else
    of the new build reaches them.

    + path: the link of `environment`, which has built the version beside the one in use
    + version: of the environment
    + python: the interpreter on the server
    """
    target = f"{path}s/{version}"
    link, proven = host.get_fact(UpgradeState, path=path, target=target)
    if (link, proven) == (target, True):
        host.noop(f"{path} is {version}, proven")
        return
    tell("upgrade", path, f"{Path(link).name if link else 'none'} -> {version}" if link != target else "to be proven")
    for name in host.get_fact(OwnServices) if find_book() else ():
        tell("unit", name, "restart")
    if first := find_failed(host.state, host.current_op_hash):
        why = f"{first} did not come up with the new dsops; this server keeps the old one"
    elif is_failed(host):
        why = "what runs here could not be read; nothing was touched"
    else:
        command = f"{python} -I - {shlex.quote(path)} {shlex.quote(target)}"
        yield FunctionCommand(pipe, (command, partial(_write, PROGRAM.read_bytes())), {})
        return
    yield FunctionCommand(refuse, (why,), {})


def find_failed(state: State, operation_hash: str | None) -> str:
    """The first server on which an operation of this run has failed so far; empty where none has."""
    for other in in_order(state.inventory):
        found = state.ops[other].get(operation_hash or "")
        if found and found.operation_meta.is_complete() and not found.operation_meta.did_succeed():
            return str(other.name)
    return ""


def refuse(state: State, host: Host, why: str) -> bool:  # noqa: ARG001 - pyinfra passes the state
    """Fails the operation on a server, in words."""
    logger.error(f"[{host.name}] {why}")
    return False


def _write(program: bytes, out: IO[bytes]) -> None:
    out.write(program)
