"""What the driver itself asks for, by NVML's field 230: its own verdict goes before all tables."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.core.status import Measure
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.gpus.card import Card, look_at, need

CODE = "gpu.recovery_action"
DRAIN_FIRST = "`dsops drain`, then "
RESET = (Measure.RESET, f"{DRAIN_FIRST}`nvidia-smi --gpu-reset`")
REBOOT = (Measure.REBOOT, f"{DRAIN_FIRST}reboot")
# NVML's number -> its words, what is asked for, and how.
ACTIONS: dict[int, tuple[str, Measure, str]] = {
    1: ("a reset of the GPU", *RESET),
    2: ("a reboot of the server", *REBOOT),
    3: ("an end of traffic between GPUs", Measure.ALERT, "P2P should end on this GPU; look at its NVLinks and Xids"),
    4: ("a drain and a reset of the GPU", *RESET),
    5: ("a recovery of the IMEX domain", Measure.ALERT, "`systemctl status nvidia-imex` on all nodes of its domain"),
    6: ("a reset of the bus", *RESET),
    7: ("a reboot of the whole system", *REBOOT),
}


def judge(card: Card) -> Found:
    action = int(card.get("recovery_action"))
    if not action:
        return Found(False, "the driver asks for nothing", action)
    says, measure, mend = ACTIONS.get(action, (f"recovery action {action}, which dsops does not know", None, ""))
    return Found(True, f"the driver asks for {says}", action, measure=measure, mend=mend)


def look(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, CODE, judge)


CHECKS = (Check(CODE, (CODE,), look, needs=need("recovery_action", what="what it would be recovered by")),)
