"""What was normal on a node when it was commissioned, number by number: frozen once, compared with ever after. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

VERSION = 1
MOST_NUMBERS = 2000
# Nobody needs longer names; what holds them goes into files and over the wire.
MOST_LETTERS = 200


@dataclass(frozen=True)
class Number:
    """One number of one entity, such as `gpu3 pcie_width 16`."""

    entity: str
    key: str
    value: float


@dataclass(frozen=True)
class Baseline:
    """at: Unix seconds. forced: frozen though something was wrong."""

    at: float
    who: str
    reason: str
    numbers: tuple[Number, ...]
    forced: bool = False
    version: int = VERSION

    @property
    def values(self) -> Mapping[tuple[str, str], float]:
        """(entity, key) -> what was normal, as checks want it."""
        return {(one.entity, one.key): one.value for one in self.numbers}

    def to_json(self) -> str:
        """One JSON object that `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str | bytes, *, where: str) -> "Baseline":
        """Raises DsopsError, naming the key, on anything that is no baseline of this version."""
        return decode(Baseline, load(text, version=VERSION, what="baseline", where=where), where=where)


def make_numbers(data: Iterable[object], *, where: str) -> tuple[Number, ...]:
    """From plain data. Raises DsopsError: none at all, too many, one twice, or one that is no number."""
    numbers = tuple(decode(Number, one, where=f"{where}[{place}]") for place, one in enumerate(data))
    if not numbers:
        mend = "which checks apply here? `dsops doctor NODE --all`"
        raise DsopsError("no check says what is normal here", where=where, mend=mend)
    if len(numbers) > MOST_NUMBERS:
        raise DsopsError(f"{len(numbers)} numbers, {MOST_NUMBERS} at most", where=where)
    if len({(one.entity, one.key) for one in numbers}) < len(numbers):
        raise DsopsError("one number is there twice", where=where)
    for one in numbers:
        if max(len(one.entity), len(one.key)) > MOST_LETTERS or not abs(one.value) < float("inf"):
            raise DsopsError(f"{one.entity[:40]} {one.key[:40]} is no number to keep", where=where)
    return numbers


def load(text: str | bytes, *, version: int, what: str, where: str) -> object:
    """The data of a small file that dsops itself wrote. Raises DsopsError when it is none of this version."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"is no {what} ({error})", where=where, mend=f"`dsops {what}` writes it anew") from error
    found = data.get("version") if isinstance(data, dict) else None
    if found != version:
        what = f"{what} version {found!r} is not {version}, the one this dsops reads"
        raise DsopsError(what, where=where, mend="the same dsops version everywhere: `dsops deploy`")
    return data
