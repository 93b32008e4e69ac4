"""Two certificates side by side: of one node at two times, or of two nodes. Pure."""

from dataclasses import dataclass

from dsops.core.accept.certificate import Certificate
from dsops.core.accept.figures import Sense, get_about
from dsops.core.accept.judge import Check

# A change for the worse of so much is worth a look.
NOTABLE = 5.0


@dataclass(frozen=True)
class Change:
    """One figure. percent: of the first, None where one of them is missing or the first is 0. is_worse: notably."""

    name: str
    gpu: int
    peer: int
    unit: str
    first: float | None
    second: float | None
    percent: float | None
    is_worse: bool

    @property
    def title(self) -> str:
        return get_about(self.name).title


def compare(first: Certificate, second: Certificate) -> tuple[Change, ...]:
    """Every figure that one of them has, GPU by GPU by their places; in the first one's order."""
    left, right = _index(first), _index(second)
    return tuple(_compare(key, left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right]))


def find_swapped(first: Certificate, second: Certificate) -> tuple[str, ...]:
    """What is another one, in words; only for two certificates of one machine."""
    if first.measured.machine != second.measured.machine:
        return ()
    then = {gpu.index: gpu.uuid for gpu in first.measured.gpus}
    now = {gpu.index: gpu.uuid for gpu in second.measured.gpus}
    said = [
        f"GPU {index} is another one: {uuid}, now {now[index]}"
        for index, uuid in then.items()
        if now.get(index, uuid) != uuid
    ]
    said += [f"GPU {index} is gone" for index in then if index not in now]
    said += [f"GPU {index} is new" for index in now if index not in then]
    if first.measured.driver != second.measured.driver:
        said.append(f"driver {first.measured.driver}, now {second.measured.driver}")
    return tuple(said)


Key = tuple[str, int, int]


def _index(certificate: Certificate) -> dict[Key, Check]:
    return {(one.name, one.gpu, one.peer): one for one in certificate.checks if one.value is not None}


def _compare(key: Key, first: Check | None, second: Check | None) -> Change:
    name, gpu, peer = key
    unit = next(one.unit for one in (first, second) if one)
    a, b = first.value if first else None, second.value if second else None
    percent = 100 * (b - a) / a if a and b is not None else None
    return Change(
        name=name,
        gpu=gpu,
        peer=peer,
        unit=unit,
        first=a,
        second=b,
        percent=percent,
        is_worse=_is_worse(name, a, b, percent),
    )


def _is_worse(name: str, a: float | None, b: float | None, percent: float | None) -> bool:
    sense = get_about(name).sense
    if b is None:
        return True
    if a is None or sense is Sense.TOLD:
        return False
    if percent is None:
        return sense is Sense.MOST and b > a
    return percent < -NOTABLE if sense is Sense.LEAST else percent > NOTABLE
