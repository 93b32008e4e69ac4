"""Driver locksets, and what goes with which driver, from locksets.toml and locksets_rules.toml."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsops.catalog.gpus import find_kind
from dsops.core.decode import decode, suggest
from dsops.core.drivers.fit import Cards, Rules
from dsops.core.drivers.lockset import Lockset
from dsops.core.errors import DsopsError

DATA = Path(__file__).with_name("locksets.toml")
RULES = Path(__file__).with_name("locksets_rules.toml")


@dataclass(frozen=True)
class _File:
    locksets: tuple[Lockset, ...]


@cache
def read_locksets() -> tuple[Lockset, ...]:
    """All that are known."""
    return decode(_File, tomllib.loads(DATA.read_text()), where=DATA.name).locksets


@cache
def read_rules() -> Rules:
    """The table of what goes with which driver."""
    return decode(Rules, tomllib.loads(RULES.read_text()), where=RULES.name)


def get_lockset(name: str) -> Lockset:
    """Raises DsopsError, naming the nearest, when there is none of that name."""
    known = {one.name: one for one in read_locksets()}
    if name not in known:
        raise DsopsError(f"no driver lockset {name!r}", where=DATA.name, mend=suggest(name, list(known)))
    return known[name]


def count_cards(ids: Sequence[str], *, switches: int) -> Cards:
    """What a server has, by the PCI device ids of its GPUs. switches: NVLink switches on PCI."""
    kinds = [find_kind(id) for id in ids]
    return Cards(tuple(ids), sum(1 for kind in kinds if kind and kind.has_fabric), switches)
