"""The brain of one node: from a state and an event to the next state and what must be done for it. Pure.

`step(state, event)` gives the next state and the effects that bring it about. Whoever runs it writes the state
to the journal first and does the effects then; after a kill it does `pending_effects(state)` again: all of them
may be done twice.
"""

from dataclasses import replace
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.events import (
    Activate,
    Adopt,
    Aged,
    Clear,
    Confirm,
    Cool,
    Done,
    Effect,
    Event,
    Failed,
    Forget,
    Halt,
    Lanes,
    Link,
    Proven,
    Refuted,
    Restarted,
    Resumed,
    Rollback,
    Start,
    Stop,
    Take,
    Unmark,
    Widen,
)
from dsops.core.lanes import SHARES, find_lanes
from dsops.core.state import (
    ACTS,
    FALLBACKS,
    MARKS,
    SLOTS,
    TURNS,
    WAITS,
    Active,
    Bad,
    Epoch,
    Held,
    Kind,
    Move,
    NodeState,
    Policy,
    Stage,
    Step,
    clip,
)

EPOCH_JUMP = 1000
FINGERPRINT = 14  # bytes of JSON: 12 digits of a hash; every fallback holds one, and all must fit a record
NO_REASON = "no reason given"
NO_WAY_BACK = "there is no good release to go back to"
DAY, HOUR = 86400, 3600


def step(state: NodeState, event: Event, policy: Policy) -> tuple[NodeState, tuple[Effect, ...]]:
    """The next state, to be journalled, and then its effects. Raises DsopsError when the event may not happen now."""
    after = _next(state, _clip_words(event), policy)
    if after.move is None or after.move == state.move:
        return after, ()
    return after, pending_effects(after)


def pending_effects(state: NodeState) -> tuple[Effect, ...]:
    """What the move under way must do now; after a kill, again."""
    move = state.move
    if move is None or move.step in WAITS:
        return ()
    if move.step is Step.START:
        first = (Stop(_other(move.slot), wait=True),) if move.alone else ()
        return (*first, Stop(move.slot), Link(move.slot, move.release), Start(move.slot))
    if move.step is Step.SWITCH:
        stable = state.active.slot if state.active and move.share < max(SHARES) else ""
        return (Lanes(move.slot, move.share, stable),)
    if move.step is Step.RETURN:
        return (Lanes(state.active.slot),) if state.active else ()
    if not move.stops:
        return ()
    return (Stop(move.stops), *((Link(move.stops, ""),) if move.refuted else ()))


def _next(state: NodeState, event: Event, policy: Policy) -> NodeState:
    match event:
        case Activate():
            return _activate(_take_epoch(state, event.epoch), event)
        case Widen():
            return _widen(_take_epoch(state, event.epoch), event)
        case Rollback():
            return _roll_back(_take_epoch(state, event.epoch), event, policy)
        case Done():
            return _done(state, event)
        case Resumed():
            return _resume(state, event)
        case Proven():
            return _prove(state, event)
        case Refuted():
            return _refute_proof(state, event, policy)
        case Failed():
            return _fail(state, event)
        case Aged():
            return _age(state, event, policy)
        case Restarted():
            return _restart(state, event, policy)
        case Unmark():
            return _unmark(state, event)
        case Confirm():
            return _confirm(state, event)
        case Forget():
            return _forget(state, event)
        case Cool():
            return _cool(state, event)
        case Take():
            return _take_epoch(state, event.epoch)
        case Halt():
            return replace(state, halted=event.reason)
        case Clear():
            return replace(state, halted="", rollbacks=(), restarts=())
        case Adopt():
            return replace(state, epoch=event.epoch)


def _activate(state: NodeState, event: Activate) -> NodeState:
    _check_idle(state)
    _check_cleared(state)
    if state.active and state.active.release == event.release:
        raise DsopsError(f"{event.release} has the traffic already", mend="nothing is to be done")
    if bad := state.find_bad(event.release, at=event.at):
        mend = f"bring a new build, or `dsops release unmark-bad {event.release} --reason ...`"
        raise DsopsError(f"{event.release} is marked bad here: {bad.reason}", mend=mend)
    _check_share(state, event)
    slot, alone = _find_free(state), event.alone and state.active is not None
    move = Move(Kind.ACTIVATE, event.release, slot, Step.START, event.at, event.who, event.reason)
    wanted = replace(move, share=event.share, alone=alone)
    return replace(_hold(state, slot, event.release), move=wanted, warm="")


