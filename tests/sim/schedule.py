"""What happens to a node in one schedule: who asks what, what breaks, and what the agent does about it."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from random import Random

from dsops.core.errors import DsopsError
from dsops.core.events import (
    Activate,
    Adopt,
    Clear,
    Confirm,
    Cool,
    Event,
    Forget,
    Halt,
    Proven,
    Refuted,
    Restarted,
    Rollback,
    Unmark,
    Widen,
)
from dsops.core.lanes import SHARES
from dsops.core.node import find_target, pending_effects
from dsops.core.remedy import Action
from dsops.core.state import Epoch, Move, NodeState, Stage, Step
from dsops.core.status import Verdict
from dsops.node.agent.driver import find_next_age

from tests.sim.invariants import DAY, HOUR, Account, Invariants, hold
from tests.sim.judge import BROKEN_GPU, judge, judge_well
from tests.sim.runner import Lean, Real
from tests.sim.world import LOAD_SECONDS, POLICY, RELEASES, Cut, Message, Triton, World, do_nothing

QUIET_SECONDS = 600.0
NATURES = ("", "", "", "", "", "", "wrong", "hung", "stuck", "dead")
ACTS = (Action.RESTART, Action.ROLLBACK, Action.HALT_AND_PAGE)
SPANS = (1.0, 5.0, 20.0, 70.0, 600.0, 1801.0, 3600.0, 86401.0)

# What the judgement on an engine that answers right is, whatever else is so.
WELL = (judge_well(), Action.NONE, False)


class Play:
    """One node, one schedule. `say` hears each event in words, for a replay."""

    def __init__(self, world: World, account: Account, seen: Counter[str], *, is_real: bool = False) -> None:
        self.world = world
        self.seen = seen
        self.random = world.random.random
        self.is_quiet = self.was_cut = False
        self.invariants = Invariants(world, account, seen)
        self.helper: Lean | Real = Real(world) if is_real else Lean(world, self.invariants.edge)
        self.rest = do_nothing if is_real else self.invariants.rest
        if not is_real:
            world.check = self.invariants.effect

    def run(self, events: int) -> None:
        """So many events."""
        random, world = self.random, self.world
        for _ in range(events):
            happen = TABLE[int(random() * len(TABLE))]
            self.seen[happen.__name__] += 1
            world.say(happen.__name__)
            happen(self)
            self.rest()

    def reseed(self, random: Random) -> None:
        """The same node goes its own way."""
        self.world.random, self.random = random, random.random

    def go_on(self, random: Random, seen: Counter[str]) -> "Play":
        """Another node that lived through the same and now goes its own way."""
        return Play(self.world.copy(random), self.invariants.account.copy(), seen)

    def pick(self, *these: object) -> object:
        """One of these."""
        return these[int(self.random() * len(these))]

    def release(self) -> str:
        return RELEASES[int(self.random() * len(RELEASES))]

    def new_release(self) -> str:
        """Mostly one that may come in."""
        state = self.world.state
        release = self.release()
        out = state.active is not None and state.active.release == release
        return self.release() if out or any(bad.release == release for bad in state.bad) else release

    # --- asking the helper ------------------------------------------------------------------------------------------

    def ask(self, message: Message) -> bool:
        """Whether it was done. A kill or a power cut in the middle is recovered from, now or later."""
        world = self.world
        world.proof = message.life
        world.ticks += 0.001
        self.was_cut = False
        try:
            self.helper.act(lambda state: message.make(world, state), epoch=message.epoch)
        except DsopsError as error:
            world.say("  refused", message.name, error.what)
            return False
        except Cut:
            self.was_cut = True
            self.begin_anew()
            return False
        world.say("  done", message.name)
        return True

    def begin_anew(self) -> None:
        """After a cut: the helper is asked to recover, perhaps cut once more while it does."""
        world = self.world
        self.seen["fault power cut in a move" if world.power else "fault kill in a move"] += 1
        world.say("  cut", "power" if world.power else "kill")
        if world.power:
            world.reboot()
        if self.random() < 0.3:
            world.fuse, world.power = int(self.random() * 6), self.random() < 0.5
            self.seen["fault cut in a recovery"] += 1
        else:
            world.fuse = -1
        if self.random() < 0.7:
            self.recover()

    def recover(self) -> None:
        """I11: what was recovered is recovered, and a second time changes nothing."""
        world = self.world
        try:
            self.helper.recover()
        except DsopsError as error:
            world.say("  not recovered", error.what)
            return
        except Cut:
            self.begin_anew()
            return
        if world.fuse >= 0 or pending_effects(world.state):
            return
        before = world.snapshot()
        self.helper.recover()
        hold(before == world.snapshot(), "I11: a second recovery changes something")
        self.seen["case I11 recovered twice"] += 1

    # --- the agent --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """One round of the agent: it drives the move on, and judges what has traffic."""
        world = self.world
        if world.stopped:
            self.seen["case the agent is stopped"] += 1
            return
        state = world.state
        move = state.move
        if move is not None:
            if move.step is Step.PROVE:
                self.prove(move)
            elif move.step is Step.CANARY:
                self.watch_canary(move)
            else:
                self.recover()
        if world.state.active is not None:
            self.watch_active()

    def prove(self, move: Move) -> None:
        world = self.world
        one = world.slots[move.slot]
        life, reason, lasting = one.life, "", False
        if not one.runs or world.ticks < one.loaded or one.ill == "dead":
            if world.ticks - one.started <= LOAD_SECONDS:
                return
            reason = "it does not load"
        elif one.ill in ("wrong", "hung"):
            reason, lasting = one.ill, one.ill == "wrong"
        release, began = move.release, move.began
        if reason:
            message = Message("refuted", lambda world, _: Refuted(world.now, reason, lasting, release, began))
        else:
            message = Message("proven", lambda world, _: Proven(world.now, release, began), life=life)
        if self.random() < 0.03 and not self.is_quiet:
            world.stopped = True
            world.late.append(message)
            self.seen["fault agent stopped before it sends"] += 1
            return
        self.ask(message)

    def judge(self, one: Triton) -> tuple[Verdict, Action, bool]:
        """(verdict, what to do, whether its mark would last) about what runs in a slot."""
        world = self.world
        state, now = world.state, world.now
        ill = one.ill if one.runs else "dead"
        if one.runs and world.ticks < one.loaded:
            ill = "loading" if world.ticks - one.started <= LOAD_SECONDS else "dead"
        active = state.active
        release, at = world.restarted
        target = find_target_or_none(state, now, world.find_missing())
        verdict, remedy = judge(
            ill,
            baking=active is not None and active.stage is Stage.BAKING,
            restarted=active is not None and release == active.release and 0 <= now - at <= HOUR,
            target=target,
            rollbacks_left=POLICY.rollbacks_per_day - sum(abs(now - t) < DAY for t in state.rollbacks),
            restarts_left=POLICY.restarts_per_hour - sum(abs(now - t) < HOUR for t in state.restarts),
            halted=state.halted and "halted",
            moving=state.move.kind.value if state.move and state.move.step is not Step.CANARY else "",
            findings=(BROKEN_GPU,) if world.bad_gpu else (),
        )
        return verdict, remedy.action, remedy.lasting

    def watch_active(self) -> None:
        world = self.world
        active = world.state.active
        assert active
        one = world.slots[active.slot]
        is_fine = one.runs and not one.ill and world.ticks >= one.loaded
        verdict, action, lasting = WELL if is_fine else self.judge(one)
        acts = action in ACTS
        self.invariants.i14_unknown_never_acts(verdict, acts, is_ill=not world.is_well(active.slot))
        if not acts:
            if verdict is not Verdict.BAD and world.state.move is None:
                due = find_next_age(world.state, POLICY)
                if due is not None and world.now - active.since >= due:
                    self.age()
            return
        self.seen[f"case agent {action.value}"] += 1
        if action is Action.ROLLBACK:
            hold(not world.bad_gpu, "D4: a broken GPU rolls a release back")
            self.roll_back(own=True, lasting=lasting)
        elif action is Action.RESTART:
            world.restarted = (active.release, world.now)
            if self.ask(Message("own restart", lambda world, _: Restarted(world.now))):
                world.start(active.slot)
        else:
            self.ask(Message("own halt", lambda world, _: Halt("nothing helps")))

    def age(self) -> None:
        try:
            self.helper.age()
        except DsopsError:
            return
        except Cut:
            self.begin_anew()

    def watch_canary(self, move: Move) -> None:
        """Three BAD on the canary: it goes, and only it."""
        world = self.world
        if world.is_well(move.slot) or world.bad_gpu:
            return
        self.seen["case agent refutes a canary"] += 1
        if self.random() < 0.5:
            self.roll_back(own=True, lasting=True)
            return
        release = move.release
        self.ask(Message("refuted canary", lambda world, _: Refuted(world.now, "three BAD", True, release, move.began)))

    def roll_back(self, *, own: bool, lasting: bool, to: str = "") -> None:
        """As the helper's verb: it finds what is warm, and what is not there any more."""
        world = self.world
        asked: list[Rollback] = []
        state = world.state
        done = self.ask(self.build_rollback(own=own, lasting=lasting, to=to, asked=asked))
        is_ill = self.was_cut or world.broken_journal or world.bad_links or world.refuses
        if not done and asked and not own and not is_ill and world.state == state:
            self.invariants.i9_a_halt_never_blocks_a_persons_rollback(state, asked[0])

    def build_rollback(
        self,
        *,
        own: bool,
        lasting: bool,
        to: str = "",
        epoch: Epoch | None = None,
        asked: list[Rollback] | None = None,
    ) -> Message:
        """asked: gets the event that the helper makes of it."""

        def make(world: World, state: NodeState) -> Event:
            missing = world.find_missing()
            warm = world.find_warm(find_target_or_none(state, world.now, missing, to))
            event = Rollback(world.now, "kim", "x", own, lasting, warm, to, epoch, missing)
            if asked is not None:
                asked.append(event)
            return event

        return Message(f"rollback own {own} to {to or '-'} {epoch}", make, epoch)

    # --- at the end -------------------------------------------------------------------------------------------------

    def i12_it_comes_to_rest(self) -> None:
        """With faults off: within ten minutes something proven serves, or the node is halted, or empty."""
        world = self.world
        calm(self)
        self.is_quiet = True
        world.fuse, world.late = -1, []
        world.say("faults off")
        end = world.ticks + QUIET_SECONDS
        while world.ticks <= end:
            self.look()
            self.rest()
            if self.is_at_rest():
                self.seen["case I12 at rest"] += 1
                self.seen["case I12 halted" if world.state.halted else "case I12 serves or is empty"] += 1
                return
            world.ticks += 10.0
        hold(False, f"I12: after 10 minutes without faults {world.state}")

    def is_at_rest(self) -> bool:
        world, state = self.world, self.world.state
        move = state.move
        if move and not (move.step is Step.CANARY and world.is_well(move.slot)):
            return False
        return bool(state.halted) or state.active is None or world.is_well(state.active.slot)


