"""What must hold on a node whatever happens: I1 to I14 of the design, each checked against an account of its own."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    Proven,
    Refuted,
    Restarted,
    Resumed,
    Rollback,
    Take,
    Unmark,
    Widen,
)
from dsops.core.node import find_hot, step
from dsops.core.state import TURNS, WAITS, Epoch, Kind, NodeState, Stage, Step
from dsops.core.status import Verdict

from tests.sim.runner import find_aim
from tests.sim.world import POLICY, World

DAY, HOUR = 86400.0, 3600.0
# What the lanes weigh, written down once more: not taken from what is checked.
PERCENTS = (1, 4, 20, 25, 50)
RANK = {Stage.BAKING: 0, Stage.BAKED: 1, Stage.KNOWN_GOOD: 2}


class BrokenError(AssertionError):
    """An invariant does not hold."""


def hold(holds: object, says: str) -> None:
    """Raises BrokenError with the invariant's number and what happened."""
    if not holds:
        raise BrokenError(says)


@dataclass(slots=True)
class Account:
    """What the simulator itself remembers, from accepted events alone: never read from the node's state.

    marks: release -> until when it is bad. own: when dsops rolled back by itself since a person last cleared.
    ranks: how far each release came here. good: those that must stay a way back. heard: the highest epoch.
    """

    marks: dict[str, float | None] = field(default_factory=dict)
    own: list[float] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    heard: Epoch = field(default_factory=Epoch)
    halted: bool = False
    turns: int = 0
    was_cleared: bool = False

    def find_mark(self, release: str, at: float) -> bool:
        return release in self.marks and ((until := self.marks[release]) is None or until > at)

    def copy(self) -> "Account":
        return Account(
            dict(self.marks),
            list(self.own),
            list(self.restarts),
            dict(self.ranks),
            set(self.good),
            self.heard,
            self.halted,
            self.turns,
            self.was_cleared,
        )


