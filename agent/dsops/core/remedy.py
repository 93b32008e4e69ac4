"""What to do about a failing node: the rules of DESIGN D4 in one function. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from dsops.core.blame import Evidence, Ruling
from dsops.core.status import Blame, Verdict


class Action(StrEnum):
    """What dsops may do by itself. Taking traffic away is no action of this kind: `core.verdict.want_eject`."""

    NONE = "none"
    EJECT = "eject"  # stay out of traffic until the checks are well again
    RESTART = "restart"
    ROLLBACK = "rollback"
    HALT_AND_PAGE = "halt_and_page"


@dataclass(frozen=True)
class Situation:
    """What decides. ruling: of `judge_blame(evidence)`. target: where a rollback would lead, "" nowhere.

    observe: why dsops only looks (drained by an operator). held: why not yet (the agent just started). moving: the
    move that is under way. halted: why nothing is automatic any more.
    """

    verdict: Verdict
    evidence: Evidence
    ruling: Ruling
    target: str
    rollbacks_left: int
    restarts_left: int
    gateway_restarted: bool = False
    observe: str = ""
    held: str = ""
    moving: str = ""
    halted: str = ""


@dataclass(frozen=True)
class Remedy:
    """unit: what is restarted, `slot` or `gateway`. page: tell a person. next: what comes after, in words.

    lasting: of a rollback: the release stays bad here until a person unmarks it; after bake the mark expires.
    """

    action: Action
    says: str
    next: str = ""
    unit: str = ""
    page: bool = False
    lasting: bool = False


def decide(situation: Situation) -> Remedy:
    """One step; whoever does it asks again with new strikes."""
    waiting = _find_wait(situation)
    if waiting:
        return waiting
    blame, says = situation.ruling.blame, situation.ruling.says
    if blame in (Blame.HARDWARE, Blame.FABRIC, Blame.STORAGE):
        if situation.ruling.restart_helps and not situation.evidence.was_restarted and situation.restarts_left > 0:
            return Remedy(Action.RESTART, says, "no rollback mends it: failing again, it leaves traffic", unit="slot")
        return Remedy(Action.EJECT, says, f"no rollback mends {blame}: a person looks at it", page=True)
    if blame in (Blame.ENVIRONMENT, Blame.OVERLOAD):
        return _leave_alone(situation)
    if blame is Blame.DSOPS:
        return _mend_gateway(situation)
    if blame is Blame.RELEASE and (situation.evidence.baking or situation.evidence.was_restarted):
        return _roll_back(situation)
    return _restart(situation)


def _leave_alone(situation: Situation) -> Remedy:
    """A dead engine serves nobody, so one fresh start costs nothing; more than that is a person's to decide."""
    ruling = situation.ruling
    if ruling.restart_helps and not situation.evidence.was_restarted and situation.restarts_left > 0:
        return Remedy(Action.RESTART, ruling.says, f"no rollback: the cause is {ruling.blame}", unit="slot", page=True)
    return Remedy(Action.NONE, ruling.says, f"nothing is changed here: the cause is {ruling.blame}", page=True)


def _find_wait(situation: Situation) -> Remedy | None:
    """The reasons to do nothing now."""
    if situation.verdict is not Verdict.BAD:
        return Remedy(Action.NONE, "no verdict", "the checks go on")
    if situation.halted:
        return Remedy(Action.NONE, f"halted: {situation.halted}", "a person clears it: `dsops node clear`")
    if situation.observe:
        return Remedy(Action.NONE, situation.observe, "dsops only looks until the node is undrained")
    if situation.moving:
        return Remedy(Action.NONE, f"under way: {situation.moving}", "the move ends first")
    if situation.held:
        return Remedy(Action.NONE, situation.held, "the verdict must hold until then")
    return None


def _mend_gateway(situation: Situation) -> Remedy:
    if situation.gateway_restarted or situation.restarts_left < 1:
        return Remedy(Action.NONE, situation.ruling.says, "restarting the gateway did not help: see its log", page=True)
    return Remedy(Action.RESTART, situation.ruling.says, "the gateway is asked again", unit="gateway")


def _restart(situation: Situation) -> Remedy:
    if situation.evidence.was_restarted:
        return Remedy(Action.EJECT, situation.ruling.says, "a fresh start did not help: a person looks", page=True)
    if situation.restarts_left < 1:
        return Remedy(Action.HALT_AND_PAGE, situation.ruling.says, "no restart is left within the hour", page=True)
    return Remedy(Action.RESTART, situation.ruling.says, "three BAD again would mean the release", unit="slot")


def _roll_back(situation: Situation) -> Remedy:
    if not situation.target and not situation.evidence.was_restarted and situation.restarts_left > 0:
        return Remedy(Action.RESTART, situation.ruling.says, "there is nothing to go back to", unit="slot", page=True)
    if not situation.target:
        return Remedy(Action.HALT_AND_PAGE, situation.ruling.says, "there is nothing to go back to", page=True)
    if situation.rollbacks_left < 1:
        return Remedy(Action.HALT_AND_PAGE, situation.ruling.says, "no rollback is left for today", page=True)
    takes_over, lasting = f"{situation.target} takes over", situation.evidence.baking
    return Remedy(Action.ROLLBACK, situation.ruling.says, takes_over, page=True, lasting=lasting)