@lru_cache(maxsize=1024)
def find_target_or_none(state: NodeState, at: float, missing: tuple[str, ...], to: str = "") -> str:
    """Where a rollback would lead, "" when nowhere."""
    try:
        return find_target(state, at=at, to=to, missing=missing)
    except DsopsError:
        return ""


# --- what may happen -------------------------------------------------------------------------------------------------


def agent_looks(play: Play) -> None:
    play.world.ticks += 6.0
    play.look()


def agent_looks_for_a_while(play: Play) -> None:
    """Long enough for a release to load and to be proven."""
    for _ in range(3):
        play.world.ticks += 6.0
        play.look()


def time_passes(play: Play) -> None:
    span = SPANS[int(play.random() * len(SPANS))]
    play.world.ticks += span
    play.world.say("  seconds", span)


def person_activates(play: Play) -> None:
    activate(play, play.new_release(), share=100)


def person_starts_a_canary(play: Play) -> None:
    activate(play, play.new_release(), share=SHARES[int(play.random() * 4)])


def person_activates_alone(play: Play) -> None:
    activate(play, play.new_release(), share=100, alone=True)


def activate(play: Play, release: str, *, share: int, alone: bool = False, epoch: Epoch | None = None) -> None:
    play.ask(build_activate(release, share=share, alone=alone, epoch=epoch))


