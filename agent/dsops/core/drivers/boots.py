"""A node's drivers over its boots: on trial until one boot passed, back after too many failed, never round. Pure.

Written down before it is acted upon: whoever is cut goes on from what stands here.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

LIMIT = 2


class Outcome(StrEnum):
    """Of one boot that reached the gate. no-gpu: no GPU on PCI, so nobody can say; unknown: the gate could not look."""

    PASSED = "passed"
    FAILED = "failed"
    NO_GPU = "no-gpu"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """turning: packages and modules are being changed. trial: no boot passed yet. halted: a person must decide."""

    TURNING = "turning"
    TRIAL = "trial"
    SETTLED = "settled"
    HALTED = "halted"


class Act(StrEnum):
    """What to do about a boot. turn: change to `current`'s packages (again), then reboot."""

    NOTHING = "nothing"
    REBOOT = "reboot"
    TURN = "turn"


@dataclass(frozen=True)
class State:
    """current: the set that is wanted on the disk. previous: where to go back to, "" = nowhere.

    failures: boots of current that reached the gate and failed. seen: the last boot that counts no more. passed: sets
    of which a boot passed here. bad: sets that this node left because they failed. says: why it is as it is. left: why
    it left the last one.
    """

    stage: Stage
    current: str
    previous: str = ""
    failures: int = 0
    seen: str = ""
    passed: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    says: str = ""
    left: str = ""


def parse_state(text: str, *, where: str) -> State:
    """What a node wrote down. Raises DsopsError when it is none."""
    try:
        return decode(State, json.loads(text), where=where)
    except ValueError as error:
        mend = "remove it on the server, and deploy again: the set is installed anew"
        raise DsopsError(f"the state cannot be read ({error})", where=where, mend=mend) from error


def begin(state: State | None, to: str) -> State:
    """A change that somebody asked for. Raises DsopsError for a set that failed here."""
    if state is None:
        return State(Stage.TURNING, to, says=f"installs {to}, the first set here")
    if to in state.bad:
        mend = "name another lockset; or `python -m dsops.node.driver forget` on the server, and deploy again"
        raise DsopsError(f"{to} failed on this node before", mend=mend)
    if to == state.current:
        # The same again, because somebody changed its packages by hand: what it had shown no longer counts.
        return replace(state, stage=Stage.TURNING, failures=0, says=f"installs {to} again")
    return replace(
        state,
        stage=Stage.TURNING,
        current=to,
        previous=choose_previous(state, to),
        failures=0,
        left="",
        says=f"changes from {state.current} to {to}",
    )


def choose_previous(state: State, to: str) -> str:
    """Where a change to `to` would go back to: what passed here and is not bad, else what is at least not bad."""
    known = [one for one in (state.current, state.previous) if one and one != to and one not in state.bad]
    return next((one for one in known if one in state.passed), next(iter(known), ""))


def end_turn(state: State, boot: str) -> State:
    """All of the set is on the disk. boot: the one in which that was done; it says nothing about the set."""
    return replace(state, stage=Stage.TRIAL, seen=boot, says=f"{state.current} is installed; a reboot makes it live")


def fail_turn(state: State, why: str) -> State:
    """The set could not be installed: back to the one before, or halt where there is none."""
    # apt's trouble (a full disk, a lost file) says nothing about the set: it is not marked bad.
    return _go_back(state, f"{state.current} could not be installed: {why}")


def judge_boot(state: State, *, boot: str, outcome: Outcome, why: str = "", limit: int = LIMIT) -> tuple[State, Act]:
    """What a boot that reached the gate means. One that did not never comes here, and so never counts."""
    if state.stage is Stage.TURNING:
        return state, Act.TURN
    if boot == state.seen or state.stage is Stage.HALTED:
        return state, Act.NOTHING
    state = replace(state, seen=boot)
    if outcome is Outcome.PASSED:
        passed = tuple(dict.fromkeys([*state.passed, state.current]))
        says = f"{state.current} passed its gate"
        return replace(state, stage=Stage.SETTLED, failures=0, passed=passed, says=says), Act.NOTHING
    if state.stage is Stage.SETTLED:
        # It was good here: what broke since is hardware or a hand, and another driver mends neither.
        return replace(state, says=f"{state.current} passed before, and not now: {why}"), Act.NOTHING
    if outcome is not Outcome.FAILED:
        return replace(state, says=f"{state.current} is not proven: {why}"), Act.NOTHING
    return _count(state, why, limit=limit)


def forget(state: State) -> State:
    """A person looked: nothing is bad any more, and a halted node may be deployed to or judged again."""
    stage = Stage.TRIAL if state.stage is Stage.HALTED else state.stage
    return replace(state, stage=stage, bad=(), failures=0, says="a person cleared it", left="")


def _count(state: State, why: str, *, limit: int) -> tuple[State, Act]:
    failures = state.failures + 1
    state = replace(state, failures=failures, says=f"{state.current} failed at boot {failures} of {limit}: {why}")
    if failures < limit:
        return state, Act.REBOOT
    state = _go_back(replace(state, bad=tuple(dict.fromkeys([*state.bad, state.current]))), state.says)
    return state, Act.TURN if state.stage is Stage.TURNING else Act.NOTHING


def _go_back(state: State, why: str) -> State:
    """Once: from where it went back to there is no further way."""
    to = state.previous
    if not to or to in state.bad:
        says = f"{why}; there is no set to go back to: a person must look"
        return replace(state, stage=Stage.HALTED, says=says)
    says = f"{why}; back to {to}"
    return replace(state, stage=Stage.TURNING, current=to, previous="", failures=0, says=says, left=says)
