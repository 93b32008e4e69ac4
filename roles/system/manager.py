"""What systemd itself gives to every service: read again when it differs from its file."""

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell


class ManagerValues(FactBase[dict[str, str]]):
    """Properties of the running systemd, such as DefaultLimitMEMLOCK."""

    default = dict

    def command(self, keys: list[str]) -> str:
        return f"systemctl show {' '.join(f'-p {shlex.quote(key)}' for key in keys)}"

    def process(self, output: list[str]) -> dict[str, str]:
        return {key: value for key, _, value in (line.partition("=") for line in output)}


@operation()
def manager(wanted: Mapping[str, str]) -> Generator[Any, None, None]:
    """Makes the running systemd have these properties, which its files hold already; services go on meanwhile.

    + wanted: property, as `systemctl show` prints it -> value
    """
    found = host.get_fact(ManagerValues, keys=list(wanted))
    other = {key: value for key, value in wanted.items() if found.get(key) != value}
    if not other:
        host.noop("systemd has them")
        return
    for key, value in other.items():
        tell("systemd", key, f"{found.get(key, 'none')} -> {value}")
    yield "systemctl daemon-reexec"
