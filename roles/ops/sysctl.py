"""Kernel parameters: one file of ours that the next boot reads, and the same values in the kernel at hand."""

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell
from roles.ops.files import config_file
from roles.ops.machine import is_container

# A container has a network of its own; all else is its host's.
CONTAINERS_OWN = "net."


def parse_sysctl(text: str) -> dict[str, str]:
    """key -> value of a file for sysctl.d; words of a value are parted by one blank."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith(("#", ";")))
    return {key.strip().lstrip("-").replace("/", "."): " ".join(value.split()) for key, _, value in pairs}


def sysctl_file(*, role: str, path: str, content: str) -> None:
    """The values now, and then the file: what the kernel does not take must not be there at the next boot.

    In a container the values of its network only.
    """
    wanted = parse_sysctl(content)
    own = {key: value for key, value in wanted.items() if not is_container() or key.startswith(CONTAINERS_OWN)}
    sysctl(name=f"{role}: sysctl", wanted=own)
    config_file(name=f"{role}: sysctl file", path=path, content=content)


def proc_path(key: str) -> str:
    """Where the kernel shows a key."""
    return f"/proc/sys/{key.replace('.', '/')}"


class SysctlValues(FactBase[dict[str, str]]):
    """key -> value now, of those keys that this kernel has and lets us set."""

    default = dict

    def command(self, keys: list[str]) -> str:
        pairs = (f"{shlex.quote(key)}:{shlex.quote(proc_path(key))}" for key in keys)
        show = 'f=${p#*:}; [ ! -w "$f" ] || echo "${p%%:*}=$(cat "$f" 2>/dev/null)"'
        return f"for p in {' '.join(pairs)}; do {show}; done; true"

    def process(self, output: list[str]) -> dict[str, str]:
        pairs = (line.partition("=") for line in output)
        return {key: " ".join(value.split()) for key, _, value in pairs}


@operation()
def sysctl(wanted: Mapping[str, str]) -> Generator[Any, None, None]:
    """Makes the kernel's parameters have these values now; what this kernel does not have is left out, and named.

    + wanted: key -> value, words parted by one blank
    """
    found = host.get_fact(SysctlValues, keys=list(wanted))
    absent = sorted(wanted.keys() - found.keys())
    if absent:
        logger.info(f"[{host.name}] SKIPPED {', '.join(absent)}: this kernel does not have it, or lets nobody set it")
    other = {key: value for key, value in wanted.items() if key in found and found[key] != value}
    for key, value in other.items():
        tell("sysctl", key, f"{found[key]} -> {value}")
    for key, value in other.items():
        yield render_set(key, value)


def render_set(key: str, value: str) -> str:
    """Shell that sets a key and reads it back: the kernel may give less than it was asked for, and says nothing.

    Then it gets the older value again: half of the huge pages help nobody, and all others miss that memory.
    """
    path, wanted = shlex.quote(proc_path(key)), shlex.quote(value)
    tell_less = f'echo {shlex.quote(f"{key}: asked for {value}, the kernel gives")} "$has; it has $was again" >&2'
    return (
        f"was=$(cat {path}); echo {wanted} > {path}; has=$(cat {path} | tr -s '\t' ' ');"
        f' [ "$has" = {wanted} ] || {{ {tell_less}; echo "$was" > {path}; exit 1; }}'
    )
