"""Reads the state of systemd units with one `systemctl show`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.node.run import Run, run

_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,MainPID,ExecMainStartTimestampMonotonic,"
    "ControlGroup"
)


@dataclass(frozen=True)
class Unit:
    """A unit. active = systemd's ActiveState, or `missing`, or `unknown` when nobody could say.

    pid: its main process, 0 = none. started: when that began, in seconds since boot, 0 = never. cgroup: its control
    group, "" = none.
    """

    name: str
    active: str
    sub: str = ""
    result: str = ""
    exit_status: int = 0
    restarts: int = 0
    reason: str = ""
    pid: int = 0
    started: float = 0.0
    cgroup: str = ""

    @property
    def is_running(self) -> bool:
        return self.active in ("active", "reloading")

    @property
    def says(self) -> str:
        """In words what it is, why when systemd knows."""
        if self.reason:
            return self.reason
        if self.active in ("active", "inactive", "missing"):
            return f"{self.name} is {self.active if self.active != 'missing' else 'not installed'}"
        why = f"{self.result}, exit {self.exit_status}" if self.result not in ("", "success") else self.sub
        return f"{self.name} is {self.active} ({why})"


def read_units(names: Sequence[str], *, run: Run = run) -> Mapping[str, Unit]:
    """All units in one call; when systemd cannot be asked, all are `unknown` with the reason."""
    if not names:
        return {}
    try:
        done = run(["systemctl", "show", f"--property={_PROPERTIES}", "--", *names])
    except DsopsError as error:
        return {name: Unit(name, "unknown", reason=error.what) for name in names}
    if done.code:
        reason = f"systemctl: {next(iter(done.stderr.splitlines()), f'exit {done.code}')}"
        return {name: Unit(name, "unknown", reason=reason) for name in names}
    return parse_units(done.stdout, names)


def parse_units(text: str, names: Sequence[str]) -> Mapping[str, Unit]:
    """systemctl prints the units in the order asked, apart by an empty line."""
    blocks = [dict(_pair(line) for line in block.splitlines() if "=" in line) for block in text.strip().split("\n\n")]
    units = {name: _parse_unit(name, block) for name, block in zip(names, blocks, strict=False)}
    return {name: units.get(name, Unit(name, "unknown", reason="systemctl said nothing of it")) for name in names}


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key, value


def _parse_unit(name: str, block: Mapping[str, str]) -> Unit:
    if block.get("LoadState") == "not-found":
        return Unit(name, "missing")
    return Unit(
        name,
        block.get("ActiveState", "unknown"),
        block.get("SubState", ""),
        block.get("Result", ""),
        _int(block.get("ExecMainStatus")),
        _int(block.get("NRestarts")),
        pid=_int(block.get("MainPID")),
        started=_int(block.get("ExecMainStartTimestampMonotonic")) / 1e6,
        cgroup=block.get("ControlGroup", ""),
    )


def _int(value: str | None) -> int:
    return int(value) if value and value.isdecimal() else 0
