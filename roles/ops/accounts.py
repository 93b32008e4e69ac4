"""System accounts, compared with one `getent` (pyinfra's own fact forks eight programs for every account)."""

import shlex
from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell


class Account(FactBase[tuple[str, str, frozenset[str]] | None]):
    """(home, shell, groups) of an account, or None."""

    def command(self, user: str) -> str:
        quoted = shlex.quote(user)
        return f"getent passwd {quoted} && id -nG {quoted} || true"

    def process(self, output: list[str]) -> tuple[str, str, frozenset[str]] | None:
        if len(output) < 2:
            return None
        fields = output[0].split(":")
        return fields[5], fields[6], frozenset(output[1].split())


@operation()
def account(
    user: str, *, home: str, shell: str = "/usr/sbin/nologin", groups: tuple[str, ...] = ()
) -> Generator[Any, None, None]:
    """Makes a system account with its own group exist.

    + home: absolute; not created here
    + groups: further groups that it must be in; others are left alone
    """
    found = host.get_fact(Account, user=user)
    quoted = shlex.quote(user)
    extra = f" -G {','.join(groups)}" if groups else ""
    missing = sorted(set(groups) - (found[2] if found else frozenset()))
    if found is None or found[:2] != (home, shell) or missing:
        tell("account", user, f"groups {', '.join(missing)}" if missing and found else "" if found else "new")
    if found is None:
        yield f"useradd --system --user-group --no-create-home -d {shlex.quote(home)} -s {shell}{extra} {quoted}"
        return
    if found[:2] != (home, shell):
        yield f"usermod -d {shlex.quote(home)} -s {shell} {quoted}"
    if missing:
        yield f"usermod -a -G {','.join(missing)} {quoted}"
