"""Puts a rule set in force on a server, on trial first, and says whether one is."""

import shlex
from collections.abc import Generator, Iterable
from hashlib import sha256
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.firewall.proof import Peer, parse_peers
from roles.firewall.rules import Session, parse_session
from roles.ops.changes import tell, tell_file
from roles.ops.trial import Change, try_out

RULES = "/etc/dsops/firewall.nft"
# Not `dsops-...`: those are daemons that run from dsops itself, and are restarted with another build of it.
UNIT = "nftables-dsops.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
OWNER = "644 root root"
LIST = "nft -s list table inet dsops"
# What nft makes of the file in a network of its own, where nothing else is: so a rule that was added by hand, or one
# that is missing, is seen without remembering anything.
SAME = f'now=$({LIST} 2>/dev/null) && [ "$now" = "$(unshare -n sh -c "nft -f {RULES} && {LIST}" 2>/dev/null)" ]'


class SessionFact(FactBase[Session | None]):
    """The SSH session that asks."""

    def command(self) -> str:
        return 'echo "$SSH_CONNECTION"'

    def process(self, output: list[str]) -> Session | None:
        return parse_session("".join(output))


class Peers(FactBase[Iterable[Peer]]):
    """Who speaks with this server over TCP now."""

    default = list

    def command(self) -> str:
        return "ss -Htn state established && echo --- && ss -Htlnp"

    def process(self, output: list[str]) -> list[Peer]:
        return parse_peers("\n".join(output) + "\n")


class RulesState(FactBase[tuple[str, bool]]):
    """(`sha256 mode user group` of the file, or nothing; whether just that is in force)."""

    @staticmethod
    def default() -> tuple[str, bool]:
        """What a server says that says nothing."""
        return "", False

    def command(self) -> str:
        state = f"sha256sum < {RULES} | cut -c1-64; stat -c '%a %U %G' {RULES}"
        return f"[ ! -f {RULES} ] || {{ {state}; {{ {SAME} && echo loaded; }} || true; }}"

    def process(self, output: list[str]) -> tuple[str, bool]:
        return " ".join(output[:2]), output[2:] == ["loaded"]


def is_loaded(content: str) -> bool:
    """Whether the server at hand has this rule set in force, and will have after a boot."""
    found, loaded = host.get_fact(RulesState)
    return loaded and found == f"{sha256(content.encode()).hexdigest()} {OWNER}"


CHANGE = Change(
    name="firewall",
    check="nft -c -f new",
    save=(
        # The first two lines take away what is there, if anything is; a table that is not is no error so.
        "printf 'table inet dsops\\ndelete table inet dsops\\n' > old.nft;"
        f" {{ {LIST} 2>/dev/null || true; }} >> old.nft;"
        f" rm -f old.file; [ ! -e {RULES} ] || cp -p {RULES} old.file"
    ),
    start="nft -f new",
    back=(
        "nft -f old.nft;"
        f" if [ -e old.file ]; then cp -p old.file {RULES}.dsops-new; mv -fT {RULES}.dsops-new {RULES};"
        f" else rm -f {RULES}; fi"
    ),
    keep=f"install -m 644 new {RULES}.dsops-new; sync {RULES}.dsops-new; mv -fT {RULES}.dsops-new {RULES}",
)


@operation()
def rules(content: str) -> Generator[Any, None, None]:
    """Makes a rule set the one in force, now and after a boot; a new connection must come through, or it is undone.

    + content: the whole file for nft
    """
    if is_loaded(content):
        host.noop("these rules are in force")
        return
    found, _ = host.get_fact(RulesState)
    tell_file(RULES, content.encode(), found=found, owner=OWNER)
    yield from try_out(CHANGE, content)


class Remains(FactBase[bool]):
    """Whether anything of the role is on the server."""

    default = bool

    def command(self) -> str:
        files = f"[ -e {RULES} ] || [ -e {UNIT_FILE} ]"
        return f"{{ {files} || {LIST} >/dev/null 2>&1; }} && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def no_rules() -> Generator[Any, None, None]:
    """Takes the role's rules and its unit away; everything else that filters is left alone."""
    if not host.get_fact(Remains):
        host.noop("nothing of it is here")
        return
    tell("file", RULES, "taken away: what comes in is not filtered by dsops any more")
    quoted = shlex.quote(UNIT)
    yield (
        f"systemctl disable --quiet --now {quoted} 2>/dev/null;"
        f" {{ ! {LIST} >/dev/null 2>&1 || nft delete table inet dsops; }}"
        f" && rm -f {UNIT_FILE} {RULES} && systemctl daemon-reload"
    )