def build_activate(release: str, *, share: int, alone: bool, epoch: Epoch | None) -> Message:
    def make(world: World, state: NodeState) -> Event:
        if release not in world.has:
            raise DsopsError("is not here")
        return Activate(release, world.now, "kim", "new", epoch, share, alone)

    return Message(f"activate {release} share {share} alone {alone} {epoch}", make, epoch)


def person_widens(play: Play) -> None:
    play.ask(build_widen(play, epoch=None))


def build_widen(play: Play, *, epoch: Epoch | None) -> Message:
    world = play.world
    move = world.state.move
    release = move.release if move and play.random() < 0.9 else play.release()
    share = SHARES[int(play.random() * 5)]
    return Message(
        f"widen {release} {share} {epoch}",
        lambda world, _: Widen(release, share, world.now, "kim", "x", epoch),
        epoch,
    )


def person_rolls_back(play: Play) -> None:
    play.roll_back(own=False, lasting=play.random() < 0.3)


def person_rolls_back_to(play: Play) -> None:
    play.roll_back(own=False, lasting=play.random() < 0.3, to=play.release())


def person_unmarks(play: Play) -> None:
    marked = play.world.state.bad
    release = marked[int(play.random() * len(marked))].release if marked else play.release()
    play.ask(Message(f"unmark {release}", lambda world, _: Unmark(release)))