class Invariants:
    """Told of every transition and every effect; counts how often each had something to say."""

    def __init__(self, world: World, account: Account, seen: Counter[str]) -> None:
        self.world = world
        self.account = account
        self.seen = seen
        self._rested: tuple[object, ...] = (None,)

    # --- a transition ---------------------------------------------------------------------------------------------

    def edge(self, before: NodeState, event: Event, after: NodeState) -> None:
        """Called once the record lasts."""
        kind = type(event)
        self.seen[_EVENT_NAMES[kind]] += 1
        if (move := after.move) is not None:
            self.seen[_STEP_NAMES[move.kind, move.step]] += 1
        if before.epoch is not after.epoch or kind in _COMMANDS:
            self.i7_epochs_never_go_back(event, before, after)
        if before.active != after.active or before.fallbacks != after.fallbacks:
            self.i6_stages_come_from_bake_windows(event, before, after)
            self.i1_what_is_active_is_whole(after)
            self.i5_nothing_bad_becomes_active(before, after)
        check = _CHECKS.get(kind)
        if check:
            check(self, before, event, after)
        self.i2_a_way_back_stays(after)
        self.r12_a_move_is_not_endless(event, before, after)

    def i1_what_is_active_is_whole(self, after: NodeState) -> None:
        if after.active:
            release, slot = after.active.release, after.active.slot
            hold(release in self.world.has, f"I1: {release} is active and not on the disk")
            hold(after.release_in(slot) == release, f"I1: slot {slot} does not hold the active release")

    def i2_a_way_back_stays(self, after: NodeState) -> None:
        """What was good past its bake window and left without fault can be gone back to."""
        good = self.account.good
        if not good:
            return
        kept = {one.release for one in after.fallbacks}
        if after.active:
            kept.add(after.active.release)
        hold(good <= kept, f"I2: {sorted(good - kept)} was good here and is no way back any more")

    def i4_the_budget_holds(self, before: NodeState, event: Rollback, after: NodeState) -> None:
        own = self.account.own
        recent = sum(abs(event.at - at) < DAY for at in own)
        hold(recent < POLICY.rollbacks_per_day, f"I4: dsops rolled back {recent + 1} times within a day")
        hold(not self.account.halted, "I4: dsops rolled back by itself on a halted node")
        own.append(event.at)
        self.seen["case I4 own rollback"] += 1
        if recent:
            self.seen["case I4 last of the budget"] += 1

    def i5_nothing_bad_becomes_active(self, before: NodeState, after: NodeState) -> None:
        if after.active and (before.active is None or before.active.release != after.active.release):
            release = after.active.release
            lasting = release in self.account.marks and self.account.marks[release] is None
            hold(not lasting, f"I5: {release} is bad here for good, and became active")

    def i5_nothing_bad_is_brought_in(self, release: str, at: float) -> None:
        hold(not self.account.find_mark(release, at), f"I5: {release} is marked bad, and is brought in")
        if release in self.account.marks:
            self.seen["case I5 a mark that ended"] += 1

    def i6_stages_come_from_bake_windows(self, event: Event, before: NodeState, after: NodeState) -> None:
        """A stage is gained by age alone, one at a time, and never by coming or going."""
        ranks, active, was = self.account.ranks, after.active, before.active
        if type(event) is Aged and active and was:
            gained = RANK[active.stage] - RANK[was.stage]
            need = (POLICY.bake_seconds, POLICY.known_good_seconds)[min(RANK[was.stage], 1)]
            hold(gained in (0, 1), "I6: a stage was skipped")
            hold(not gained or event.at - active.since >= need, "I6: a stage was gained too early")
            if gained:
                ranks[active.release] = RANK[active.stage]
                if not self.account.find_mark(active.release, event.at):
                    self.account.good.add(active.release)
                self.seen[f"case I6 {active.stage.value}"] += 1
        kept = (*after.fallbacks, *((active,) if active else ()))
        if was and all(one.release != was.release for one in kept):
            ranks.pop(was.release, None)
        for one in kept:
            hold(
                RANK[one.stage] <= ranks.get(one.release, 0), f"I6: {one.release} is {one.stage} without a bake window"
            )

    def i7_epochs_never_go_back(self, event: Event, before: NodeState, after: NodeState) -> None:
        """Against what was heard, not against what the node remembers of it."""
        heard, epoch = self.account.heard, getattr(event, "epoch", None)
        if type(event) is Adopt:
            self.account.heard = event.epoch
        elif epoch is not None:
            hold(epoch.number >= heard.number, f"I7: epoch {epoch.number} was obeyed after {heard.number}")
            foreign = epoch.number == heard.number and epoch.holder != heard.holder
            hold(not foreign, f"I7: epoch {epoch.number} has two holders")
            hold(epoch.number <= heard.number + 1000, f"I7: epoch {epoch.number} jumps from {heard.number}")
            self.account.heard = epoch
            self.seen["case I7 a fleet command"] += 1
        hold(after.epoch == self.account.heard, "I7: the node forgot an epoch")

    def r12_a_move_is_not_endless(self, event: Event, before: NodeState, after: NodeState) -> None:
        """Every record that a move wrote counts, also those of a helper that died; a little room to end it."""
        was, move, account = before.move, after.move, self.account
        account.turns += was is not None and was is not move
        hold(account.turns <= TURNS + 4, "R12: a move does not come to an end")
        if after.halted and not account.halted:
            hold(
                account.turns >= TURNS or account.was_cleared, f"R12: a move is given up after {account.turns} records"
            )
            account.halted = True
            self.seen["case R12 a move is given up"] += 1
        if was is None or move is None or (was.began, was.kind, was.release) != (move.began, move.kind, move.release):
            account.turns, account.was_cleared = 0, False

    # --- single events ----------------------------------------------------------------------------------------------

    def _activate(self, before: NodeState, event: Activate, after: NodeState) -> None:
        hold(before.move is None, "I1: two moves at once")
        assert after.move
        hold(not self.account.halted, "I9: a halted node goes forward")
        hold(before.active is None or before.active.slot != after.move.slot, "I3: the active slot is overwritten")
        self.i5_nothing_bad_is_brought_in(event.release, event.at)
        self.account.marks.pop(event.release, None)

    def _roll_back(self, before: NodeState, event: Rollback, after: NodeState) -> None:
        was, move, active = before.move, after.move, before.active
        assert move
        is_called_off = was is not None and (bool(move.refuted) or (active and move.release == active.release))
        if is_called_off:
            self._call_off(before, event, after)
            return
        assert active
        hold(move.release != active.release, "R10: a rollback to what it leaves")
        self.i5_nothing_bad_is_brought_in(move.release, event.at)
        self.account.marks.pop(move.release, None)
        hold(move.release not in event.missing, "R10: a rollback to what is not there")
        if event.own:
            self.i4_the_budget_holds(before, event, after)
        self._mark(active.release, event, after)
        self.seen["case warm rollback" if move.step is Step.SWITCH else "case cold rollback"] += 1

    def _call_off(self, before: NodeState, event: Rollback | Refuted, after: NodeState) -> None:
        """An activation ends; the active release stays, and only what came is marked."""
        was, move = before.move, after.move
        assert was
        assert move
        hold(before.active == after.active, "R10: an activation was called off, and the active release went")
        self._mark(was.release, event, after)
        self.seen["case an activation called off"] += 1
        if was.step is Step.CANARY:
            hold(move.step is Step.RETURN, "canary: the lanes go back before anything stops")
            hold(before.rollbacks == after.rollbacks, "canary: its return counts as a rollback")
            self.seen["case a canary returned"] += 1
        elif was.alone:
            assert before.active
            hold(move.release == before.active.release, "alone: the active release does not start again")
            self.seen["case alone and back again"] += 1

    def _mark(self, release: str, event: Rollback | Refuted, after: NodeState) -> None:
        """I5: whoever was refused is marked, and a lasting mark stays one."""
        marks = self.account.marks
        for ended in [one for one, until in marks.items() if until is not None and until <= event.at]:
            del marks[ended]
        was_lasting = self.account.find_mark(release, event.at) and marks[release] is None
        marks[release] = None if event.lasting or was_lasting else event.at + POLICY.bad_seconds
        bad = after.find_bad(release, at=event.at)
        hold(bad is not None and bad.until == marks[release], f"I5: {release} failed and is not marked so")
        self.account.good.discard(release)

    def _prove(self, before: NodeState, event: Proven, after: NodeState) -> None:
        assert before.move
        self.world.take_proof(before.move.slot)

    def _refute(self, before: NodeState, event: Refuted, after: NodeState) -> None:
        was = before.move
        assert was
        if was.kind is Kind.ACTIVATE:
            self._call_off(before, event, after)
            return
        hold(after.halted, "R10: a rollback failed and the node is not halted")
        self.account.halted = True
        self.seen["case a rollback that failed halts"] += 1
        if before.active is None or before.active.release != was.release:
            self._mark(was.release, event, after)

    def _unmark(self, before: NodeState, event: Unmark, after: NodeState) -> None:
        self.account.marks.pop(event.release, None)
        hold(after.find_bad(event.release, at=0.0) is None, "I5: an unmark does nothing")

    def _confirm(self, before: NodeState, event: Confirm, after: NodeState) -> None:
        self.account.marks[event.release] = None

    def _forget(self, before: NodeState, event: Forget, after: NodeState) -> None:
        """I13: nothing that is referenced leaves the disk."""
        release, state = event.release, before
        used = {held.release for held in state.slots} | {one.release for one in (state.active, state.move) if one}
        hold(release not in used, f"I13: {release} is in use, and is removed")
        kept = [one.release for one in (*after.fallbacks, *((after.active,) if after.active else ()))]
        usable = [one for one in kept if one in self.world.has and not self.account.find_mark(one, event.at)]
        is_last = all(self.account.ranks.get(one, 0) < RANK[Stage.BAKED] for one in usable)
        good = self.account.good
        hold(release not in good or not is_last, f"I2: {release} was the last good one, and is removed")
        good.discard(release)
        self.account.ranks.pop(release, None)
        self.seen["case I13 a release removed"] += 1

    def _cool(self, before: NodeState, event: Cool, after: NodeState) -> None:
        used = {held.release for held in before.slots} | {one.release for one in (before.active, before.move) if one}
        hold(event.release not in used, f"I13: {event.release} is in use, and leaves the hot tier")
        hold(event.release not in find_hot(before, at=event.at), f"I13: {event.release} must be quick, and gets cold")
        hold(after == before, "I13: leaving the hot tier changes what the node remembers")

    def _halt(self, before: NodeState, event: Halt, after: NodeState) -> None:
        self.account.halted = True

    def _clear(self, before: NodeState, event: Clear, after: NodeState) -> None:
        self.account.halted = False
        if after.active:
            # What could not be proven when it was to come back: whoever clears takes it as it is.
            self.world.slots[after.active.slot].is_proven = True
        self.account.own.clear()
        self.account.restarts.clear()
        self.account.turns, self.account.was_cleared = 0, True

    def _restart(self, before: NodeState, event: Restarted, after: NodeState) -> None:
        recent = sum(abs(event.at - at) < HOUR for at in self.account.restarts)
        hold(recent < POLICY.restarts_per_hour, f"I4: dsops restarted {recent + 1} times within an hour")
        hold(not self.account.halted, "I4: dsops restarted by itself on a halted node")
        self.account.restarts.append(event.at)
        self.seen["case I4 own restart"] += 1

    # --- a refusal ----------------------------------------------------------------------------------------------------

    def i9_a_halt_never_blocks_a_persons_rollback(self, state: NodeState, event: Rollback) -> None:
        """Called when one was refused."""
        if not state.halted:
            return
        self.seen["case I9 a rollback refused while halted"] += 1
        try:
            step(replace(state, halted=""), event, POLICY)
        except DsopsError:
            return
        hold(False, "I9: a person's rollback is refused because of a halt")

    # --- an effect ----------------------------------------------------------------------------------------------------

    def effect(self, effect: Effect) -> None:
        """Called after each."""
        world = self.world
        self.seen[_EFFECT_NAMES[type(effect)]] += 1
        if world.tampered:
            return
        if type(effect) is Lanes:
            self.i3_no_lane_leads_to_what_is_not_proven()
            return
        move = world.state.move
        if effect.slot in world.lanes and not (move and getattr(move, "alone", False)):
            hold(False, f"I3: slot {effect.slot} has traffic, and {type(effect).__name__} touches it")

    def i3_no_lane_leads_to_what_is_not_proven(self) -> None:
        """In this life of its slot. Lanes that stay as they were are not turned to anything."""
        world = self.world
        for was, slot in zip(world.turned_from, world.lanes, strict=True):
            if slot not in ("", was):
                hold(world.slots[slot].is_proven, f"I3: a lane leads to slot {slot}, whose release is not proven")

    # --- at rest ------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """After every event that left no effect undone."""
        world = self.world
        state = world.state
        move = state.move
        now = (state, world.lanes, world.links["a"], world.links["b"])
        if now[0] is self._rested[0] and now[1:] == self._rested[1:]:
            return
        self._rested = now
        if world.tampered or (move and move.step not in WAITS):
            return
        hold(world.lanes == find_aim(state), f"I3: the lanes lead to {world.lanes}, the state says otherwise")
        if move and move.step is Step.CANARY:
            share = sum(percent for percent, slot in zip(PERCENTS, world.lanes, strict=True) if slot == move.slot)
            hold(share == move.share, f"canary: {share} % of the traffic go to it instead of {move.share} %")
        for slot in {state.warm, *(one.slot for one in (state.active, move) if one)} - {""}:
            release = state.release_in(slot)
            hold(world.links[slot] == release, f"I1: slot {slot} holds something else")
            hold(not release or release in world.has, f"I13: slot {slot} leads to nothing")
        hold(self.account.halted == bool(state.halted), "I9: halted is forgotten, or invented")

    # --- the agent's own judgement ----------------------------------------------------------------------------------

    def i14_unknown_never_acts(self, verdict: Verdict, acts: bool, *, is_ill: bool) -> None:
        """acts: whether dsops restarts, goes back or halts now. is_ill: whether the engine really serves nobody."""
        hold(verdict is Verdict.BAD or not acts, f"I14: dsops acts upon {verdict}")
        hold(is_ill or not acts, "I14: dsops acts upon an engine that is well")
        self.seen[f"case I14 {verdict.value}"] += 1


_COMMANDS = {Activate, Widen, Rollback, Take, Adopt}
_EVENT_NAMES = {
    kind: f"event {kind.__name__}"
    for kind in (
        Activate,
        Adopt,
        Aged,
        Clear,
        Confirm,
        Cool,
        Done,
        Failed,
        Forget,
        Halt,
        Proven,
        Refuted,
        Restarted,
        Resumed,
        Rollback,
        Take,
        Unmark,
        Widen,
    )
}
_STEP_NAMES = {(kind, one): f"state {kind.value} {one.value}" for kind in Kind for one in Step}
_EFFECT_NAMES = {kind: f"effect {kind.__name__}" for kind in Effect.__args__}
_CHECKS: dict[type, Callable[..., None]] = {
    Activate: Invariants._activate,
    Rollback: Invariants._roll_back,
    Proven: Invariants._prove,
    Refuted: Invariants._refute,
    Unmark: Invariants._unmark,
    Confirm: Invariants._confirm,
    Forget: Invariants._forget,
    Cool: Invariants._cool,
    Halt: Invariants._halt,
    Clear: Invariants._clear,
    Restarted: Invariants._restart,
}
