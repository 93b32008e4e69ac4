"""`dsops node` itself, and its verbs of traffic: status, drain, undrain, logs."""

import asyncio
import getpass
import json
import re
import shlex
import sys
import syslog
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware
from dsops.core.state import Move, Step
from dsops.core.status import NodeStatus
from dsops.node.accept.measure import Tools
from dsops.node.cli.proving import PORTS, Prover, prove_here
from dsops.node.cli.receipt import receipt
from dsops.node.helper.client import SOCKET as HELPER
from dsops.node.helper.client import call
from dsops.node.run import Run, get_output, run
from dsops.node.sources.config import parse_listen
from dsops.node.sources.gateway import GatewayStatus, judge_gateway
from dsops.node.sources.hardware import read_hardware, read_uuids
from dsops.node.sources.http import Answer, Failure, Target, fetch
from dsops.node.sources.slots import Ports
from dsops.node.store.config import PATH as STORE
from dsops.node.store.config import read_store_config
from dsops.node.store.journal import read_state

STILL_IN_FLIGHT = 3
UNITS = ("triton@*", "dsops-*", "nginx*", "prometheus*")
_GATEWAY_SECONDS = 5.0
_AUDIT_SECONDS = 2.0


@dataclass(frozen=True)
class Door:
    """What the verbs reach: the gateway's socket, the agent, the helper's socket, processes, time, the audit log.

    store: the file that says where the store lies. prove: asks a slot's release its golden prompts. ports: where the
    slots listen. read_hardware, read_uuids (of its GPUs): None when nobody can say what this server has.
    measures: with what an acceptance measures.
    """

    socket: Path
    agent: str
    helper: Path = HELPER
    store: Path = STORE
    prove: Prover = prove_here
    ports: Mapping[str, Ports] = field(default_factory=lambda: PORTS)
    read_hardware: Callable[[], Hardware | None] = read_hardware
    read_uuids: Callable[[], tuple[str, ...] | None] = read_uuids
    measures: Callable[[Tools], Tools] = lambda tools: tools
    run: Run = run
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    audit: Callable[[str], None] = lambda line: syslog.syslog(syslog.LOG_NOTICE | syslog.LOG_AUTH, line)


@click.group(name="node", invoke_without_command=True)
@click.option("--socket", type=click.Path(path_type=Path), default="/run/dsops/gateway.sock", show_default=True)
@click.option("--agent", default="127.0.0.1:9410", show_default=True, help="Where this server's agent listens.")
@click.option("--helper", type=click.Path(path_type=Path), default=HELPER, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=STORE, show_default=True)
@click.option("--ssh", is_flag=True, help="Only for authorized_keys: runs what SSH_ORIGINAL_COMMAND asks for.")
@click.option("--asked", envvar="SSH_ORIGINAL_COMMAND", default="", hidden=True)
@click.pass_context
def node(context: click.Context, socket: Path, agent: str, helper: Path, store: Path, ssh: bool, asked: str) -> None:
    """This server's own door; works without the control host."""
    if context.obj is None:
        context.obj = Door(socket, agent, helper, store)
    if ssh:
        verb, *arguments = parse_asked(asked)
        with receipt([verb, *arguments], helper=context.obj.helper):
            node.commands[verb].main(arguments, prog_name=f"dsops node {verb}", obj=context.obj)
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


def parse_asked(asked: str) -> list[str]:
    """Verb and arguments of an SSH command; no shell sees it. Raises DsopsError on anything else."""
    mend = f"write: ssh dsops@HOST dsops node {'|'.join(node.commands)} ..."
    try:
        words = _split(asked)
    except ValueError as error:
        raise DsopsError(f"cannot be read as words ({error})", where=repr(asked), mend=mend) from error
    if words[:2] != ["dsops", "node"] or len(words) < 3:
        raise DsopsError("only `dsops node VERB ...` runs through this key", where=repr(asked), mend=mend)
    if words[2] not in node.commands:
        raise DsopsError(f"no verb {words[2]!r}", where=repr(asked), mend=suggest(words[2], node.commands))
    return words[2:]