def person_confirms(play: Play) -> None:
    marked = play.world.state.bad
    release = marked[int(play.random() * len(marked))].release if marked else play.release()
    play.ask(Message(f"confirm {release}", lambda world, _: Confirm(release)))


def person_forgets(play: Play) -> None:
    release, world = play.release(), play.world

    def make(world: World, _: NodeState) -> Event:
        return Forget(release, world.now, world.find_missing())

    if release in world.has and play.ask(Message(f"forget {release}", make)):
        world.has.discard(release)


def tiers_cool(play: Play) -> None:
    release = play.release()
    play.ask(Message(f"cool {release}", lambda world, _: Cool(release, world.now)))


def person_pushes(play: Play) -> None:
    play.world.has.update(RELEASES)


def person_halts(play: Play) -> None:
    play.ask(Message("halt", lambda world, _: Halt("a person says so")))


def person_clears(play: Play) -> None:
    play.ask(Message("clear", lambda world, _: Clear()))


def person_adopts(play: Play) -> None:
    world = play.world
    holder = "east" if play.random() < 0.5 else "west"
    epoch = Epoch(world.fleet[holder], holder)
    play.ask(Message(f"adopt {epoch}", lambda world, _: Adopt(epoch)))


def person_restarts_the_slot(play: Play) -> None:
    world = play.world
    if world.state.active:
        world.start(world.state.active.slot)


# --- an agent that lies: the helper believes no more of it than it must -----------------------------------------------


def lying_agent_rolls_back(play: Play) -> None:
    """Without any judgement, whatever the budget."""
    play.roll_back(own=True, lasting=play.random() < 0.5)


def lying_agent_restarts(play: Play) -> None:
    world = play.world
    if play.ask(Message("restart of a lying agent", lambda world, _: Restarted(world.now))) and world.state.active:
        world.start(world.state.active.slot)


def lying_agent_ages(play: Play) -> None:
    """Long before it is time."""
    play.age()


# --- controllers, over a network that loses ---------------------------------------------------------------------------


def controller_commands(play: Play) -> None:
    """One of two control hosts, each with epochs of its own; what it says may be lost, late, or come twice."""
    world, random = play.world, play.random
    holder = "east" if random() < 0.7 else "west"
    if random() < 0.3:
        world.fleet[holder] += 1 if random() < 0.95 else 2000
        play.seen["case controller takes an epoch"] += 1
    epoch = Epoch(world.fleet[holder], holder)
    kind = random()
    if kind < (0.1 if world.state.canary else 0.8):
        share = SHARES[int(random() * 5)]
        message = build_activate(play.new_release(), share=share, alone=random() < 0.1, epoch=epoch)
    elif kind < 0.85:
        message = build_widen(play, epoch=epoch)
    else:
        message = play.build_rollback(own=False, lasting=True, epoch=epoch)
    fate = random()
    if fate < 0.08:
        play.seen["fault message lost"] += 1
        return
    if fate < 0.24:
        play.seen["fault message late" if fate < 0.16 else "fault message twice"] += 1
        world.late.append(message)
        if fate < 0.16:
            return
    play.ask(message)


def a_late_message_comes(play: Play) -> None:
    world = play.world
    if world.late and not world.stopped:
        play.seen["case a late message"] += 1
        play.ask(world.late.pop(int(play.random() * len(world.late))))


# --- faults -----------------------------------------------------------------------------------------------------------


def fault_kill_soon(play: Play) -> None:
    """The helper, or the machine, ends at some point of what is done next."""
    world = play.world
    world.fuse, world.power = int(play.random() * 12), False


def fault_power_cut_soon(play: Play) -> None:
    world = play.world
    world.fuse, world.power = int(play.random() * 12), True


def fault_power_cut(play: Play) -> None:
    play.world.reboot()
    play.world.stopped = False


def fault_disk_full(play: Play) -> None:
    play.world.full = True


def fault_journal_refused(play: Play) -> None:
    play.world.broken_journal = True


def fault_links_refused(play: Play) -> None:
    play.world.bad_links = True


def fault_systemd_refuses(play: Play) -> None:
    play.world.refuses = True


