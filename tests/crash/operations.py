"""Everything that the store can be asked for, each on a node that is ready for it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.events import Adopt, Clear, Confirm, Halt, Proven, Refuted, Unmark, Widen
from dsops.core.state import Epoch, Kind, Stage, Step

from tests.crash.acts import (
    Act,
    Holds,
    Kit,
    TrustingSystemd,
    activate,
    admit,
    adopt,
    bake,
    begin,
    both,
    bring,
    clean,
    cool,
    cut_journal,
    fill_ring,
    going_back,
    happen,
    has_begun,
    has_half,
    has_known,
    has_left,
    has_noted,
    has_passport,
    has_weights,
    heat,
    hurt,
    is_clean,
    is_cold,
    is_hot,
    is_stage,
    keep,
    keep_all,
    keep_good,
    lay_tree,
    leave_rests,
    lose_journal,
    no,
    note_four,
    of,
    on,
    prove,
    push,
    receive_all,
    receive_altered,
    receive_half,
    receive_weights,
    remove,
    ripen,
    roll_back,
    serves,
    spoil_journal,
    state_of,
    waits,
)
from tests.crash.recorder import make_real, read_image
from tests.node.store.bed import Bed, make_cold, make_root


@dataclass(frozen=True)
class Operation:
    """act: what is cut, on a node on which all of `before` has lasted. done: what holds once it came back, for good.

    The node that it starts from has served `old` and serves `good`, both known good. is_bare: it has nothing yet.
    has_cold: it has a cold tier. hurts: releases that are not whole before. loses: the journal is not there.
    repeats: is asked again whatever is there.
    """

    name: str
    act: Act
    done: Holds
    before: tuple[Act, ...] = ()
    is_bare: bool = False
    has_cold: bool = False
    hurts: tuple[str, ...] = ()
    loses: bool = False
    repeats: bool = False


PUSH, ACTIVATE, PROVE = of(push, "new"), of(activate, "new"), of(prove, "new")
SERVE = (PUSH, ACTIVATE, PROVE)


def refute(bed: Bed, kit: Kit) -> None:
    happen(bed, Refuted(bed.at, "wrong", lasting=True, release=kit.new.id))


def mark(bed: Bed, kit: Kit) -> bool:
    return state_of(bed).find_bad(kit.new.id, at=bed.at) is not None


def _find_words(bed: Bed, kit: Kit) -> bool:
    state = state_of(bed)
    return state.epoch.number == 7 and not state.halted and not state.bad


def do_marks(bed: Bed, kit: Kit) -> None:
    """Everything that changes words of the state and no link."""
    happen(bed, Halt("enough"))
    happen(bed, Clear())
    if mark(bed, kit):
        happen(bed, Confirm(kit.new.id))
        happen(bed, Unmark(kit.new.id))
    happen(bed, Adopt(Epoch(7, "control")))


def find_operations() -> tuple[Operation, ...]:
    """All of them."""
    admitted, pushed = both(is_hot("new"), has_passport), of(receive_all, "new")
    return (
        Operation("begin", begin, has_begun, is_bare=True),
        Operation("begin from the links", begin, has_begun, (lose_journal,), loses=True),
        Operation("make a journal of the right size", begin, has_begun, (cut_journal,)),
        Operation("put a spoilt journal aside", begin, has_begun, (spoil_journal,), loses=True),
        Operation("wrap the ring around", note_four, has_noted, (fill_ring,)),
        Operation("receive a blob", receive_weights, has_weights, repeats=True),
        Operation("receive half a blob", receive_half, has_half),
        Operation("receive the rest", receive_weights, has_weights, (receive_half,), repeats=True),
        Operation("receive altered bytes", receive_altered, no(has_weights)),
        Operation("admit a release", admit, admitted, (pushed,), repeats=True),
        Operation("admit one again", admit, admitted, (PUSH, hurt), hurts=("new",), repeats=True),
        Operation("adopt and admit a tree", adopt, is_hot("new"), (lay_tree,)),
        Operation("activate", ACTIVATE, waits, (PUSH,)),
        Operation("prove and switch", PROVE, serves("new"), (PUSH, ACTIVATE)),
        Operation("refute", refute, both(serves("good"), mark), (PUSH, ACTIVATE)),
        Operation("age and tidy", bake, is_stage(Stage.BAKED), SERVE),
        Operation("become known good", ripen, is_stage(Stage.KNOWN_GOOD), (*SERVE, bake)),
        Operation("roll back", lambda bed, kit: roll_back(bed, is_warm=True), has_left, SERVE),
        Operation("roll back and load", lambda bed, kit: roll_back(bed, is_warm=False), going_back, SERVE),
        Operation("mark and unmark", do_marks, _find_words, (PUSH, ACTIVATE, refute)),
        Operation("remove", of(remove, "new"), no(is_hot("new")), (PUSH,)),
        Operation("clean staging", clean, is_clean, (leave_rests,)),
        *_find_canary(),
        *_find_cold(),
    )


def _find_canary() -> tuple[Operation, ...]:
    """Shares of the traffic, and a release that must come alone."""

    def alone(bed: Bed, kit: Kit) -> None:
        activate(bed, kit.new, alone=True)

    def start(bed: Bed, kit: Kit) -> None:
        activate(bed, kit.new, share=1)

    def share(number: int) -> Act:
        return on(lambda bed, kit: Widen(kit.new.id, number, bed.at, "kim", "wider"))

    def has_share(number: int) -> Holds:
        def holds(bed: Bed, kit: Kit) -> bool:
            move = state_of(bed).move
            return move is not None and move.release == kit.new.id and move.share == number and move.step is Step.CANARY

        return holds

    def give_back(bed: Bed, kit: Kit) -> None:
        roll_back(bed, is_warm=False)

    return (
        Operation("prove a canary", PROVE, has_share(1), (PUSH, start)),
        Operation("widen", share(25), has_share(25), (PUSH, start, PROVE)),
        Operation("widen to all", share(100), serves("new"), (PUSH, start, PROVE, share(25))),
        Operation("return", give_back, has_left, (PUSH, start, PROVE, share(25))),
        Operation("activate alone", alone, waits, (PUSH,)),
        Operation("prove alone", PROVE, serves("new"), (PUSH, alone)),
        Operation("refute alone", refute, mark, (PUSH, alone)),
    )


def _find_cold() -> tuple[Operation, ...]:
    kept = both(is_hot("old"), is_cold("old"))
    return (
        Operation("open the cold tier", keep_good, has_known, has_cold=True),
        Operation("keep cold", of(keep, "old"), kept, has_cold=True),
        Operation("cool", of(cool, "new"), both(is_cold("new"), no(is_hot("new"))), (PUSH,), has_cold=True),
        Operation("heat", of(heat, "new"), both(is_cold("new"), is_hot("new")), (PUSH, of(cool, "new")), has_cold=True),
        Operation("keep the tiers", keep_all, both(is_cold("old"), is_cold("good")), has_cold=True),
    )


# --- nodes to do them on -------------------------------------------------------------------------------------


@dataclass
class Ground:
    """Nodes as operations find them; each is made once and copied."""

    folder: Path
    kit: Kit
    known: dict[str, Bed] = field(default_factory=dict)

    def get(self, operation: Operation) -> Bed:
        """A node of its own, below a folder of its own."""
        if operation.name not in self.known:
            bed = self._copy(self._get_base(operation), f"{operation.name} (before)".replace(" ", "-"))
            for act in operation.before:
                act(bed, self.kit)
            self.known[operation.name] = bed
        return self._copy(self.known[operation.name], operation.name.replace(" ", "-"))

    def _get_base(self, operation: Operation) -> Bed:
        name = f"bare {operation.is_bare} cold {operation.has_cold}"
        if name not in self.known:
            top = self.folder / name.replace(" ", "-")
            bed = Bed(make_root(top / "hot"), self.kit.signer, systemd=TrustingSystemd())
            if operation.has_cold:
                bed.settings |= make_cold(top / "cold")
            if not operation.is_bare:
                begin(bed, self.kit)
                bring(bed, self.kit.old)
                bring(bed, self.kit.good)
            self.known[name] = bed
        return self.known[name]

    def _copy(self, bed: Bed, name: str) -> Bed:
        top = self.folder / name
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
        make_real(read_image(bed.root.parent), top)
        return move_bed(bed, top)


def move_bed(bed: Bed, top: Path) -> Bed:
    """The same node, as it lies below another folder, after its power came back."""
    settings = bed.settings | ({"cold": str(top / "cold")} if "cold" in bed.settings else {})
    systemd = TrustingSystemd(since=dict(bed.systemd.since), enabled=set(bed.systemd.enabled))
    return Bed(top / "hot", bed.signer, systemd=systemd, at=bed.at, settings=settings)


def settle(bed: Bed) -> None:
    """What could not come alone goes back to what was: that is proven first."""
    move = state_of(bed).move
    if move and move.kind is Kind.ROLLBACK and move.step is Step.PROVE:
        happen(bed, Proven(bed.at))


def try_again(operation: Operation, bed: Bed, kit: Kit) -> bool:
    """As whoever asked asks again, unless it happened; whether it was asked again."""
    acted = operation.repeats or not operation.done(bed, kit)
    if acted:
        settle(bed)
        operation.act(bed, kit)
    if not operation.done(bed, kit):
        raise DsopsError(f"{operation.name}: asked again, and it is still not done")
    return acted
