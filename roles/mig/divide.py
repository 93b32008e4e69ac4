"""What a server says of its divided GPUs, and their division: refused with traffic on it, by the server itself too."""

import json
import shlex
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.mig.defaults import Mig
from roles.ops.changes import tell
from roles.ops.upgrade import refuse

Commands = Generator[Any, None, None]
PYTHON = "/opt/dsops/venv/bin/python"
PROGRAM = f"{PYTHON} -I -m dsops.node.mig"
UNIT = "dsops-mig.service"
# What this role may not know: a build of dsops without it is replaced in this very run.
UNKNOWN = "not known before this run: dsops comes to this server with it"


@dataclass(frozen=True)
class MigState:
    """changes: one line for each. refused: why it cannot be had here; traffic: why it cannot be now. "": it can."""

    changes: tuple[str, ...] = (UNKNOWN,)
    refused: str = ""
    traffic: str = ""


class MigFact(FactBase[MigState]):
    """What dsops on the server would change; it asks the driver, so it takes a moment."""

    default = MigState

    def command(self, said: Mig) -> str:
        words = [word for text in said.mig_layouts for word in ("--layout", text)]
        words += [word for text in said.mig_slots for word in ("--slot", text)]
        return f"[ ! -x {PYTHON} ] || timeout 60 {PROGRAM} plan {shlex.join(words)} 2>/dev/null || true"

    def process(self, output: list[str]) -> MigState:
        try:
            said = json.loads("".join(output))
            return MigState(tuple(said["changes"]), said["refused"], said["traffic"])
        except (ValueError, LookupError, TypeError):
            return MigState()


@operation()
def can_be_had(said: Mig) -> Commands:
    """Changes nothing. Fails when the server cannot be divided so, or not now, before anything is touched.

    + said: the role's settings
    """
    state = host.get_fact(MigFact, said=said)
    why = state.refused or (state.traffic if state.changes else "")
    if why:
        tell("refused", "GPUs", why)
        yield FunctionCommand(refuse, (why,), {})
    else:
        host.noop("the GPUs can be divided so")


@operation()
def divided(said: Mig) -> Commands:
    """Makes the GPUs divided as wanted; run it serially. The slots of the node stand still meanwhile.

    + said: the role's settings; the server has them in its configuration
    """
    state = host.get_fact(MigFact, said=said)
    if not state.changes:
        host.noop("the GPUs are divided as wanted")
        return
    for change in state.changes:
        tell("GPUs", "MIG", change)
    yield f"systemctl daemon-reload && {PROGRAM} apply"
