"""Looks at all servers of a run at once, over the connections that it has, and refuses it before its first change."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dsops
import gevent  # type: ignore[import-untyped]
from dsops.core.errors import DsopsError
from gevent.pool import Pool  # type: ignore[import-untyped]
from paramiko import SSHException
from pyinfra import host, logger
from pyinfra.api import Host, State, StringCommand
from pyinfra.api.exceptions import ConnectError

# The judges are the control side's, which roles must not import. Its script is a file to read, its judges a program.
SCRIPT = Path(dsops.__file__).parent / "control/doctor/probe.sh"
ROOT = Path(__file__).parents[2]
JUDGE = "dsops.control.doctor.preflight"
SECONDS = 30
AT_ONCE = 64
SECRET = ("ssh_password", "ssh_key_password")
MEND = (
    "each as it says; `dsops doctor` shows all that it looked at. To go on with open eyes: "
    'preflight_accept = ["CHECK"] for a server, or preflight = "warn"; nothing was changed'
)


@dataclass(frozen=True)
class Said:
    """One server's answer to the script: None when it was lost, empty when it gave none in time.

    Times: this machine's clock, Unix seconds.
    """

    name: str
    groups: list[str]
    data: Mapping[str, Any]
    said: str | None
    started: float
    ended: float


def preflight() -> None:
    """Looks once a run. Raises DsopsError with every problem of every server; warnings and the unknown are shown."""
    refusal = _look_once(host.state)
    if refusal:
        raise DsopsError(refusal, mend=MEND)


@cache
def _look_once(state: State) -> str:
    """The refusal, empty when the run may go on. Kept, for pyinfra's greenlets of the other servers ask too."""
    judge = subprocess.Popen(
        [sys.executable, "-m", JUDGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # The judge loads its modules while the servers answer.
    answers = ask_all(state)
    run = json.dumps({"root": str(ROOT), "servers": [asdict(one) for one in answers]}, default=str)
    out, err = judge.communicate(run, timeout=60)
    if judge.returncode:
        return f"the preflight itself failed: {err.strip()[-2000:]}"
    verdict = json.loads(out)
    text = "\n  ".join([_head(verdict), *verdict["lines"]])
    if verdict["problems"]:
        return text
    for line in text.splitlines() if verdict["lines"] or verdict["warnings"] else ():
        logger.warning(line)
    return ""


def _head(verdict: Mapping[str, Any]) -> str:
    problems, warnings = verdict["problems"], verdict["warnings"]
    if problems:
        return f"preflight: {_count(problems, 'problem')} {'stands' if problems == 1 else 'stand'} in the way"
    if warnings:
        return f"preflight: {_count(warnings, 'warning')}, which `dsops doctor` shows"
    return "preflight: seen, and no hindrance"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ask_all(state: State) -> list[Said]:
    """Every server that is connected, all at once."""
    script, servers = SCRIPT.read_text(), [one for one in state.inventory if one in state.active_hosts]
    return list(Pool(AT_ONCE).map(lambda one: ask(one, script), servers))


def ask(server: Host, script: str, *, seconds: float = SECONDS) -> Said:
    """One command. A server that is lost meanwhile has no answer; its own deploy says so, and it fails alone."""
    said, started = None, time.time()
    try:
        with gevent.Timeout(seconds, False):
            said = ""  # what it stays when the time is over
            said = server.connector.run_shell_command(StringCommand(script), False, False)[1].stdout
    except (EOFError, OSError, SSHException, ConnectError):
        said = None
    return Said(server.name, list(server.groups), _plain(server.data), said, started, time.time())


def _plain(data: Any) -> dict[str, Any]:
    """What the judges read: the roles' keys are texts, numbers and lists. Passwords and a connector's own stay here."""
    kinds = (str, int, float, list, tuple)
    return {key: value for key, value in data.dict().items() if isinstance(value, kinds) and key not in SECRET}
