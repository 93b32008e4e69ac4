"""What a burn-in says: figures with their units, and what is wrong. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One thing measured. peer: the other GPU, where there is one."""

    name: str
    value: float
    unit: str
    peer: int | None = None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. part: of the burn-in, such as `memory`."""

    part: str
    what: str


@dataclass(frozen=True)
class Skip:
    """One part that means nothing here, and why."""

    part: str
    why: str


@dataclass
class Findings:
    """What one part of a burn-in adds to. done: the parts that came to their end, whatever they found."""

    figures: list[Figure] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def measure(self, name: str, value: float, unit: str, *, peer: int | None = None) -> None:
        """Adds a figure."""
        self.figures.append(Figure(name, value, unit, peer))

    def object_to(self, part: str, what: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(part, what))

    def skip(self, part: str, why: str) -> None:
        """Adds a part that this device cannot do."""
        self.skips.append(Skip(part, why))


@dataclass(frozen=True)
class Report:
    """Of one GPU. seconds: how long it took. done: the parts that came to their end, whatever they found."""

    gpu: int
    name: str
    seconds: float
    figures: tuple[Figure, ...]
    problems: tuple[Problem, ...]
    skips: tuple[Skip, ...] = ()
    done: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Nothing was found to be wrong."""
        return not self.problems


def judge(figures: Iterable[Figure], floors: Mapping[str, float]) -> list[Problem]:
    """A problem for every figure under its floor, and for every floor whose figure is missing."""
    seen = list(figures)
    low = [
        Problem("floors", f"{one.name} is {one.value:.4g} {one.unit}, under its floor of {floors[one.name]:g}")
        for one in seen
        if one.name in floors and not one.value >= floors[one.name]
    ]
    missing = sorted(set(floors) - {one.name for one in seen})
    return low + [Problem("floors", f"{name} was not measured; its floor is {floors[name]:g}") for name in missing]
