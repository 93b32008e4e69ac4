"""What a node measured of itself, as it tells it: figures, faults, and what could not be measured and why. Pure."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

# Of figures that belong to the node, not to one of its GPUs.
NODE = -1


class Lack(StrEnum):
    """Why something has no figure.

    other: it means nothing on this hardware (one GPU has no peers). off: the inventory switched it off. undone: it is
    wanted, and was not done. unread: it should have been read, and was not, so nobody knows.
    """

    OTHER = "other"
    OFF = "off"
    UNDONE = "undone"
    UNREAD = "unread"


@dataclass(frozen=True)
class Figure:
    """One thing measured. gpu: its index, -1 = the node. peer: the other GPU, -1 = none.

    bound: what the device itself says is the least or the most, where it does (its own slowdown temperature).
    """

    name: str
    value: float
    unit: str = ""
    gpu: int = NODE
    peer: int = NODE
    bound: float | None = None


@dataclass(frozen=True)
class Sound:
    """A part that looks whether results are right, and found nothing wrong. says: how much it looked at."""

    part: str
    gpu: int = NODE
    says: str = ""


@dataclass(frozen=True)
class Fault:
    """A part that found something wrong."""

    part: str
    what: str
    gpu: int = NODE


@dataclass(frozen=True)
class Gap:
    """A figure or a part that is not there."""

    name: str
    lack: Lack
    why: str
    gpu: int = NODE


@dataclass(frozen=True)
class Gpu:
    """Which GPU it is. id: its PCI device id, four hex digits; "" = the driver does not say."""

    index: int
    uuid: str
    name: str
    serial: str = ""
    id: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True)
class Measurement:
    """All of one node, by `dsops node accept --json`. machine: its /etc/machine-id. seconds: how long it took."""

    machine: str
    host: str
    kernel: str
    driver: str
    dsops: str
    torch: str
    seconds: float
    gpus: tuple[Gpu, ...] = ()
    figures: tuple[Figure, ...] = ()
    sounds: tuple[Sound, ...] = ()
    faults: tuple[Fault, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def render(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Taken:
    """What one part of a measurement brings."""

    figures: tuple[Figure, ...] = ()
    sounds: tuple[Sound, ...] = ()
    faults: tuple[Fault, ...] = ()
    gaps: tuple[Gap, ...] = ()


def join(parts: Iterable[Taken]) -> Taken:
    """All of them."""
    found = tuple(parts)
    return Taken(
        tuple(one for part in found for one in part.figures),
        tuple(one for part in found for one in part.sounds),
        tuple(one for part in found for one in part.faults),
        tuple(one for part in found for one in part.gaps),
    )


def parse_measurement(text: str, *, where: str) -> Measurement:
    """Raises DsopsError when it is none, or has a number that is none."""
    mend = "run the same dsops version here and on the node (`dsops deploy`)"
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"what it measured cannot be read ({error})", where=where, mend=mend) from error
    return decode(Measurement, data, where=where)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
