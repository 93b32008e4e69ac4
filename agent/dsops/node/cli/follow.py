"""Follows a move until it has ended; proves the release itself where no agent does."""

from dataclasses import dataclass
from typing import Any

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.state import Move, NodeState, Step
from dsops.node.agent.prove import Refusal, render_evidence
from dsops.node.cli.main import Door, get_status
from dsops.node.helper.client import HelperLostError, call
from dsops.node.store.config import read_store_config

# An agent that lives takes a move up within a tick; after so many looks without that it is done without it.
LOOKS = 3
LOOK_SECONDS = 1.0
POLL_SECONDS = 0.2
# Before a release starts it is read and hashed, once after each boot.
MOVE_SECONDS = 3600.0


@dataclass(frozen=True)
class Ended:
    """How a move ended. state: the node's then."""

    state: NodeState
    has_traffic: bool
    reason: str = ""


def ask(door: Door, verb: str, *, timeout: float = 60, **words: Any) -> NodeState:
    """The state in the helper's answer. Raises DsopsError with its refusal."""
    said = {key: word for key, word in words.items() if word not in (None, "")}
    return decode_state(call(door.helper, verb, timeout=timeout, **said)["state"])


def ask_move(door: Door, verb: str, *, release: str = "", **words: Any) -> dict[str, Any]:
    """The helper's answer to what begins a move; when it dies over it, that of whoever goes on.

    release: which the move must bring, when that is known.
    """
    before = ask(door, "state")
    asked: dict[str, Any] = words | ({"release": release} if release else {})
    try:
        return call(door.helper, verb, timeout=MOVE_SECONDS, **asked)
    except HelperLostError:
        said = call(door.helper, "recover")
        after = decode_state(said["state"])
        brought = {one.release for one in (after.move, after.active) if one}
        if (after.move, after.active) == (before.move, before.active) or release not in ("", *brought):
            raise  # it died before it had begun
        return said


def decode_state(data: object) -> NodeState:
    """From the helper's plain data."""
    return decode(NodeState, data, where="the helper's answer")


def follow(door: Door, release: str, *, seconds: float, share: int = 100) -> Ended:
    """Until the release has its share of the traffic or was refused. Raises DsopsError when the time is over."""
    end = door.clock() + seconds
    silent, look_at = 0, door.clock()
    while True:
        state = ask(door, "state")
        if ended := judge_end(state, release, at=state_time(state), share=share):
            return ended
        if door.clock() >= end:
            raise DsopsError(f"{release} has no traffic after {seconds:g} s: {tell_move(state.move)}", mend=WAIT)
        if state.move and state.move.step is Step.PROVE and door.clock() >= look_at:
            silent = 0 if is_driven(door) else silent + 1
            look_at = door.clock() + LOOK_SECONDS
        if silent >= LOOKS and state.move:
            prove_move(door, state.move)
            silent = 0
        door.sleep(POLL_SECONDS)


WAIT = "it goes on by itself: `dsops node status`; `dsops node rollback` calls it off"


def judge_end(state: NodeState, release: str, *, at: float, share: int = 100) -> Ended | None:
    """None while it goes on. Pure."""
    has_come = not state.move or (state.move.release == release and state.move.step is Step.TIDY)
    if state.active and state.active.release == release and has_come:
        return Ended(state, True)
    if state.canary and state.canary.release == release and state.canary.share >= share:
        return Ended(state, True)
    if state.move and state.move.release == release and not state.move.refuted:
        return None
    bad = state.find_bad(release, at=at)
    refuted = state.move.refuted if state.move and state.move.release == release else ""
    other = f"{tell_move(state.move)} came between" if state.move else "it was called off"
    return Ended(state, False, bad.reason if bad else refuted or other)


def state_time(state: NodeState) -> float:
    """A moment at which marks made by this move hold: that of the newest one."""
    return max((bad.at for bad in state.bad), default=0.0)


def tell_move(move: Move | None) -> str:
    """A move in words."""
    if move is None:
        return "nothing is under way"
    share = f", {move.share} % of the traffic" if move.step is Step.CANARY else ""
    return f"{move.kind} of {move.release} (step {move.step}{share})"


def is_driven(door: Door) -> bool:
    """Whether an agent knows of the move: it will prove."""
    try:
        return bool(get_status(door).move)
    except DsopsError:
        return False


def prove_move(door: Door, move: Move) -> None:
    """Proves and tells the helper; somebody who was quicker is no error."""
    root = read_store_config(door.store).root
    proof = door.prove(move, root, door.socket)
    release, began = move.release, move.began
    try:
        if isinstance(proof, Refusal):
            ask(door, "refuted", release=release, began=began, reason=proof.reason, lasting=proof.lasting)
        else:
            evidence = f"{render_evidence(proof)} (proven at the door)"
            ask(door, "proven", release=release, began=began, evidence=evidence)
    except DsopsError:
        state = ask(door, "state")
        if state.move and (state.move.release, state.move.step) == (move.release, Step.PROVE):
            raise