def _check_cleared(state: NodeState) -> None:
    if state.halted:
        mend = "`dsops node clear --reason ...` once it is mended"
        raise DsopsError(f"this node is halted: {state.halted}", mend=mend)


def _check_share(state: NodeState, event: Activate) -> None:
    find_lanes(event.share)
    if event.share == max(SHARES):
        return
    if event.alone:
        mend = f"leave out the share, or `alone` where the memory holds two copies of {event.release}"
        raise DsopsError("a release that comes in alone gets all of the traffic, not a share", mend=mend)
    if state.active is None:
        what = f"nothing has the traffic here, so {event.release} can be no canary beside it"
        raise DsopsError(what, mend="activate it without a share")


def _widen(state: NodeState, event: Widen) -> NodeState:
    _check_cleared(state)
    move = state.move
    if state.active and state.active.release == event.release:
        raise DsopsError(f"{event.release} has the traffic already", mend="nothing is to be done")
    if move is None or move.kind is Kind.ROLLBACK or move.refuted or move.step is Step.TIDY:
        mend = f"`dsops node release activate {event.release} --share {event.share} --reason ...` makes it one"
        raise DsopsError(f"{event.release} is no canary here: none is out", mend=mend)
    if move.release != event.release:
        mend = f"widen that one, or take it back first: `dsops rollback` (by {move.who}: {move.reason})"
        raise DsopsError(f"{event.release} is no canary here: {move.release} is", mend=mend)
    if move.step is not Step.CANARY:
        mend = "wait for it: `dsops status`"
        raise DsopsError(f"{event.release} is no canary yet (step {move.step})", mend=mend)
    find_lanes(event.share)
    if event.share <= move.share:
        mend = "a share only grows; `dsops rollback` takes all of it back"
        raise DsopsError(f"{event.release} has {move.share} % already, not less than {event.share} %", mend=mend)
    return _turn(state, move, Step.SWITCH, share=event.share)


def _turn(state: NodeState, move: Move, to: Step, **changes: Any) -> NodeState:
    """The move's next step. One that makes too many of them is given up (R12)."""
    turned = replace(move, step=to, turns=min(move.turns + 1, TURNS + 1), **changes)
    after = replace(state, move=turned)
    return after if turned.turns <= TURNS else _give_up(after, turned, at_step=move.step)


def _give_up(state: NodeState, move: Move, *, at_step: Step) -> NodeState:
    """Nothing automatic any more; the traffic stays, or goes back, where it was.

    Lanes that are just being turned must lead somewhere: that one thing is tried on.
    """
    why = f"{move.kind} of {move.release} was given up after {TURNS} transitions, the last state: {at_step}"
    halted = state if state.halted else replace(state, halted=clip(why))
    if move.step in (Step.START, Step.PROVE):
        return _drop(halted, move, reason=why, at=move.began)
    if move.step in (Step.SWITCH, Step.CANARY) and move.kind is Kind.ACTIVATE and state.active and not move.alone:
        return replace(halted, move=replace(move, step=Step.RETURN, refuted=clip(why)))
    return halted


def _resume(state: NodeState, event: Resumed) -> NodeState:  # noqa: ARG001 - every event's form
    """Each try counts, durably and before it is made: a step that kills the server must not do so for ever."""
    move = state.move
    if move is None or move.step in WAITS or move.step is Step.TIDY:
        return state
    return _turn(state, move, move.step)


