"""How checks of the GPUs look: at one card after the other, and what cannot be read is never OK."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dsops.core.checks import Sight
from dsops.core.status import Gpu, Verdict
from dsops.node.checks.check import Scene
from dsops.node.checks.found import Found, Missing, Unreadable, make_sight
from dsops.node.sources.gpu_counters import name_of
from dsops.node.sources.gpu_values import Value
from dsops.node.sources.gpus import Sweep
from dsops.node.sources.unread import Unread

NO_BASELINE = "nobody has said what is normal here: `dsops baseline`"


@dataclass(frozen=True)
class Card:
    """One GPU of the scene. What is asked of it raises Missing or Unreadable."""

    scene: Scene
    gpu: Gpu

    @property
    def entity(self) -> str:
        return f"gpu{self.gpu.index}"

    def get(self, key: str) -> float:
        """A number of the last sweep."""
        value = self._find(key)
        if value.number is None:
            raise Missing
        return value.number

    def get_text(self, key: str) -> str:
        """A word of it."""
        return self._find(key).text

    def get_or(self, key: str, otherwise: float) -> float:
        """For what not every card offers."""
        try:
            return self.get(key)
        except Missing:
            return otherwise

    def get_grown(self, key: str, *, within: float) -> float:
        """How much a counter grew."""
        return _open(self.scene.gpu_counters.counters.grown(name_of(self.gpu.index, key), within))

    def get_rate(self, key: str, *, within: float) -> float:
        """How much it grows a second."""
        return _open(self.scene.gpu_counters.counters.rate(name_of(self.gpu.index, key), within))

    def _find(self, key: str) -> Value:
        value = self.scene.gpus.table.get((self.gpu.index, key))
        if value is None:
            raise Missing
        if value.error:
            raise Unreadable(f"{key}: {value.error}")
        return value


def _open(found: float | Unread | None) -> float:
    if isinstance(found, Unread):
        raise Unreadable(found.reason)
    if found is None:
        raise Missing
    return found


def list_cards(scene: Scene) -> list[Card]:
    return [Card(scene, gpu) for gpu in scene.gpus.gpus]


def look_at(scene: Scene, code: str, judge: Callable[[Card], Found]) -> Iterator[Sight]:
    """One sight for each card that has what the check wants."""
    for card in list_cards(scene):
        try:
            found = judge(card)
        except Missing:
            continue
        except Unreadable as error:
            yield Sight(code, card.entity, Verdict.UNKNOWN, scene.gpus_sample, f"{error}")
        else:
            yield see(scene, code, card.entity, found)


def see(scene: Scene, code: str, entity: str, found: Found) -> Sight:
    return make_sight(code, entity, scene.gpus_sample, found)


def find_no_sweep(scene: Scene) -> str:
    """Why no GPU can be looked at, "" when they can."""
    if scene.gpus.sweep is Sweep.OK:
        return "" if scene.gpus.gpus else "no GPU answers"
    if scene.gpus.sweep is Sweep.ABSENT:
        return f"no GPU is here: {scene.gpus.reason}"
    return f"the GPUs cannot be read now: {scene.gpus.reason}"


def need(*keys: str, what: str) -> Callable[[Scene], str]:
    """For Check.needs: some card must offer all of these. what: what no card here has, in words."""

    def find(scene: Scene) -> str:
        if reason := find_no_sweep(scene):
            return reason
        table = scene.gpus.table
        is_there = any(all((gpu.index, key) in table for key in keys) for gpu in scene.gpus.gpus)
        return "" if is_there else f"no GPU here tells {what}"

    return find


def find_normal(*keys: str) -> Callable[[Scene], Mapping[tuple[str, str], float]]:
    """For Check.normal: these numbers of every card that offers them."""

    def find(scene: Scene) -> Mapping[tuple[str, str], float]:
        numbers = {
            (card.entity, key): scene.gpus.find_number(card.gpu.index, key)
            for card in list_cards(scene)
            for key in keys
        }
        return {key: number for key, number in numbers.items() if number is not None}

    return find
