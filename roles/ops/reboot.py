"""A role asks for a reboot; whoever runs the change decides when, and proves that the server came back."""

import shlex
from collections.abc import Generator
from typing import Any

from dsops.core.effects import REBOOT_NOTES
from pyinfra import host
from pyinfra.api import FactBase, operation


class RebootState(FactBase[tuple[bool, str]]):
    """(whether what is wanted is live, the note that the role left)."""

    @staticmethod
    def default() -> tuple[bool, str]:
        """What a server says that says nothing: leave it alone."""
        return True, ""

    def command(self, role: str, live: str) -> str:
        note = f"{REBOOT_NOTES}/{shlex.quote(role)}"
        return f"if {live}; then echo live; else echo waits; fi; cat {note} 2>/dev/null || true"

    def process(self, output: list[str]) -> tuple[bool, str]:
        return output[0] == "live", " ".join(output[1:])


@operation()
def ask_for_reboot(role: str, *, why: str, live: str) -> Generator[Any, None, None]:
    """Leaves a note while this server must reboot for what is wanted, and takes it away when it need not.

    Judged by what runs, not by what this deploy changed: one that was cut asks again. Nothing reboots by itself.

    + role: who asks
    + why: one sentence
    + live: shell that succeeds when what is wanted is live already, such as a grep in /proc/cmdline
    """
    is_live, note = host.get_fact(RebootState, role=role, live=live)
    path = f"{REBOOT_NOTES}/{shlex.quote(role)}"
    if is_live and note:
        yield f"rm -f {path}"
    elif not is_live and note != why:
        yield f"install -d -m 755 {REBOOT_NOTES} && echo {shlex.quote(why)} > {path}"
    else:
        host.noop("no reboot is needed" if is_live else "a reboot is asked for already")