def _roll_back(state: NodeState, event: Rollback, policy: Policy) -> NodeState:
    active, move = state.active, state.move
    _check_turning(move, event)
    _check_leaves(state, event)
    if move and is_called_off(move, event):
        return _refute(state, move, reason=event.reason, until=_until(event, policy), at=event.at)
    if active is None:
        raise DsopsError("nothing is active here, so there is nothing to leave", mend="activate a release")
    if event.own:
        _check_budget(state, event, policy)
    target = find_target(state, at=event.at, to=event.to, missing=event.missing)
    marked = _mark(state, Bad(active.release, event.reason, event.at, _until(event, policy)), at=event.at)
    slot = next((s for s in event.warm if s != active.slot and state.release_in(s) == target), "")
    if move and slot in (move.slot, move.stops):
        slot = ""  # it starts there just now, or stops
    where = slot or _other(active.slot)
    first = Step.SWITCH if slot else Step.START
    back = Move(Kind.ROLLBACK, target, where, first, event.at, event.who, event.reason, stops=active.slot)
    # What had to come in alone can only be left alone: there is no memory for the other one beside it.
    alone = not slot and (active.alone or bool(move and move.alone))
    counted = (*state.rollbacks, event.at)[-ACTS:] if event.own else state.rollbacks
    return replace(_hold(marked, where, target), move=replace(back, alone=alone), rollbacks=counted, warm=slot)


def _check_turning(move: Move | None, event: Rollback) -> None:
    """A rollback may take another move's place, but not while it cannot be said where the lanes lead."""
    if move is None or move.step is Step.TIDY:
        return
    if move.kind is Kind.ROLLBACK:
        raise DsopsError("a rollback is under way", mend="`dsops status` shows how far it is")
    if move.step is Step.SWITCH:
        raise DsopsError(f"the lanes are just turned to {move.release}", mend="try again")
    if move.step is Step.RETURN:
        raise DsopsError(f"the lanes are just led back from {move.release}", mend="try again")
    if move.step is Step.CANARY and event.to:
        what = f"{move.release} is out as a canary, in the slot that {event.to} would need"
        raise DsopsError(what, mend="`dsops rollback` takes the canary back first, without --to")
    if move.alone and event.own:
        what = f"the active slot was stopped for {move.release}: what it does now is no fault of its release"
        raise DsopsError(what, mend="`dsops status` shows how far the activation is")


def _check_leaves(state: NodeState, event: Rollback) -> None:
    """An order about one release takes no other away: it may come twice, or after the node went back by itself."""
    move = state.move
    goes = move if move and is_called_off(move, event) else state.active
    if event.leaves and event.leaves != (goes.release if goes else ""):
        what = f"{event.leaves} is not what this node would leave now: {goes.release if goes else 'nothing'} is"
        raise DsopsError(what, mend="nothing is to be done: `dsops status`")


def is_called_off(move: Move, event: Rollback) -> bool:
    """Whether the activation under way goes, and not the active release."""
    if move.kind is Kind.ROLLBACK or move.step is Step.TIDY or event.to:
        return False
    return move.step is Step.CANARY or not event.own


def _until(event: Rollback | Refuted, policy: Policy) -> float | None:
    return None if event.lasting else event.at + policy.bad_seconds


def find_target(state: NodeState, *, at: float, to: str = "", missing: tuple[str, ...] = ()) -> str:
    """The newest release that was good here past its bake window, else one that was good until it left.

    Neither the active one, nor one that is marked bad or missing. Raises DsopsError when there is none.
    """
    active = state.active.release if state.active else ""
    baked_first = sorted(state.fallbacks, key=lambda one: one.stage is Stage.BAKING)
    out = {active, *missing}
    usable = [one.release for one in baked_first if one.release not in out and not state.find_bad(one.release, at=at)]
    if to:
        if to not in usable:
            mend = f"there is {', '.join(usable) or 'none'}; `dsops release activate` brings any other in"
            raise DsopsError(f"{to} is no release that this node can go back to", mend=mend)
        return to
    if not usable:
        mend = "push a good release and activate it; `dsops restart` may help meanwhile"
        raise DsopsError(NO_WAY_BACK, mend=mend)
    return usable[0]


def _check_budget(state: NodeState, event: Rollback, policy: Policy) -> None:
    if state.halted:
        raise DsopsError(f"this node is halted: {state.halted}", mend="a person clears it: `dsops node clear`")
    recent = _count_within(state.rollbacks, seconds=DAY, at=event.at)
    if recent >= policy.rollbacks_per_day:
        what = f"dsops rolled back {recent} times here within a day; it does not do so again by itself"
        raise DsopsError(what, mend="a person decides: `dsops rollback`, or `dsops node clear --reason ...`")


