"""Reboots that roles ask for: which servers wait for one, and one server's, proven by its boot id."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dsops.control.doctor.probe import with_login
from dsops.control.fleet import ssh
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.effects import REBOOT_NOTES
from dsops.core.errors import DsopsError

BOOT_ID = "/proc/sys/kernel/random/boot_id"
READ = (
    f'for f in {REBOOT_NOTES}/*; do [ -f "$f" ] && printf \'%s\\t%s\\n\' "${{f##*/}}" "$(head -n 1 "$f")"; done; true'
)
LOOK = 2.0  # seconds between two looks at a server that reboots
ANSWER = 15.0
READY = {"running", "degraded"}

Ask = Callable[[str], str]


@dataclass(frozen=True)
class Pace:
    """Seconds: until a server must have come back, and between two looks."""

    limit: float = 600.0
    look: float = LOOK


def ask_as_root(fleet: Fleet, server: Server) -> Ask:
    """The login that pyinfra uses: one command (sh), its output. Raises DsopsError when it cannot be asked."""

    def ask(command: str) -> str:
        return ssh.run(fleet, with_login(server), ["sh", "-c", command], timeout=ANSWER).stdout

    return ask


def read_asked(ask: Ask) -> dict[str, str]:
    """role -> why it asks for a reboot; empty when none does."""
    lines = [line.partition("\t") for line in ask(READ).splitlines()]
    return {role: why for role, _, why in lines}


def reboot(name: str, ask: Ask, *, pace: Pace, tell: Callable[[str], None] = lambda _: None) -> float:
    """Reboots a server and waits until it is up again: another boot id, and systemd has started all. Its seconds.

    Raises DsopsError when it does not come back in time.
    """
    since = time.monotonic()
    before = ask(f"cat {BOOT_ID}").strip()
    if not before:
        raise DsopsError("does not say its boot id", where=name, mend="is this the login that `dsops deploy` uses?")
    order(ask)
    said = "it still runs as before"
    while time.monotonic() - since < pace.limit:
        time.sleep(pace.look)
        said = find_problem(ask, before)
        if not said:
            return time.monotonic() - since
        tell(f"{name}: {said}")
    what = f"did not come back within {pace.limit:g} s after its reboot: {said}"
    raise DsopsError(what, where=name, mend="look at its console or BMC; the other servers were left alone")


def order(ask: Ask) -> None:
    """Tells a server to reboot. That the connection breaks over it is no failure."""
    try:
        ask("(sleep 1; systemctl reboot) >/dev/null 2>&1 </dev/null & sync")
    except DsopsError as error:
        if error.__cause__ is None:
            raise


def find_problem(ask: Ask, before: str) -> str:
    """What a server that was told to reboot has not done yet; empty when it is up."""
    try:
        boot_id, state, *_ = [*ask(f"cat {BOOT_ID}; systemctl is-system-running").split(), "", ""]
    except DsopsError as error:
        return error.what
    if not boot_id or boot_id == before:
        return "it still runs as before"
    return "" if state in READY else f"it is up, and systemd is {state or 'silent'}"
