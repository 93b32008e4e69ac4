"""What a server says of its driver set, what differs from the wanted one, and the operations that change it."""

import shlex
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsops.core.drivers.boots import Stage, State, parse_state
from dsops.core.drivers.lockset import PREFERENCES, STATE, Carried
from dsops.core.errors import DsopsError
from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.ops.changes import tell
from roles.ops.upgrade import refuse

PROGRAM = "/opt/dsops/venv/bin/python -I -m dsops.node.driver"
LOG = "/var/log/dsops-driver.log"


@dataclass(frozen=True)
class Found:
    """state: what the node wrote down, None before the first set. modules: file name -> sha256 in the kernel's tree."""

    state: State | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    modules: Mapping[str, str] = field(default_factory=dict)
    is_pinned: bool = False


class DriverFact(FactBase[Found]):
    """All that is compared, in one command."""

    default = Found

    def command(self, names: list[str], release: str) -> str:
        shown = "${Package} ${db:Status-Status} ${Version}\\n"
        modules = f"/lib/modules/{shlex.quote(release)}/updates/dsops"
        return (
            f"sed 's/^/state /' {STATE} 2>/dev/null;"
            f" dpkg-query -W -f='{shown}' {shlex.join(names)} 2>/dev/null | sed 's/^/package /';"
            " apt-mark showhold 2>/dev/null | sed 's/^/held /';"
            f" (cd {modules} 2>/dev/null && sha256sum *.ko 2>/dev/null) | sed 's/^/module /';"
            f" [ ! -f {PREFERENCES} ] || echo pinned; true"
        )

    def process(self, output: list[str]) -> Found:
        rows = [line.split() for line in output]
        states = [line.removeprefix("state ") for line in output if line.startswith("state ")]
        return Found(
            state=parse_state(states[0], where=STATE) if states else None,
            packages={
                row[1]: row[3] for row in rows if row[0] == "package" and len(row) == 4 and row[2] == "installed"
            },
            held=frozenset(row[1] for row in rows if row[0] == "held"),
            modules={row[2]: row[1] for row in rows if row[0] == "module" and len(row) == 3},
            is_pinned=["pinned"] in rows,
        )


def find_differences(wanted: Carried, found: Found) -> list[str]:
    """What is not as the set has it, in words; a package that somebody changed by hand is among it."""
    name = wanted.lockset.name
    if found.state is None:
        return [f"none of ours -> {name}"]
    if found.state.current != name:
        return [f"{found.state.current} -> {name}"]
    words = ["a change of it was cut"] if found.state.stage is Stage.TURNING else []
    for package, version in wanted.pins.items():
        if (there := found.packages.get(package, "none")) != version:
            words.append(f"{package} is {there}, the set has {version}")
        elif package not in found.held:
            words.append(f"{package} is not held")
    words += [f"{file} is not the set's" for file, sha in wanted.modules.items() if found.modules.get(file) != sha]
    return words if found.is_pinned else [*words, f"{PREFERENCES} is not there"]


def find_refusal(wanted: Carried, found: Found) -> str:
    """Why this set is not installed here; empty when nothing speaks against it."""
    state = found.state
    if state is None:
        return ""
    if wanted.lockset.name in state.bad:
        why = f"{wanted.lockset.name} failed on this node before ({state.says})"
        return f"{why}; name another driver_lockset, or look why, and `{PROGRAM} forget` on the server"
    if state.stage is Stage.HALTED and state.current == wanted.lockset.name:
        return f"the node halted: {state.says}; look why, and `{PROGRAM} forget` on the server"
    return ""


@operation()
def lockset(wanted: Carried) -> Generator[Any, None, None]:
    """Makes the server have the set on its disk, pinned and held; a reboot makes it live.

    + wanted: the set, which lies in its folder on the server
    """
    name, release = wanted.lockset.name, wanted.lockset.kernel.release
    try:
        found = host.get_fact(DriverFact, names=list(wanted.pins), release=release)
    except DsopsError as error:
        yield FunctionCommand(refuse, (f"{error}; {error.mend}",), {})
        return
    words = find_differences(wanted, found)
    if not words:
        host.noop(f"{name} is installed, pinned and held")
        return
    if why := find_refusal(wanted, found):
        tell("refused", name, why)
        yield FunctionCommand(refuse, (why,), {})
        return
    tell("driver", name, "; ".join(words))
    # To a file: were the output a connection, apt would die with it, in the middle of its work.
    yield f"{{ {PROGRAM} change {shlex.quote(name)}; }} > {LOG} 2>&1 < /dev/null || {{ tail -n 25 {LOG} >&2; exit 1; }}"


class IsEnabled(FactBase[bool]):
    """Whether a unit starts at boot, as its file is now."""

    default = bool

    def command(self, unit: str) -> str:
        quoted = shlex.quote(unit)
        return f"systemctl is-enabled {quoted} 2>/dev/null; systemctl show -p NeedDaemonReload --value {quoted}"

    def process(self, output: list[str]) -> bool:
        return output == ["enabled", "no"]


@operation()
def at_boot(unit: str) -> Generator[Any, None, None]:
    """Makes a unit start at the next boot; does not start it now, for it judges boots.

    + unit: with its suffix
    """
    if host.get_fact(IsEnabled, unit=unit):
        host.noop(f"{unit} is enabled")
        return
    tell("unit", unit, "enable")
    yield f"systemctl daemon-reload && systemctl enable --quiet {shlex.quote(unit)}"
