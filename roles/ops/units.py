"""systemd units: running, enabled, and started after the last change of what they read."""

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit. stale: something that it reads is newer than its start."""

    active: bool
    enabled: bool
    needs_reload: bool
    stale: bool


class UnitFact(FactBase[UnitState]):
    """The state of a unit, and whether one of its inputs changed since it started.

    The comparison is by time and not by what this run did, so that a run that was cut between
    writing a file and restarting the unit is made good by the next one.
    """

    def command(self, unit: str, inputs: Sequence[str]) -> str:
        keys = "ActiveState,UnitFileState,NeedDaemonReload,ActiveEnterTimestamp"
        show = f"systemctl show --timestamp=us+utc -p {keys} {shlex.quote(unit)}"
        newer = f'find {shlex.join(inputs)} -maxdepth 0 -newermt "$since" 2>/dev/null | head -n 1' if inputs else ":"
        return f"{show}; since=$({show} | sed -n 's/^ActiveEnterTimestamp=//p'); [ -z \"$since\" ] || {newer}"

    def process(self, output: list[str]) -> UnitState:
        keys = dict(line.split("=", 1) for line in output if "=" in line and not line.startswith("/"))
        return UnitState(
            active=keys.get("ActiveState") in {"active", "reloading"},
            enabled=keys.get("UnitFileState") in {"enabled", "enabled-runtime", "static", "indirect"},
            needs_reload=keys.get("NeedDaemonReload") == "yes",
            stale=any(line.startswith("/") for line in output),
        )


@operation()
def unit(
    unit_name: str, *, inputs: Sequence[str] = (), reload: bool = False, seconds: int = 90
) -> Generator[Any, None, None]:
    """Makes a unit enabled and running with what it reads now.

    + unit_name: with its suffix, such as `nginx.service`
    + inputs: absolute paths that it reads when it starts (its unit file need not be among them)
    + reload: a reload is enough to read them again
    + seconds: how long a start may take
    """
    found = host.get_fact(UnitFact, unit=unit_name, inputs=list(inputs))
    quoted = shlex.quote(unit_name)
    if not found.enabled:
        yield f"systemctl daemon-reload && systemctl enable --quiet {quoted}"
    if found.active and not found.stale and not found.needs_reload:
        return
    verb = "start" if not found.active else ("reload" if reload and not found.needs_reload else "restart")
    # A start that dies at once is a success to systemctl; say what the journal says instead.
    yield (
        f"systemctl daemon-reload; systemctl reset-failed {quoted} 2>/dev/null;"
        f" timeout {seconds} systemctl {verb} {quoted}"
        f" && sleep 0.3 && systemctl is-active --quiet {quoted}"
        f" || {{ journalctl -u {quoted} -n 15 --no-pager >&2; exit 1; }}"
    )
    if verb == "reload":  # so that the next comparison by time finds it fresh
        since = f"$(systemctl show --timestamp=us+utc -p ActiveEnterTimestamp --value {quoted})"
        yield f'touch -h -d "{since}" {shlex.join(inputs)}'
