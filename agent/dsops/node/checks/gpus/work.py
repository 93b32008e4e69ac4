"""Whether the GPUs work when there is work, and are free when there is none."""

from collections.abc import Iterable, Iterator

from dsops.core.checks import Sight
from dsops.core.ledger import GPUS
from dsops.core.status import Phase, Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing, Unreadable
from dsops.node.checks.gpus.card import Card, list_cards, look_at, need, see
from dsops.node.sources.gpu_counters import WORK

IDLE, ORPHANS = "gpu.idle", "gpu.orphans"
WINDOW_SECONDS = 60.0
GIB = 1 << 30


def look_at_idle(scene: Scene) -> Iterator[Sight]:
    """The GPUs that an engine has taken, together: which slot has which GPU is not known here."""
    serving = [slot for slot in scene.slots if slot.phase is Phase.SERVING]
    if any(slot.waiting is None for slot in serving):
        return
    try:
        loads = [load for card in list_cards(scene) if (load := _find_load(card)) is not None]
    except Unreadable as error:
        yield Sight(IDLE, GPUS, Verdict.UNKNOWN, scene.gpus_sample, f"{error}")
        return
    yield see(scene, IDLE, GPUS, _judge_idle(scene, loads, sum(slot.waiting or 0 for slot in serving)))


def _judge_idle(scene: Scene, loads: list[float], waiting: float) -> Found:
    most = scene.limit(IDLE, "percent")
    if not loads:
        return Found(False, "no engine has taken a GPU for long enough")
    idle = 100 - sum(loads) / len(loads)
    says = f"the GPUs were idle for {idle:.0f} % of the last minute, and {waiting:.0f} requests wait"
    return Found(idle > most and waiting > 0, says, idle, most)


def _find_load(card: Card) -> float | None:
    """Percent of the last minute; None of a GPU that no engine has taken, or that does not tell."""
    try:
        load = card.get_rate(WORK, within=WINDOW_SECONDS) / 1000
        return load if _is_taken(card) else None
    except Missing:
        return None


def _is_taken(card: Card) -> bool:
    return card.get("memory_used") >= card.get("memory_total") * card.scene.limit(IDLE, "memory_percent") / 100


def find_no_slots(scene: Scene) -> str:
    return need("utilization", "memory_used", what="its load")(scene) if scene.slots else "no release runs here"


def judge_orphans(card: Card) -> Found:
    """Only while no slot runs and no process has the GPU: then nobody else can own what is taken."""
    used, most, processes = card.get("memory_used"), card.scene.limit(ORPHANS, "bytes"), card.get("processes")
    if processes or any(slot.phase is not Phase.STOPPED for slot in card.scene.slots):
        return Found(False, "a process or a slot has it", used, most)
    says = f"{used / GIB:.1f} GiB of its memory are taken, no process has it, and no slot runs"
    return Found(used > most, says, used, most)


def look_at_orphans(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, ORPHANS, judge_orphans)


def find_no_owners(scene: Scene) -> str:
    return need("processes", "memory_used", what="who uses it")(scene) if scene.slots else "no release runs here"


CHECKS = (
    Check(IDLE, (IDLE,), look_at_idle, needs=find_no_slots),
    Check(ORPHANS, (ORPHANS,), look_at_orphans, needs=find_no_owners),
)
