"""systemd units: running, enabled, and started after the last change of what they read."""

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import is_touched, tell


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
        keys = "ActiveState,UnitFileState,NeedDaemonReload,InactiveExitTimestamp,ConditionResult,ConditionTimestamp"
        show = f"systemctl show --timestamp=us+utc -p {keys},FragmentPath,DropInPaths {shlex.quote(unit)}"
        # Taken apart by the shell itself: systemctl costs most of this fact, and a sed for each key the rest.
        pick = 'pick() { v=${shown#*"\n$1="}; [ "$v" = "$shown" ] || printf %s "${v%%"\n"*}"; }'
        since, files = "$(pick InactiveExitTimestamp)", "$(pick FragmentPath) $(pick DropInPaths)"
        looks = f"{_render_newer(files, 'outdated')}; {_render_newer(shlex.join(inputs), 'stale')}"
        shown = f'shown="\n$({show})"; printf "%s\\n" "$shown"; {pick}; since={since}'
        return f'{shown}; [ -z "$since" ] || {{ {looks}; true; }}'

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
    find = f'find "$@" -maxdepth 0 -newermt "$since" -printf "{word}: %p\\n" 2>/dev/null'
    return f"set -- {paths}; [ $# = 0 ] || {find}"


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
    verb = find_verb(found, reload=reload)
    tell_unit(unit_name, found, verb, inputs=inputs, reload=reload)
    if not found.enabled:
        yield f"systemctl daemon-reload && systemctl enable --quiet {quoted}"
    if verb is None or (verb == "start" and optional and found.refused):
        return
    excuse = f' || [ "$(systemctl show -p ConditionResult --value {quoted})" = no ]' if optional else ""
    yield render_start(unit_name, verb=verb, seconds=seconds, excuse=excuse)
    if verb == "reload":  # so that the next comparison by time finds it fresh
        since = f"$(systemctl show --timestamp=us+utc -p InactiveExitTimestamp --value {quoted})"
        yield f'touch -h -d "{since}" {shlex.join(inputs)}'


def tell_unit(unit_name: str, found: UnitState, verb: str | None, *, inputs: Sequence[str], reload: bool) -> None:
    """Tells what would happen to a unit: also because of what the operations before it would change."""
    later = UnitState(
        active=found.active,
        enabled=found.enabled,
        refused=found.refused,
        stale=found.stale or is_touched(inputs),
        outdated=found.outdated or is_touched(find_unit_files(unit_name)),
    )
    if found.active:
        verb = find_verb(later, reload=reload)
    if verb and not (verb == "start" and found.refused):
        tell("unit", unit_name, verb)
    elif not found.enabled:
        tell("unit", unit_name, "enable")


def find_unit_files(unit_name: str) -> list[str]:
    """Where a unit's own files may lie, those of its template too: triton@a.service -> triton@.service."""
    name, _, kind = unit_name.rpartition(".")
    template = f"{name.partition('@')[0]}@.{kind}" if "@" in name else unit_name
    return [f"/etc/systemd/system/{one}{end}" for one in {unit_name, template} for end in ("", ".d")]


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