def _count_within(times: tuple[float, ...], *, seconds: float, at: float) -> int:
    """Acts in the last `seconds`; a clock that was set back must not give the budget back."""
    return sum(abs(at - time) < seconds for time in times)


def _done(state: NodeState, event: Done) -> NodeState:
    move = state.move
    if move is None:
        raise DsopsError("no move is under way")
    if move.step is Step.START:
        return _turn(state, move, Step.PROVE)
    if move.step is Step.SWITCH:
        if move.share < max(SHARES):
            return _turn(state, move, Step.CANARY, since=event.at)
        return _switched(state, move, event)
    if move.step is Step.RETURN:
        return _turn(state, move, Step.TIDY, stops=move.slot)
    if move.step is Step.TIDY:
        left = _hold(state, move.stops, "") if move.refuted else state
        return replace(left, move=None, warm="" if state.warm == move.stops else state.warm)
    raise DsopsError(f"nothing is to be done at step {move.step}: the move waits for what somebody says")


def _switched(state: NodeState, move: Move, event: Done) -> NodeState:
    """What was good here before keeps its stage when it comes back; everything else begins to bake."""
    if state.active and state.active.release == move.release:
        return _turn(state, move, Step.TIDY)  # it only had stopped for a while
    before = next((one for one in state.fallbacks if one.release == move.release), None)
    active = Active(move.release, move.slot, event.at, Stage.BAKING, alone=move.alone)
    if before:
        active = replace(active, stage=before.stage, environment=before.environment)
    left = state.active.slot if state.active else ""
    stops = move.stops or ("" if event.keep_warm and not move.alone else left)
    fallbacks, warm = _leave(state, move.release, at=event.at), "" if move.alone else left
    after = replace(state, active=active, fallbacks=fallbacks, warm=warm)
    return _turn(after, move, Step.TIDY, stops=stops) if stops else replace(after, move=None)


def _leave(state: NodeState, comes: str, *, at: float) -> tuple[Active, ...]:
    """The fallbacks when `comes` takes over from the active release."""
    left = state.active
    others = tuple(one for one in state.fallbacks if one.release not in (comes, left.release if left else ""))
    is_good = left is not None and not state.find_bad(left.release, at=at)
    return _keep_best((replace(left, alone=False), *others)) if left and is_good else others


def _keep_best(fallbacks: tuple[Active, ...]) -> tuple[Active, ...]:
    """As many as a record holds; those that never came past their bake window are the first to go."""
    order = list(Stage)
    ranked = sorted(fallbacks, key=lambda one: order.index(one.stage), reverse=True)[:FALLBACKS]
    return tuple(one for one in fallbacks if one in ranked)


def _prove(state: NodeState, event: Proven) -> NodeState:
    return _turn(state, _get_waiting(state, event, Step.PROVE), Step.SWITCH)


def _refute_proof(state: NodeState, event: Refuted, policy: Policy) -> NodeState:
    move = _get_waiting(state, event, *WAITS)
    return _refute(state, move, reason=event.reason, until=_until(event, policy), at=event.at)


def _refute(state: NodeState, move: Move, *, reason: str, until: float | None, at: float) -> NodeState:
    if move.kind is Kind.ROLLBACK:
        state = replace(state, halted=clip(f"rollback to {move.release} failed: {reason}"))
    if state.active and state.active.release == move.release:
        return _drop(state, move, reason=reason, at=at)
    marked = _mark(state, Bad(move.release, reason, at, until), at=at)
    if move.step is Step.CANARY:
        return _turn(marked, move, Step.RETURN, refuted=reason or NO_REASON)
    return _drop(marked, move, reason=reason, at=at)


def _drop(state: NodeState, move: Move, *, reason: str, at: float) -> NodeState:
    """Ends a move whose release never had any traffic."""
    if move.alone and state.active:
        return _start_again(state, state.active, move, reason=reason, at=at)
    return _turn(state, move, Step.TIDY, stops=move.slot, refuted=clip(reason) or NO_REASON)


