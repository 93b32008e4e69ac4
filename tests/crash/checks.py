"""What must hold on a node after a cut: before anything is mended, after recovery, and after asking again."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dsops.core.events import Lanes, Link, Proven, Rollback
from dsops.core.node import pending_effects
from dsops.core.release import release_id
from dsops.core.state import Kind, NodeState
from dsops.node.store.journal import RECORDS, journal_path, scan_journal
from dsops.node.store.releases import Releases

from tests.crash.acts import NOTE, Kit, activate, prove, push, restart, state_of
from tests.crash.operations import Operation, try_again
from tests.crash.recorder import describe, read_image
from tests.node.store.bed import Bed

SEQ = re.compile(rb'\{"seq": (\d+),')


@dataclass(frozen=True)
class Cut:
    """What had happened until the cut. acked: place -> number of the record that lasted there; newest: of them.

    writing: places of records that were being written. returned: whether whoever asked has heard that it is done.
    lanes: those that led there before, and those that lead there when all is done.
    """

    acked: Mapping[int, int] = field(default_factory=dict)
    newest: int = -1
    writing: frozenset[int] = frozenset()
    returned: bool = False
    lanes: frozenset[tuple[str, str]] = frozenset()


class Broken(AssertionError):
    """What does not hold."""


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


def survive(bed: Bed, operation: Operation, kit: Kit, *, cut: Cut, goes_on: bool = False) -> None:
    """All that is checked on one state of the disk. Raises Broken, or whatever the store raises."""
    check_truth(bed, operation, kit)
    check_journal(bed, operation, cut)
    if not operation.is_bare and not operation.loses:
        check_visible(bed, cut)
    restart(bed)
    check_truth(bed, operation, kit)
    check_recovered(bed, operation, kit)
    image = describe(read_image(bed.root.parent))
    restart(bed)
    expect(describe(read_image(bed.root.parent)) == image, "recovery done again changes something")
    if cut.returned:
        expect(operation.done(bed, kit), f"{operation.name} was said to be done, and is not")
    if goes_on:
        try_again(operation, bed, kit)
        check_truth(bed, operation, kit)
        check_recovered(bed, operation, kit)
        live_on(bed, operation, kit)


def check_truth(bed: Bed, operation: Operation, kit: Kit) -> None:
    """Every blob is what its name says, and every release whole, on both tiers."""
    desk = bed.desk()
    roots = [(bed.root, desk.releases)]
    if desk.tiers:
        roots.append((bed.cold, desk.tiers.cold.releases))
    for root, _ in roots:
        if not (root / "blobs").is_dir():
            continue
        for blob in (root / "blobs").iterdir():
            expect(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, f"blob {blob.name[:12]} is another")
            expect(blob.stat().st_mode & 0o777 == 0o444, f"blob {blob.name[:12]} can be written")
    for root, releases in roots:
        for path in (root / "releases").iterdir() if (root / "releases").is_dir() else ():
            check_release(path.name, releases, kit, may_be_hurt=operation.hurts)


def check_release(name: str, releases: Releases, kit: Kit, *, may_be_hurt: Collection[str]) -> None:
    made = kit.find(name)
    expect(made is not None, f"{name} is no release")
    assert made
    if any(kit.made[hurt].id == name for hurt in may_be_hurt):
        return
    expect(not (damage := releases.find_damage(name)), damage)
    own = releases.read_own(name)
    expect(release_id(own.manifest) == name and own.signature == made.signature, f"{name} is not as it was signed")


def check_journal(bed: Bed, operation: Operation, cut: Cut) -> None:
    """At most the record that was being written is lost."""
    scan = scan_journal(journal_path(bed.root))
    seen = {record.seq for record in scan.records}
    lost = [seq for seq in cut.acked.values() if seq not in seen]
    expect(not lost, f"records {lost} are lost")
    torn = {f"journal record {place}:" for place in cut.writing}
    spoilt = () if operation.loses else scan.spoiled
    expect(all(text.startswith(tuple(torn)) for text in spoilt), f"spoilt: {spoilt}")
    expect(max(seen, default=-1) >= cut.newest, f"the newest record {cut.newest} is lost")


def check_visible(bed: Bed, cut: Cut) -> None:
    """Nothing is seen by traffic that the journal does not know, and all that is seen is whole."""
    state, pointers = state_of(bed), bed.desk().hands.pointers
    effects = pending_effects(state)
    may = tuple(f"slot {one.slot} " for one in effects if isinstance(one, Link))
    may += ("lane ",) if any(isinstance(one, Lanes) for one in effects) else ()
    wrong = [text for text in pointers.find_damage(state) if not text.startswith(may or "-")]
    expect(not wrong, f"seen before it was journalled: {wrong}")
    check_lanes(bed)
    lanes = pointers.read_lanes()
    expect(set(lanes.items()) <= cut.lanes, f"lanes lead to where nobody sent them: {lanes}")
    expect({lane for lane, _ in cut.lanes} == set(lanes), f"there is a lane less: {lanes}")


def check_lanes(bed: Bed) -> None:
    for lane, slot in bed.desk().hands.pointers.read_lanes().items():
        manifest = bed.root / "lanes" / lane / "release.json"
        expect(manifest.is_file(), f"lane {lane} leads to slot {slot}, and there is no release")


def check_recovered(bed: Bed, operation: Operation, kit: Kit) -> None:
    """Links as the journal says; what has the traffic, and every way back, is whole."""
    state, desk = state_of(bed), bed.desk()
    expect(not pending_effects(state), f"recovery left {pending_effects(state)}")
    expect(not (damage := desk.hands.pointers.find_damage(state)), f"links: {damage}")
    for name in find_needed(state):
        is_cold = desk.tiers is not None and desk.tiers.cold.is_whole(name)
        expect(is_cold or not desk.releases.find_damage(name), f"{name} is needed, and not whole")
    if operation.is_bare:
        return
    expect(state.active is not None, "nothing is active")
    assert state.active
    expect(desk.releases.has(state.active.release), f"the active {state.active.release} is not there")
    good = [name for name in state.known_good if not state.find_bad(name, at=bed.at)]
    expect(operation.loses or good, "nothing known good is left")
    check_lanes(bed)


def find_needed(state: NodeState) -> set[str]:
    """All that the state names and does not refuse."""
    slots = {held.release for held in state.slots if held.release}
    back = {one.release for one in state.fallbacks}
    return slots | back | ({state.active.release} if state.active else set())


def live_on(bed: Bed, operation: Operation, kit: Kit) -> None:
    """Another release is brought in as ever, and left again."""
    desk = bed.desk()
    while move := state_of(bed).move:  # a person calls it off, and the way back comes to its end
        is_back = move.kind is Kind.ROLLBACK
        event = Proven(bed.at) if is_back else Rollback(bed.at, "kim", "x", own=False, lasting=False)
        desk.moves.act(event, note=NOTE)
    push(bed, kit.next)
    activate(bed, kit.next)
    prove(bed, kit.next)
    expect(bed.serves()[1] == kit.next.id, "the next release does not serve")
    if not operation.is_bare and not operation.loses:
        desk.moves.act(Rollback(bed.at, "kim", "x", own=False, lasting=False), note=NOTE)
        desk.moves.act(Proven(bed.at), note=NOTE)
        expect(bed.serves()[1] not in ("", kit.next.id), "there is no way back")
    check_truth(bed, operation, kit)
    check_recovered(bed, operation, kit)


def read_seq(data: bytes) -> int:
    """The number of a record that is written; -1 when it is none."""
    found = SEQ.match(data)
    return int(found[1]) if found else -1


def place_of(seq: int) -> int:
    return seq % RECORDS
