"""The helper's verbs that change what serves: activate, proofs, rollback, restart, marks, halt."""

import time
from dataclasses import replace

from dsops.core.errors import DsopsError
from dsops.core.events import (
    Activate,
    Adopt,
    Clear,
    Confirm,
    Halt,
    Proven,
    Refuted,
    Restarted,
    Rollback,
    Unmark,
    Widen,
)
from dsops.core.node import find_target, step
from dsops.core.state import SLOTS, Epoch, NodeState, Policy, to_data
from dsops.node.helper.afresh import stop_and_forget
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.certificate import check_certified
from dsops.node.helper.desk import Desk
from dsops.node.helper.effects import unit_of
from dsops.node.helper.listing import find_missing, find_nowhere, look_cold, tell_cold
from dsops.node.helper.memory import read_memory
from dsops.node.helper.passport import check_activation
from dsops.node.helper.signature import check_signature_file
from dsops.node.helper.tell import Told
from dsops.node.store.pointers import check_release_id
from dsops.node.store.releases import MANIFEST, SIGNATURE, sum_sizes

GATEWAY = "dsops-gateway.service"
RESTART_SECONDS = 120.0


def tell_state(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    state, seq = desk.moves.read()
    return {"state": to_data(state), "seq": seq}


def tell_environment(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    return {"environment": desk.moves.environment()}


def activate(desk: Desk, asked: Asked) -> Answer:
    release, epoch, note = asked.release, asked.request.find_epoch(), asked.get_note()
    share = asked.request.get_number("share") if "share" in asked.request.words else 100
    alone = asked.request.get_flag("alone")
    lies_cold = _find_lying_cold(desk, release)

    def make(state: NodeState) -> Activate:
        event = Activate(release, desk.now(), note.who, note.reason, epoch, share=share, alone=alone)
        after, _ = step(state, event, desk.config.policy)  # its own refusals come first: they cost nothing
        if lies_cold:
            raise lies_cold
        desk.releases.get(release)
        _check_signed(desk, release)
        check_certified(desk, release, asked.request)
        check_activation(desk, release, asked.request)
        _check_memory(desk, release, before=state, after=after)
        return event

    if desk.releases.has(release):
        # Hashing may take long after a boot: it must not hold the lock while a rollback waits for it.
        desk.releases.check_whole(release)
    return _said(desk.moves.act(make, note=note, epoch=epoch))


def widen(desk: Desk, asked: Asked) -> Answer:
    release, epoch, note = asked.release, asked.request.find_epoch(), asked.get_note()
    share = asked.request.get_number("share")

    def make(_: NodeState) -> Widen:
        return Widen(release, share, desk.now(), note.who, note.reason, epoch)

    return _said(desk.moves.act(make, note=note, epoch=epoch))


def _find_lying_cold(desk: Desk, release: str) -> DsopsError | None:
    """The refusal of a release that is whole, but on the cold tier only."""
    if desk.tiers is None or desk.releases.has(release):
        return None
    cold = look_cold(desk)
    if release not in cold.load:
        return None
    return tell_cold(desk, f"{release} lies on the cold tier", release, cold=cold)


def _check_signed(desk: Desk, release: str) -> None:
    path = desk.releases.path(release)
    manifest = (path / MANIFEST).read_bytes()
    check_signature_file(manifest, path / SIGNATURE, config=desk.config, run=desk.run)


def _check_memory(desk: Desk, release: str, *, before: NodeState, after: NodeState) -> None:
    memory = read_memory(desk.meminfo)
    need = (1 + desk.config.memory_reserve) * sum(sum_sizes(desk.releases.get(release)).values())
    move = after.move
    assert move
    # What runs in the slot now ends before the new release loads; where it comes in alone, the other one too.
    freed = sum(_count_running(desk, before, slot) for slot in SLOTS if slot == move.slot or move.alone)
    if memory.available + freed < need:
        have = f"{(memory.available + freed) / 1e9:.2f} GB"
        beside = "even with both slots stopped" if move.alone else "beside what runs"
        what = f"{release} needs {need / 1e9:.2f} GB of memory {beside}, {have} are available"
        mend = "this node cannot hold two copies: `dsops drain NODE`, then activate with `--alone`; or free memory"
        raise DsopsError(what, where="memory", mend="free memory" if move.alone else mend)


def _count_running(desk: Desk, state: NodeState, slot: str) -> int:
    """Bytes that come free when the slot's Triton ends; 0 when none runs."""
    ends = state.release_in(slot)
    is_running = bool(ends) and bool(desk.hands.find_warm((slot,), seconds=0.0))
    return sum(sum_sizes(desk.releases.get(ends)).values()) if is_running and desk.releases.is_usable(ends) else 0


def proven(desk: Desk, asked: Asked) -> Answer:
    release = asked.release
    note = replace(asked.note, reason=asked.request.find_text("evidence"))
    return _said(desk.moves.act(Proven(desk.now(), release, asked.request.find_time("began")), note=note))


def refuted(desk: Desk, asked: Asked) -> Answer:
    release, lasting, note = asked.release, asked.request.get_flag("lasting"), asked.get_note()
    event = Refuted(desk.now(), note.reason, lasting, release, asked.request.find_time("began"))
    return _said(desk.moves.act(event, note=note))


def age(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    return _said(desk.moves.age())


def roll_back(desk: Desk, asked: Asked) -> Answer:
    began = time.monotonic()
    request, note, epoch = asked.request, asked.get_note(), asked.request.find_epoch()
    own = request.get_flag("own")
    if not asked.is_person and not own:
        raise DsopsError("the agent may roll back on its own account only", mend="own=true")
    to, leaves = (check_release_id(request.words[key]) if request.words.get(key) else "" for key in ("to", "leaves"))

    made: list[Rollback] = []

    def make(state: NodeState) -> Rollback:
        at = desk.now()
        missing = find_missing(desk, state)
        event = Rollback(
            at=at,
            who=note.who,
            reason=note.reason,
            own=own,
            lasting=request.get_flag("lasting"),
            warm=_find_warm(desk, state, at=at, to=to, missing=missing),
            to=to,
            epoch=epoch,
            missing=missing,
            leaves=leaves,
        )
        made.append(event)
        return event

    try:
        state = desk.moves.act(make, note=note, epoch=epoch)
    except DsopsError as error:
        raise _tell_cold(desk, error, made[-1] if made else None) from error
    return _said(state) | {"seconds": round(time.monotonic() - began, 4)}


def _tell_cold(desk: Desk, error: DsopsError, event: Rollback | None) -> DsopsError:
    """The refusal; another one when only the place of the target, on the cold tier, stands against it."""
    if desk.tiers is None or event is None:
        return error
    state, policy = desk.moves.read()[0], desk.config.policy
    if _is_possible(state, event, policy):
        return error  # the hot tier has one to go back to: it was refused for something else
    cold = look_cold(desk)
    wider = replace(event, missing=find_nowhere(desk, state, cold), warm=())
    if not _is_possible(state, wider, policy):
        return error
    target = find_target(state, at=wider.at, to=wider.to, missing=wider.missing)
    return tell_cold(desk, f"{error.what}; {target} lies on the cold tier", target, cold=cold)


def _is_possible(state: NodeState, event: Rollback, policy: Policy) -> bool:
    try:
        step(state, event, policy)
    except DsopsError:
        return False
    return True


def _find_warm(desk: Desk, state: NodeState, *, at: float, to: str, missing: tuple[str, ...]) -> tuple[str, ...]:
    """Slots that can serve at once: they have run since they had the traffic, or for as long as loading may take."""
    active = state.active
    try:
        target = find_target(state, at=at, to=to, missing=missing)
    except DsopsError:
        return ()
    slots = tuple(slot for slot in SLOTS if state.release_in(slot) == target and active and slot != active.slot)
    load = float(desk.releases.get(target).probe.load_seconds) if slots else 0.0
    seconds = min(load, max(0.0, at - active.since)) if active else load
    return desk.hands.find_warm(slots, seconds=seconds)


def restart(desk: Desk, asked: Asked) -> Answer:
    what, note = asked.request.get_text("unit"), asked.get_note()
    if what not in ("slot", "gateway"):
        raise DsopsError(f"{what!r} is nothing to restart", where="unit", mend="slot or gateway")
    is_afresh = asked.is_person and what == "slot" and asked.request.get_flag("afresh")
    units: list[str] = []
    cached: list[float | None] = []

    def ask(state: NodeState) -> None:
        units.append(GATEWAY if what == "gateway" else unit_of(_get_slot(state)))
        if is_afresh and state.active:
            cached.append(stop_and_forget(desk, units[0], state.active.release))
        desk.hands.ask_restart(units[0])

    if asked.is_person:
        told = Told("restart", "", f"the {what} is restarted: {note.reason}")
        state = desk.moves.note(told, note=note, then=ask)
    else:
        state = desk.moves.act(Restarted(desk.now()), note=note, then=ask)
    desk.hands.wait_restart(units[0], seconds=RESTART_SECONDS)
    return _said(state) | ({"cached": cached[0]} if cached else {})


def _get_slot(state: NodeState) -> str:
    if state.active is None:
        raise DsopsError("no slot is active here", mend="activate a release")
    return state.active.slot


def recover(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    state, did = desk.moves.recover()
    return _said(state) | {"did": did}


def unmark(desk: Desk, asked: Asked) -> Answer:
    release = asked.release
    return _said(desk.moves.act(Unmark(release), note=asked.get_note()))


def confirm(desk: Desk, asked: Asked) -> Answer:
    release = asked.release
    return _said(desk.moves.act(Confirm(release), note=asked.get_note()))


def halt(desk: Desk, asked: Asked) -> Answer:
    note = asked.get_note()
    return _said(desk.moves.act(Halt(note.reason), note=note))


def clear(desk: Desk, asked: Asked) -> Answer:
    return _said(desk.moves.act(Clear(), note=asked.get_note()))


def adopt_epoch(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    epoch = Epoch(request.get_number("epoch"), request.get_text("holder"))
    return _said(desk.moves.act(Adopt(epoch), note=asked.get_note()))


def _said(state: NodeState) -> Answer:
    return {"state": to_data(state)}