def _start_again(state: NodeState, active: Active, move: Move, *, reason: str, at: float) -> NodeState:
    """The active slot had stopped for what did not come: it starts again, and is proven before it serves."""
    if move.release == active.release:
        return replace(state, move=None)  # it does not come back either: halted, with its lanes and links as they are
    words = clip(f"{move.release} did not come: {reason}")
    back = Move(Kind.ROLLBACK, active.release, active.slot, Step.START, at, "dsops", words, stops=move.slot)
    return replace(state, move=replace(back, alone=True))


def _fail(state: NodeState, event: Failed) -> NodeState:
    """An activation is given up. A rollback is not: the next `recover` tries again, perhaps with more luck."""
    move = state.move
    if move is None or move.step is not Step.START or move.kind is Kind.ROLLBACK:
        return state
    return _drop(state, move, reason=event.reason, at=event.at)


def _get_waiting(state: NodeState, event: Proven | Refuted, *steps: Step) -> Move:
    move, release = state.move, event.release
    if move is None or move.step not in steps or release not in ("", move.release):
        raise DsopsError(f"{release or 'no release'} does not wait for its proof here", mend="`dsops status`")
    if event.began not in (0.0, move.began):
        raise DsopsError(f"that was about an earlier move of {move.release}", mend="`dsops status`")
    return move


def _age(state: NodeState, event: Aged, policy: Policy) -> NodeState:
    active = state.active
    if active is None or state.move:
        return state
    age = event.at - active.since
    stage = _find_stage(active.stage, age, policy)
    is_committed = stage is Stage.KNOWN_GOOD and active.stage is not stage
    environment = clip(event.environment, FINGERPRINT) if is_committed else active.environment
    aged = replace(state, active=replace(active, stage=stage, environment=environment))
    if age < policy.bake_seconds or not state.warm:
        return aged
    # The slot that was kept warm for a quick way back is not needed any more.
    reason = "the bake window is over"
    tidy = Move(Kind.ACTIVATE, active.release, active.slot, Step.TIDY, event.at, "dsops", reason, stops=state.warm)
    return replace(aged, move=tidy)


def _find_stage(stage: Stage, age: float, policy: Policy) -> Stage:
    if stage is Stage.BAKING and age >= policy.bake_seconds:
        return Stage.BAKED
    if stage is Stage.BAKED and age >= policy.known_good_seconds:
        return Stage.KNOWN_GOOD
    return stage


def _restart(state: NodeState, event: Restarted, policy: Policy) -> NodeState:
    if state.halted:
        raise DsopsError(f"this node is halted: {state.halted}", mend="a person clears it: `dsops node clear`")
    recent = _count_within(state.restarts, seconds=HOUR, at=event.at)
    if recent >= policy.restarts_per_hour:
        raise DsopsError(f"dsops restarted it {recent} times within the hour", mend="look at `dsops why`")
    return replace(state, restarts=(*state.restarts, event.at)[-ACTS:])


def _unmark(state: NodeState, event: Unmark) -> NodeState:
    if not any(bad.release == event.release for bad in state.bad):
        marked = ", ".join(bad.release for bad in state.bad) or "none"
        raise DsopsError(f"{event.release} is not marked bad here", mend=f"marked: {marked}")
    return replace(state, bad=tuple(bad for bad in state.bad if bad.release != event.release))


def _confirm(state: NodeState, event: Confirm) -> NodeState:
    held = next((bad for bad in state.bad if bad.release == event.release), None)
    if held is None:
        raise DsopsError(f"{event.release} is not marked bad here", mend="`dsops release list` shows what is")
    if event.release in _find_busy(state):
        mend = "`dsops rollback` first, or let its mark expire"
        raise DsopsError(f"{event.release} has the traffic, or is about to get it", mend=mend)
    return replace(state, bad=tuple(replace(bad, until=None) if bad is held else bad for bad in state.bad))


def _find_busy(state: NodeState) -> set[str]:
    """What has the traffic, and what a move brings."""
    return {one.release for one in (state.active, state.move) if one}


