"""systemd reads a unit's drop-in only when it is told to; the unit itself is left as it runs."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import is_touched, tell


class OutdatedUnits(FactBase[bool]):
    """Whether systemd holds an older reading of one of these units than its files say."""

    default = bool

    def command(self, units: Sequence[str]) -> str:
        return f"systemctl show -p NeedDaemonReload --value {shlex.join(units)} | grep -qx yes && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def known(units: Sequence[str], *, path: str) -> Generator[Any, None, None]:
    """Makes systemd know what the units' files say now; restarts nothing.

    + units: with their suffix
    + path: the drop-in that counts for them
    """
    if not host.get_fact(OutdatedUnits, units=list(units)):
        if is_touched([path]):
            tell("systemd", path, "is read again")
        host.noop("systemd knows it")
        return
    tell("systemd", path, "is read again")
    yield "systemctl daemon-reload"
