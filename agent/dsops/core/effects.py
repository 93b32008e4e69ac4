"""What each operation of a role does to the service when it changes something: roles/<role>/effects.toml. Pure."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

# On a server: a role that asks for a reboot leaves its name here, with its reason. The folder is gone after a boot.
REBOOT_NOTES = "/run/dsops-reboot"


class Reboots(StrEnum):
    """asked: the change is only live after a reboot, which the role asks for and nobody does by himself."""

    NEVER = "never"
    ASKED = "asked"


class Capacity(StrEnum):
    """node: the server serves nothing while this runs."""

    FULL = "full"
    NODE = "node"


@dataclass(frozen=True)
class Effect:
    """operation: as it is named, `*` for what differs from server to server. restarts: units that stop for a moment."""

    operation: str
    restarts: tuple[str, ...]
    reboots: Reboots
    capacity: Capacity
    note: str
    back: str


@dataclass(frozen=True)
class _File:
    effects: tuple[Effect, ...] = ()


def parse_effects(text: str, *, where: str) -> tuple[Effect, ...]:
    """The entries of one role. Raises DsopsError that names file and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DsopsError(f"is no TOML ({error})", where=where, mend="mend that line") from error
    return decode(_File, data, where=where).effects


def find_effect(effects: Iterable[Effect], operation: str) -> Effect | None:
    """The entry of an operation: its own, else the first whose pattern fits."""
    known = tuple(effects)
    exact = next((one for one in known if one.operation == operation), None)
    return exact or next((one for one in known if fnmatchcase(operation, one.operation)), None)


def split_name(full: str) -> tuple[str, str]:
    """(role, operation) of what pyinfra calls it: `base | packages | base: apt source`."""
    parts = full.split(" | ")
    return parts[0] if len(parts) > 1 else "", parts[-1]
