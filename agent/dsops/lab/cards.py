"""What simulated GPUs can be and what their files may say: the profiles and the keys of nvml/, as data."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsops.core.errors import DsopsError

NVML = Path(__file__).with_name("nvml")
SOURCE = NVML / "nvml.c"
DEFAULT = "h100"
MOST = 8  # GPUs of one server


@dataclass(frozen=True)
class Profile:
    """A kind of card, healthy and idle. driver, gpu: key to value, as their files have them."""

    name: str
    driver: Mapping[str, str]
    gpu: Mapping[str, str]


def list_profiles() -> list[str]:
    return sorted(path.stem for path in (NVML / "profiles").glob("*.toml"))


@cache
def get_profile(name: str) -> Profile:
    if name not in list_profiles():
        raise DsopsError(f"there is no profile {name!r}", mend=f"one of: {', '.join(list_profiles())}")
    data = tomllib.loads((NVML / "profiles" / f"{name}.toml").read_text())
    driver, gpu = ({key: str(value) for key, value in data[part].items()} for part in ("driver", "gpu"))
    return Profile(name, driver, gpu)


@cache
def get_sources() -> tuple[Path, ...]:
    """All that the library is made of."""
    return (SOURCE, *sorted(NVML.glob("*.h")))


@cache
def get_calls() -> frozenset[str]:
    """Functions that a file can make fail or hang; nvmlInit stands for all of its kinds."""
    text = "".join(path.read_text() for path in get_sources())
    return frozenset({"nvmlInit", *re.findall(r"\bnvml[A-Z]\w+(?=[(,)])", text)})


@cache
def _get_keys() -> dict[str, dict[str, str]]:
    return tomllib.loads((NVML / "keys.toml").read_text())


def is_known(key: str, *, part: str) -> bool:
    """Whether the library reads this key. part: "driver" or "gpu"."""
    keys = _get_keys()
    if key in keys[part] or key in keys["both"]:
        return True
    what, _, call = key.partition(".")
    if what in keys["both"]:
        return call in get_calls()
    return part == "gpu" and any(re.fullmatch(pattern, key) for pattern in keys["patterns"])


def find_absent(keys: Iterable[str], found: Mapping[str, str]) -> list[str]:
    """Plain keys that a card's file lacks: what the card does not offer, and so cannot break."""
    plain = _get_keys()["gpu"]
    return [key for key in keys if key in plain and key not in found and key.removesuffix(".sram") not in found]


def find_unknown(keys: Iterable[str], *, part: str) -> list[str]:
    """Keys that nothing reads, each with the nearest one that something does."""
    return [
        f"{key} ({near}?)" if (near := _find_near(key, part)) else key for key in keys if not is_known(key, part=part)
    ]


def _find_near(key: str, part: str) -> str:
    what, dot, call = key.partition(".")
    known = _get_keys()
    if dot and what in known["both"]:
        return next((f"{what}.{near}" for near in difflib.get_close_matches(call, get_calls(), 1)), "")
    return next(iter(difflib.get_close_matches(key, [*known[part], *known["both"]], 1)), "")