def fault_clock_jumps(play: Play) -> None:
    play.world.skew += HOUR if play.random() < 0.5 else -HOUR


def fault_agent_stops(play: Play) -> None:
    play.world.stopped = True


def agent_continues(play: Play) -> None:
    play.world.stopped = False


def fault_gpu_breaks(play: Play) -> None:
    play.world.bad_gpu = True


def fault_engine_hangs(play: Play) -> None:
    make_ill(play, "hung")


def fault_engine_lies(play: Play) -> None:
    make_ill(play, "wrong")


def fault_engine_slow(play: Play) -> None:
    make_ill(play, "slow" if play.random() < 0.5 else "busy")


def fault_engine_dies(play: Play) -> None:
    """systemd starts it afresh."""
    slot = "a" if play.random() < 0.5 else "b"
    if play.world.slots[slot].runs:
        play.world.start(slot)


def fault_engine_dies_again_and_again(play: Play) -> None:
    make_ill(play, "dead")


def make_ill(play: Play, ill: str) -> None:
    """Mostly what has traffic: the canary's slot, where there is one."""
    state = play.world.state
    slot = "a" if play.random() < 0.5 else "b"
    if play.random() < 0.7:
        slot = state.move.slot if state.move else state.active.slot if state.active else slot
    one = play.world.slots[slot]
    if one.runs:
        one.ill = ill


def fault_release_goes_bad(play: Play) -> None:
    """From now on it shows whenever it runs: a fresh start does not help."""
    world = play.world
    active = world.state.active
    release = active.release if active and play.random() < 0.7 else play.release()
    world.natures[release] = str(play.pick("hung", "wrong", "dead"))
    for one in world.slots.values():
        if one.release == release and one.runs:
            one.ill = world.natures[release]


def fault_release_is_mended(play: Play) -> None:
    """What made it ill is gone, such as a file outside of it."""
    play.world.natures[play.release()] = ""


def fault_links_turned_by_hand(play: Play) -> None:
    world = play.world
    if world.state.active is None:
        return
    world.tampered = True
    if play.random() < 0.5:
        world.lanes = (str(play.pick("a", "b", "")), *world.lanes[1:])
    else:
        world.links[str(play.pick("a", "b"))] = play.release()


def fault_files_lost(play: Play) -> None:
    """Of a release that is in no slot."""
    world = play.world
    state, release = world.state, play.release()
    used = {*(held.release for held in state.slots), *(one.release for one in (state.active, state.move) if one)}
    if release not in used and release not in world.links.values():
        world.has.discard(release)
        play.invariants.account.good.discard(release)


def memory_changes(play: Play) -> None:
    play.world.memory = not play.world.memory


def calm(play: Play) -> None:
    """What can be mended is."""
    world = play.world
    world.full = world.bad_gpu = world.bad_links = world.broken_journal = world.refuses = world.stopped = False


WEIGHTS: dict[Callable[[Play], None], int] = {
    agent_looks: 50,
    agent_looks_for_a_while: 30,
    time_passes: 24,
    calm: 16,
    person_activates: 10,
    person_starts_a_canary: 10,
    person_activates_alone: 4,
    person_widens: 14,
    person_rolls_back: 6,
    person_rolls_back_to: 4,
    person_unmarks: 3,
    person_confirms: 2,
    person_forgets: 3,
    tiers_cool: 2,
    person_pushes: 2,
    person_halts: 1,
    person_clears: 5,
    person_adopts: 1,
    person_restarts_the_slot: 2,
    lying_agent_rolls_back: 5,
    lying_agent_restarts: 3,
    lying_agent_ages: 3,
    controller_commands: 24,
    a_late_message_comes: 8,
    fault_kill_soon: 6,
    fault_power_cut_soon: 6,
    fault_power_cut: 2,
    fault_disk_full: 2,
    fault_journal_refused: 2,
    fault_links_refused: 2,
    fault_systemd_refuses: 2,
    fault_clock_jumps: 3,
    fault_agent_stops: 2,
    agent_continues: 3,
    fault_gpu_breaks: 2,
    fault_engine_hangs: 3,
    fault_engine_lies: 3,
    fault_engine_slow: 2,
    fault_engine_dies: 2,
    fault_engine_dies_again_and_again: 2,
    fault_release_goes_bad: 3,
    fault_release_is_mended: 2,
    fault_links_turned_by_hand: 2,
    fault_files_lost: 1,
    memory_changes: 2,
}
TABLE = tuple(happen for happen, weight in WEIGHTS.items() for _ in range(weight))
