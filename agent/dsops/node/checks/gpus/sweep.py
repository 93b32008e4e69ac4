"""Whether the GPUs can be asked at all, whether each of them answers, and whether all are there."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.ledger import GPUS
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.gpus.card import see
from dsops.node.sources.gpu_values import LOST, RESET_REQUIRED
from dsops.node.sources.gpus import Sweep

BLIND = {Sweep.HUNG: "gpu.hung", Sweep.DEAD: "gpu.dead", Sweep.ERROR: "gpu.error"}
ANSWERS = (Sweep.OK, Sweep.ABSENT)
LOST_CODE, RESET_CODE, COUNT_CODE = "gpu.lost", "gpu.reset_required", "gpu.count"


def look_at_driver(scene: Scene) -> Iterator[Sight]:
    """One of the three goes with a blind sweep; whether the other two are over, nobody knows then."""
    sweep, reason = scene.gpus.sweep, scene.gpus.reason
    if sweep in BLIND:
        yield Sight(BLIND[sweep], GPUS, Verdict.BAD, scene.gpus_sample, reason)
    elif sweep in ANSWERS:
        yield from (Sight(code, GPUS, Verdict.OK, scene.gpus_sample) for code in BLIND.values())


def look_at_lost(scene: Scene) -> Iterator[Sight]:
    """What NVML says of a GPU that does not answer; whatever else that is, nobody knows whether the GPU is there."""
    for lost in scene.gpus.lost:
        code = RESET_CODE if lost.code == RESET_REQUIRED else LOST_CODE
        verdict = Verdict.BAD if lost.code in (LOST, RESET_REQUIRED) else Verdict.UNKNOWN
        yield Sight(code, f"gpu{lost.index}", verdict, scene.gpus_sample, lost.reason)
    for gpu in scene.gpus.gpus:
        yield from (Sight(code, f"gpu{gpu.index}", Verdict.OK, scene.gpus_sample) for code in (LOST_CODE, RESET_CODE))


def look_at_count(scene: Scene) -> Iterator[Sight]:
    """One that is listed and does not answer is not missing."""
    there, expected = len(scene.gpus.gpus), scene.expected_gpus or 0
    says = f"{there} of {expected} GPUs answer" + (f": {scene.gpus.reason}" if scene.gpus.reason else "")
    is_bad = there + len(scene.gpus.lost) < expected
    yield see(scene, COUNT_CODE, GPUS, Found(is_bad, says, there, expected))


def find_no_answer(scene: Scene) -> str:
    return "" if scene.gpus.sweep in ANSWERS else f"the GPUs cannot be read now: {scene.gpus.reason}"


def find_no_count(scene: Scene) -> str:
    if scene.expected_gpus is None:
        return "the inventory does not say how many GPUs there should be (agent_gpus)"
    return find_no_answer(scene) if scene.expected_gpus else "this server should have no GPU"


CHECKS = (
    Check("gpu.driver", tuple(BLIND.values()), look_at_driver),
    Check("gpu.lost", (LOST_CODE, RESET_CODE), look_at_lost, needs=find_no_answer),
    Check("gpu.count", (COUNT_CODE,), look_at_count, needs=find_no_count),
)