_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)


def _split(asked: str) -> list[str]:
    if found := re.search(r"[;&|<>()`$\n]", _QUOTED.sub("", asked)):
        raise ValueError(f"{found[0]!r} means nothing here, no shell runs this")
    return shlex.split(asked)


@node.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def status(door: Door, as_json: bool) -> None:
    """What this server does now, as its agent sees it."""
    seen = get_status(door)
    click.echo(seen.to_json() if as_json else render_status(seen))


@node.command()
@click.option("--reason", required=True, help="Why; kept and shown to whoever looks.")
@click.option("--who", default=getpass.getuser, help="Who asks; the default is this account.")
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait for what is in flight.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def drain(door: Door, reason: str, who: str, wait: float, as_json: bool) -> None:
    """Takes new traffic away; what is in flight goes on. Exit 3 when some still is after --wait."""
    if not reason.strip():
        raise DsopsError("the reason is empty", where="--reason", mend='--reason "replacing a fan"')
    answer = ask_gateway(door, "/drain", {"reason": reason, "who": who})
    door.audit(f"dsops: drained by {who}: {reason}")
    tell_audit(door, "drain", who=who, reason=reason)
    seen = wait_in_flight(door, wait)
    left = f", {seen.in_flight} in flight" if seen.in_flight is not None else ""
    is_kept = is_persisted(answer)
    lost = "" if is_kept else "; NOT saved to disk: a restart of the gateway would undrain it"
    data = {"drained": seen.drained, "in_flight": seen.in_flight, "persisted": is_kept}
    say(as_json, f"drained{left}{lost}", data)
    if wait and seen.in_flight:
        sys.exit(STILL_IN_FLIGHT)


def find_lonely(door: Door) -> Move | None:
    """The move for which the active slot is stopped; None when there is none, or when there is no store to ask."""
    try:
        move = read_state(read_store_config(door.store).root)[0].move
    except DsopsError:
        return None
    return move if move and move.alone and move.step in (Step.START, Step.PROVE) else None


