"""systemd units: running, enabled, and started after the last change of what they read."""

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit.

    refused: a condition in its own unit file does not hold on this server.
    stale: something that it reads is newer than its start. outdated: its own unit file is.
    """

    active: bool
    enabled: bool
    refused: bool
    stale: bool
    outdated: bool


class UnitFact(FactBase[UnitState]):
    """The state of a unit, and whether one of its inputs changed since it started.

    The comparison is by time and not by what this run did, so that a run that was cut between
    writing a file and restarting the unit is made good by the next one. The time is that at which its
    start began, not that at which it was ready: in between it has read its files already.
    """

    @staticmethod
    def default() -> UnitState:
        """What a server says that says nothing."""
        return UnitState(active=False, enabled=False, refused=False, stale=False, outdated=False)

    def command(self, unit: str, inputs: Sequence[str]) -> str:
        quoted = shlex.quote(unit)
        keys = "ActiveState,UnitFileState,NeedDaemonReload,InactiveExitTimestamp,ConditionResult,ConditionTimestamp"
        show = f"systemctl show --timestamp=us+utc -p {keys} {quoted}"
        since = f"$({show} | sed -n 's/^InactiveExitTimestamp=//p')"
        files = f"$(systemctl show -p FragmentPath -p DropInPaths --value {quoted})"
        looks = f"{_render_newer(files, 'outdated')}; {_render_newer(shlex.join(inputs), 'stale')}"
        return f'{show}; since={since}; [ -z "$since" ] || {{ {looks}; true; }}'

    def process(self, output: list[str]) -> UnitState:
        keys = dict(line.split("=", 1) for line in output if "=" in line and ": /" not in line)
        return UnitState(
            active=keys.get("ActiveState") in {"active", "reloading"},
            enabled=keys.get("UnitFileState") in {"enabled", "enabled-runtime", "static", "indirect"},
            refused=keys.get("ConditionResult") == "no" and bool(keys.get("ConditionTimestamp")),
            stale=any(line.startswith("stale: /") for line in output),
            outdated=keys.get("NeedDaemonReload") == "yes" or any(line.startswith("outdated: /") for line in output),
        )


def _render_newer(paths: str, word: str) -> str:
    """Shell that prints `word: path` for each that changed after $since. Links count themselves, not their targets."""
    return f'for f in {paths}; do find "$f" -maxdepth 0 -newermt "$since" -printf "{word}: %p\\n" 2>/dev/null; done'


@operation()
def unit(
    unit_name: str,
    *,
    inputs: Sequence[str] = (),
    reload: bool = False,
    optional: bool = False,
    seconds: int = 90,
) -> Generator[Any, None, None]:
    """Makes a unit enabled and running with what it reads now.

    + unit_name: with its suffix, such as `nginx.service`
    + inputs: absolute paths that it reads when it starts (its unit file need not be among them)
    + reload: a reload is enough to read them again
    + optional: it may stay down where a condition in its own unit file does not hold
    + seconds: how long a start may take
    """
    found = host.get_fact(UnitFact, unit=unit_name, inputs=list(inputs))
    quoted = shlex.quote(unit_name)
    if not found.enabled:
        yield f"systemctl daemon-reload && systemctl enable --quiet {quoted}"
    verb = find_verb(found, reload=reload)
    if verb is None or (verb == "start" and optional and found.refused):
        return
    excuse = f' || [ "$(systemctl show -p ConditionResult --value {quoted})" = no ]' if optional else ""
    yield render_start(unit_name, verb=verb, seconds=seconds, excuse=excuse)
    if verb == "reload":  # so that the next comparison by time finds it fresh
        since = f"$(systemctl show --timestamp=us+utc -p InactiveExitTimestamp --value {quoted})"
        yield f'touch -h -d "{since}" {shlex.join(inputs)}'


def render_start(unit_name: str, *, verb: str, seconds: int, excuse: str = "") -> str:
    """Shell that starts, restarts or reloads a unit; says what the journal says when it dies at once.

    To systemctl such a start is a success. excuse: shell that may forgive a unit that is not active.
    """
    quoted = shlex.quote(unit_name)
    return (
        f"systemctl daemon-reload; systemctl reset-failed {quoted} 2>/dev/null;"
        f" timeout {seconds} systemctl {verb} {quoted}"
        f" && sleep 0.3 && {{ systemctl is-active --quiet {quoted}{excuse}; }}"
        f" || {{ journalctl -u {quoted} -n 15 --no-pager >&2; exit 1; }}"
    )


def find_verb(found: UnitState, *, reload: bool) -> str | None:
    """What systemctl must do so that the unit runs with what it reads now; None when it does."""
    if found.outdated or (found.stale and not (found.active and reload)):
        return "restart"  # also of one that is just starting: it may have read the old files
    if found.stale:
        return "reload"
    return None if found.active else "start"
