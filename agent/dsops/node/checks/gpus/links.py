"""NVLinks and the fabric that they make."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing
from dsops.node.checks.gpus.card import NO_BASELINE, Card, find_normal, look_at, need

DOWN, ERRORS, RECOVERIES, FABRIC = "nvlink.down", "nvlink.errors", "nvlink.recoveries", "fabric.state"
ACTIVE = "nvlinks_active"
# The counters are read every half minute.
WINDOW_SECONDS = 120.0
STATES = {1: "its fabric was never started", 2: "its fabric is still being made", 3: "it is on its fabric"}
COMPLETED = 3
HEALTHS = {2: "unhealthy", 3: "of limited capacity"}


def judge_down(card: Card) -> Found:
    """A card may have links that nobody connected: only fewer than it had are a fault."""
    active, normal = card.get(ACTIVE), card.scene.baseline.get((card.entity, ACTIVE))
    if normal is None:
        raise Missing
    return Found(active < normal, f"{active:.0f} of {normal:g} NVLinks are up", active, normal)


def look_at_down(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, DOWN, judge_down)


def find_no_links(scene: Scene) -> str:
    if reason := need(ACTIVE, what="NVLinks")(scene):
        return reason
    return "" if any(key == ACTIVE for _, key in scene.baseline) else NO_BASELINE


def judge_errors(card: Card) -> Found:
    crc_most, replays_most = (card.scene.limit(ERRORS, name) for name in ("crc_per_second", "replays_per_minute"))
    crc = card.get_rate("nvlink_crc", within=WINDOW_SECONDS)
    replays = card.get_rate("nvlink_replays", within=WINDOW_SECONDS) * 60
    says = f"its NVLinks had {replays:.0f} replays a minute, of {replays_most:g}, and {crc:.0f} CRC errors a second"
    if crc > crc_most:
        return Found(True, f"{says}, of {crc_most:g}", crc, crc_most)
    return Found(replays > replays_most, says, replays, replays_most)


def look_at_errors(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, ERRORS, judge_errors)


def judge_recoveries(card: Card) -> Found:
    """From Blackwell on: links begin anew where older ones said it again; one that could not is the worst."""
    most, most_faults = (card.scene.limit(RECOVERIES, name) for name in ("per_minute", "faults_per_minute"))
    failed = card.get_grown("nvlink_failed_recoveries", within=WINDOW_SECONDS)
    recoveries, faults = (
        card.get_rate(key, within=WINDOW_SECONDS) * 60 for key in ("nvlink_recoveries", "nvlink_faults")
    )
    says = f"its NVLinks began anew {recoveries:.1f} times a minute, of {most:g}, with {faults:.0f} faults"
    if failed:
        return Found(True, f"{failed:.0f} times within 2 min an NVLink could not begin anew", failed, 0)
    if faults > most_faults:
        return Found(True, f"{says}, of {most_faults:g}", faults, most_faults)
    return Found(recoveries > most, says, recoveries, most)


def look_at_recoveries(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, RECOVERIES, judge_recoveries)


def judge_fabric(card: Card) -> Found:
    state, status, summary = (int(card.get(f"fabric_{part}")) for part in ("state", "status", "summary"))
    if state != COMPLETED:
        return Found(True, STATES.get(state, f"its fabric is in state {state}"), state, COMPLETED)
    if status:
        return Found(True, f"it could not join its fabric: NVML's code {status}", state, COMPLETED)
    if summary in HEALTHS:
        return Found(True, f"its fabric is {HEALTHS[summary]}", state, COMPLETED)
    return Found(False, STATES[state], state, COMPLETED)


def look_at_fabric(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, FABRIC, judge_fabric)


CHECKS = (
    Check(DOWN, (DOWN,), look_at_down, needs=find_no_links, normal=find_normal(ACTIVE)),
    Check(ERRORS, (ERRORS,), look_at_errors, needs=need("nvlink_replays", "nvlink_crc", what="errors of NVLinks")),
    Check(
        RECOVERIES,
        (RECOVERIES,),
        look_at_recoveries,
        needs=need(
            "nvlink_recoveries", "nvlink_faults", what="recoveries of NVLinks: those before Blackwell have none"
        ),
    ),
    Check(FABRIC, (FABRIC,), look_at_fabric, needs=need("fabric_state", what="a fabric: none is on NVSwitches")),
)