@node.command()
@click.option("--who", default=getpass.getuser, help="Who asks; the default is this account.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def undrain(door: Door, who: str, as_json: bool) -> None:
    """Lets traffic in again; not while the slot that has it is stopped for a release that comes in alone."""
    if move := find_lonely(door):
        mend = "wait: `dsops node release list`; `dsops node rollback --reason ...` calls it off"
        raise DsopsError(f"nothing would answer: {move.release} comes in alone here (step {move.step})", mend=mend)
    ask_gateway(door, "/undrain", {"who": who})
    door.audit(f"dsops: undrained by {who}")
    tell_audit(door, "undrain", who=who)
    say(as_json, "traffic is let in again", {"drained": None})


@node.command()
@click.argument("unit", required=False)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.pass_obj
def logs(door: Door, unit: str | None, lines: int) -> None:
    """The journal of dsops' own units, or of one of them."""
    units = [check_unit(unit)] if unit else list(UNITS)
    argv = [
        "journalctl",
        "--no-pager",
        "--output=short-iso",
        f"--lines={lines}",
        *(f"--unit={u}" for u in units),
    ]
    mend = "the user needs the group systemd-journal"
    click.echo(get_output(argv, run=door.run, mend=mend), nl=False)


def tell_audit(door: Door, verb: str, **words: Any) -> None:
    """The helper keeps the audit; where it does not answer, the system's log alone has it."""
    with suppress(DsopsError):
        call(door.helper, verb, timeout=_AUDIT_SECONDS, **words)


def check_unit(unit: str) -> str:
    """The unit, when it is one of ours. Raises DsopsError else."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@:._-]*", unit) or not any(fnmatchcase(unit, p) for p in UNITS):
        raise DsopsError(f"no unit of dsops is called {unit!r}", mend=f"units: {', '.join(UNITS)}")
    return unit


def get_status(door: Door) -> NodeStatus:
    """From the agent. Raises DsopsError when it does not answer."""
    return NodeStatus.from_json(get_from_agent(door, "/v1/status").body, where=door.agent)


def get_from_agent(door: Door, path: str, *, allowed: int = 200) -> Answer:
    """A 200 answer, or one of the status that is allowed beside it. Raises DsopsError."""
    host, port = parse_listen(door.agent, where="--agent")
    answer = asyncio.run(fetch(Target(path, host=host, port=port), timeout=_GATEWAY_SECONDS))
    if answer.is_ok or answer.status == allowed:
        return answer
    mend = "`systemctl status dsops-agent`; it shows why"
    raise DsopsError(f"the agent does not answer ({answer.says})", where=door.agent, mend=mend)


def ask_gateway(door: Door, path: str, body: Mapping[str, object] | None = None) -> Answer:
    """POST with a body, else GET. Raises DsopsError: there is no gateway, or it is down, or it refused."""
    target, method = Target(path, socket=door.socket), "GET" if body is None else "POST"
    answer = asyncio.run(fetch(target, timeout=_GATEWAY_SECONDS, method=method, body=body))
    if answer.is_ok:
        return answer
    if not door.socket.exists():
        mend = "drain works on gpu servers only; is dsops-gateway.service started?"
        raise DsopsError("no gateway runs on this server", where=str(door.socket), mend=mend)
    if answer.failure is Failure.ERROR and "ermission" in answer.reason:
        mend = "run it as root or as the user dsops"
        raise DsopsError("you may not talk to the gateway", where=str(door.socket), mend=mend)
    mend = "`dsops node logs dsops-gateway`"
    raise DsopsError(f"the gateway did not do it ({answer.says})", where=str(door.socket), mend=mend)


def is_persisted(answer: Answer) -> bool:
    """Whether the gateway could save the drain."""
    try:
        return json.loads(answer.body).get("persisted") is not False
    except (ValueError, AttributeError):
        return True


def wait_in_flight(door: Door, seconds: float) -> GatewayStatus:
    """The gateway's status once nothing is in flight, or when the time is over."""
    end = door.clock() + seconds
    while True:
        seen = judge_gateway(ask_gateway(door, "/status"))
        if not seen.in_flight or door.clock() >= end:
            return seen
        door.sleep(0.2)


def render_status(seen: NodeStatus) -> str:
    """A few plain lines."""
    lines = [
        f"node       {seen.node} ({seen.role})",
        f"release    {seen.release or '-'} ({seen.release_state})",
        *(f"{key:<10} {words}" for key, words in _tell_moves(seen)),
        f"phase      {seen.phase}{_because(seen.phase_reason)}",
        f"condition  {seen.condition}{_because(seen.condition_reason)}",
        f"gpus       {len(seen.gpus)}{_because(seen.gpus_reason)}",
    ]
    lines += [f"slot {s.name}     {s.phase}, {s.release or 'empty'}{_because(s.reason)}" for s in seen.slots]
    lines += [f"mend       {f.entity}: {f.mend}" for f in seen.findings if f.mend]
    return "\n".join(lines)


def _tell_moves(seen: NodeStatus) -> list[tuple[str, str]]:
    """What is not as it mostly is."""
    told = [("ejected", seen.ejected or ""), ("move", seen.move), ("halted", seen.halted)]
    if seen.baking_until is not None:
        told.append(("bakes", f"for {max(0.0, seen.baking_until - seen.observed_at) / 60:.0f} min more"))
    if seen.fallback:
        told.append(("way back", seen.fallback))
    told += [("bad", f"{mark.release}: {mark.reason}") for mark in seen.bad]
    return [(key, words) for key, words in told if words]


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def say(as_json: bool, line: str, data: Mapping[str, Any]) -> None:
    """One line for a person, or one JSON object."""
    click.echo(json.dumps(data) if as_json else line)