def _forget(state: NodeState, event: Forget) -> NodeState:
    """Refuses what is needed: in a slot, in a move, or the way back (R8)."""
    if event.release in _find_busy(state) or any(held.release == event.release for held in state.slots):
        what = f"{event.release} is in use: it is in a slot of this node, or about to be"
        raise DsopsError(what, mend="activate another release first; a slot is emptied when it is used again")
    # Also the next one, where what the state takes for the way back is not on the disk any more.
    if event.release in (_find_way_back(state, at=event.at), _find_way_back(state, at=event.at, missing=event.missing)):
        what = f"{event.release} is the release that this node would go back to"
        raise DsopsError(what, mend="activate a newer one first, so that there is another way back")
    return replace(state, fallbacks=tuple(one for one in state.fallbacks if one.release != event.release))


def _cool(state: NodeState, event: Cool) -> NodeState:
    """Changes nothing: a release is a way back wherever it lies."""
    if event.release in find_hot(state, at=event.at):
        what = f"{event.release} must stay on the hot tier: it is in use, or one of the ways back that must be quick"
        raise DsopsError(what, mend="activate a newer one first; `dsops release list` shows what is cold already")
    return state


def find_hot(state: NodeState, *, at: float) -> frozenset[str]:
    """What must lie on the hot tier: all that is in use, the way back, and the newest known-good one beside it (R7)."""
    slots = {held.release for held in state.slots if held.release}
    active = state.active.release if state.active else ""
    good = [name for name in state.known_good if name != active and not state.find_bad(name, at=at)]
    return frozenset({*_find_busy(state), *slots, *good[:1], _find_way_back(state, at=at)} - {""})


def _find_way_back(state: NodeState, *, at: float, missing: tuple[str, ...] = ()) -> str:
    try:
        return find_target(state, at=at, missing=missing)
    except DsopsError:
        return ""


def _take_epoch(state: NodeState, epoch: Epoch | None) -> NodeState:
    if epoch is None:
        return state
    last = state.epoch
    mend = "a restored control host, or a moved inventory: `dsops epoch adopt --reason ...`; else another took over"
    if epoch.number < last.number:
        raise DsopsError(f"epoch {epoch.number} is older than {last.number} of {last.holder}", mend=mend)
    if epoch.number == last.number and epoch.holder != last.holder:
        raise DsopsError(f"epoch {epoch.number} is held by {last.holder}, not {epoch.holder}", mend=mend)
    if epoch.number > last.number + EPOCH_JUMP:
        raise DsopsError(f"epoch {epoch.number} jumps too far from {last.number}", mend=mend)
    return replace(state, epoch=epoch)


def _check_idle(state: NodeState) -> None:
    if move := state.move:
        what = f"{move.kind} of {move.release} by {move.who} is under way (step {move.step})"
        mend = "wait for it: `dsops status`"
        if move.step is Step.CANARY:
            mend = f"`dsops node release widen {move.release}` gives it more, `dsops rollback` takes it back"
        raise DsopsError(what, mend=mend)


def _find_free(state: NodeState) -> str:
    taken = state.active.slot if state.active else ""
    return next(slot for slot in SLOTS if slot != taken)


def _other(slot: str) -> str:
    return next(other for other in SLOTS if other != slot)


def _hold(state: NodeState, slot: str, release: str) -> NodeState:
    return replace(state, slots=tuple(Held(s.slot, release) if s.slot == slot else s for s in state.slots))


def _mark(state: NodeState, bad: Bad, *, at: float) -> NodeState:
    """Marks that ended make room first, then the oldest that will end by themselves. A lasting mark stays one."""
    before = state.find_bad(bad.release, at=at)
    if before and before.until is None:
        bad = replace(bad, until=None)
    others = [other for other in state.bad if other.release != bad.release and state.find_bad(other.release, at=at)]
    ranked = sorted(others, key=lambda one: (one.until is None, one.at), reverse=True)[: MARKS - 1]
    return replace(state, bad=(*(other for other in others if other in ranked), bad))


def _clip_words(event: Event) -> Event:
    changes: dict[str, Any] = {}
    for key in ("who", "reason"):
        if (words := getattr(event, key, "")) != (cut := clip(words)):
            changes[key] = cut
    if (epoch := getattr(event, "epoch", None)) and (cut := clip(epoch.holder)) != epoch.holder:
        changes["epoch"] = replace(epoch, holder=cut)
    return replace(event, **changes) if changes else event
