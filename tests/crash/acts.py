"""What the store is asked for, by the code that the helper's verbs use, and what holds once it is done."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.core.events import Activate, Event, Forget, Proven, Rollback
from dsops.core.state import NodeState, Stage
from dsops.node.helper.tell import Note, Told
from dsops.node.helper.tiers import cool_release, heat_release, keep_cold, tidy
from dsops.node.run import Done
from dsops.node.store.blobs import AlteredError
from dsops.node.store.journal import RECORDS, SIZE, Journal, Record, journal_path, scan_journal
from dsops.node.store.releases import Detached, Passport
from dsops.node.store.tree import adopt_tree, remove_tree

from tests.node.store.bed import Bed, Made, Reader, Signer, Systemd, make_release

NOTE = Note("kim", "new")
NAMES = ("old", "good", "new", "next")


@dataclass
class TrustingSystemd(Systemd):
    """As `Systemd`, and takes every signature for good: thousands of nodes are started."""

    def __call__(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        if argv[0] == "ssh-keygen":
            return Done(0, "signer\n", "")
        return super().__call__(argv, timeout=timeout, input=input)


@dataclass(frozen=True)
class Kit:
    """Releases, and who signed them."""

    signer: Signer
    made: Mapping[str, Made]

    def __getattr__(self, name: str) -> Made:
        return self.made[name]

    def find(self, release: str) -> Made | None:
        return next((made for made in self.made.values() if made.id == release), None)


Act = Callable[[Bed, Kit], None]
Holds = Callable[[Bed, Kit], bool]


def make_kit(folder: Path) -> Kit:
    """Nothing is really signed: whether a signature is good is not the disk's affair."""
    allowed = folder / "allowed"
    allowed.write_text("signer\n")
    made = {}
    for name in NAMES:
        bare = make_release(name)
        made[name] = Made(bare.manifest, bare.files, f"signed {name}".encode())
    return Kit(Signer(folder / "key", allowed), made)


# --- single acts ---------------------------------------------------------------------------------------------


def begin(bed: Bed, kit: Kit) -> None:
    bed.desk().moves.begin()


def receive_all(bed: Bed, made: Made) -> None:
    blobs = bed.desk().blobs
    for one in blobs.find_missing(made.blobs):
        _receive(bed, one.sha256, made.blobs[one.sha256], held=one.held)


def _receive(bed: Bed, digest: str, data: bytes, *, held: int, stop: int | None = None) -> None:
    bed.desk().blobs.receive(digest, size=len(data), offset=held, read=Reader(data[held:stop]))


def push(bed: Bed, made: Made) -> None:
    receive_all(bed, made)
    bed.desk().releases.build(made.manifest, made.signature)


def activate(bed: Bed, made: Made, **words: Any) -> None:
    desk = bed.desk()
    desk.releases.check_whole(made.id)
    desk.moves.act(Activate(made.id, bed.at, "kim", "new", **words), note=NOTE)


def prove(bed: Bed, made: Made) -> None:
    happen(bed, Proven(bed.at, made.id))


def roll_back(bed: Bed, *, is_warm: bool) -> None:
    desk = bed.desk()
    state = desk.moves.read()[0]
    warm = desk.hands.find_warm((state.warm,), seconds=0) if is_warm and state.warm else ()
    desk.moves.act(Rollback(bed.at, "kim", "x", own=False, lasting=False, warm=warm), note=NOTE)


def age(bed: Bed, seconds: float) -> None:
    bed.at += seconds
    bed.desk().moves.age()


def bake(bed: Bed, kit: Kit) -> None:
    age(bed, bed.config.bake_seconds)


def ripen(bed: Bed, kit: Kit) -> None:
    age(bed, bed.config.known_good_seconds)


def happen(bed: Bed, event: Event) -> None:
    bed.desk().moves.act(event, note=NOTE)


def on(event: Callable[[Bed, Kit], Event]) -> Act:
    return lambda bed, kit: happen(bed, event(bed, kit))


def of(act: Callable[[Bed, Made], None], name: str) -> Act:
    return lambda bed, kit: act(bed, kit.made[name])


def bring(bed: Bed, made: Made) -> None:
    """From nothing to known good."""
    push(bed, made)
    activate(bed, made)
    prove(bed, made)
    age(bed, bed.config.bake_seconds)
    age(bed, bed.config.known_good_seconds)


def restart(bed: Bed) -> None:
    """As `python -m dsops.node.helper` begins after a cut, its keeper, and the agent that asks it to go on."""
    desk = bed.desk()
    desk.moves.begin()
    desk.releases.clean_staging(at=bed.at)
    if desk.tiers and not desk.tiers.cold.find_absence():
        desk.tiers.cold.open(at=bed.at)
    desk.moves.recover()


def remove(bed: Bed, made: Made) -> None:
    """Off the hot tier, as the verb does it."""
    desk = bed.desk()
    away: list[Detached] = []

    def take_away(state: NodeState) -> None:
        if desk.releases.path(made.id).is_dir():
            away.append(desk.releases.detach(made.id))

    desk.moves.act(Forget(made.id, bed.at), note=NOTE, then=take_away)
    for one in away:
        desk.releases.destroy(one)


def cool(bed: Bed, made: Made) -> None:
    cool_release(bed.desk(), made.id, note=NOTE)


def keep(bed: Bed, made: Made) -> None:
    keep_cold(bed.desk(), made.id, note=NOTE)


def heat(bed: Bed, made: Made) -> None:
    heat_release(bed.desk(), made.id, note=NOTE)


def keep_all(bed: Bed, kit: Kit) -> None:
    """What is known good is copied; what is old goes cold."""
    bed.settings |= {"hot_is_raid0": True, "hot_reserve": 0.999999}
    tidy(bed.desk())


def keep_good(bed: Bed, kit: Kit) -> None:
    desk = bed.desk()
    assert desk.tiers
    desk.tiers.cold.open(at=bed.at)
    desk.tiers.cold.keep_good(desk.moves.read()[0], at=bed.at)


def receive_weights(bed: Bed, kit: Kit) -> None:
    digest, data = weights(kit)
    for one in bed.desk().blobs.find_missing([digest]):
        _receive(bed, digest, data, held=one.held)


def receive_half(bed: Bed, kit: Kit) -> None:
    digest, data = weights(kit)
    _receive(bed, digest, data, held=0, stop=len(data) // 2)


def receive_altered(bed: Bed, kit: Kit) -> None:
    digest, data = weights(kit)
    try:
        _receive(bed, digest, b"x" * len(data), held=0)
    except AlteredError:
        return
    raise AssertionError("altered bytes were taken")


def weights(kit: Kit) -> tuple[str, bytes]:
    return max(kit.new.blobs.items(), key=lambda one: len(one[1]))


def admit(bed: Bed, kit: Kit) -> None:
    releases = bed.desk().releases
    release, _ = releases.build(kit.new.manifest, kit.new.signature)
    releases.repair()
    releases.keep_passport(release, Passport('{"rate": 1}', "signed"))


def hurt(bed: Bed, kit: Kit) -> None:
    """A file of a release goes, another one is of other content: what admit mends."""
    path = bed.root / "releases" / kit.new.id
    (path / "models/llm/1/model.py").unlink()
    (path / "chat_template.jinja").unlink()
    (path / "chat_template.jinja").write_bytes(b"other")
    (path / "release.json.sig").unlink()


def lay_tree(bed: Bed, kit: Kit) -> None:
    """As a deploy puts a release there."""
    tree = bed.root / "staging" / f"deploy-{kit.new.id}"
    for name, data in {**kit.new.files, "release.json": kit.new.manifest, "release.json.sig": b"signed new"}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)


def adopt(bed: Bed, kit: Kit) -> None:
    desk = bed.desk()
    tree = bed.root / "staging" / f"deploy-{kit.new.id}"
    manifest, signature = adopt_tree(tree, root=bed.root, blobs=desk.blobs, check=lambda manifest, signature: None)
    desk.releases.build(manifest, signature)
    remove_tree(tree, disk=desk.moves.disk)


def fill_ring(bed: Bed, kit: Kit) -> None:
    """More records than places, and the last place is the next one."""
    journal = Journal(bed.root, bed.disk)
    last = journal.load().records[-1]
    for seq in range(last.seq + 1, 2 * RECORDS - 1):
        journal.append(Record(seq, bed.at, "note", "", f"number {seq}", "kim", last.state))


def note_four(bed: Bed, kit: Kit) -> None:
    for number in range(4):
        bed.desk().moves.note(Told("note", "", f"the {number}."), note=NOTE, then=lambda state: None)


def cut_journal(bed: Bed, kit: Kit) -> None:
    """A journal of another size, such as one that an older dsops made."""
    os.truncate(journal_path(bed.root), 100 * SIZE)


def spoil_journal(bed: Bed, kit: Kit) -> None:
    journal_path(bed.root).write_bytes(b"\x07" * RECORDS * SIZE)


def lose_journal(bed: Bed, kit: Kit) -> None:
    journal_path(bed.root).unlink()


def leave_rests(bed: Bed, kit: Kit) -> None:
    """What kills leave in staging: half a release, one that was being taken away, half a push, a spoilt blob."""
    staging = bed.root / "staging"
    shutil.copytree(bed.root / "releases" / kit.good.id, staging / f"{kit.next.id}.build-1-abc")
    push(bed, kit.new)
    bed.desk().releases.detach(kit.new.id)


def clean(bed: Bed, kit: Kit) -> None:
    bed.desk().releases.clean_staging(at=bed.at)


# --- what holds ----------------------------------------------------------------------------------------------


def state_of(bed: Bed) -> NodeState:
    return bed.desk().moves.read()[0]


def serves(name: str) -> Holds:
    def holds(bed: Bed, kit: Kit) -> bool:
        state = state_of(bed)
        return state.active is not None and state.active.release == kit.made[name].id and state.move is None

    return holds


def waits(bed: Bed, kit: Kit) -> bool:
    """Whether the new release waits for its proof."""
    state = state_of(bed)
    return state.move is not None and state.move.release == kit.new.id


def has_left(bed: Bed, kit: Kit) -> bool:
    return serves("good")(bed, kit) and state_of(bed).find_bad(kit.new.id, at=bed.at) is not None


def going_back(bed: Bed, kit: Kit) -> bool:
    """A rollback that must load its release."""
    state = state_of(bed)
    is_on_its_way = state.move is not None and state.move.release == kit.good.id
    return is_on_its_way and state.find_bad(kit.new.id, at=bed.at) is not None


def is_stage(stage: Stage) -> Holds:
    def holds(bed: Bed, kit: Kit) -> bool:
        state = state_of(bed)
        return state.active is not None and state.active.stage is stage and state.move is None

    return holds


def is_hot(name: str) -> Holds:
    def holds(bed: Bed, kit: Kit) -> bool:
        releases = bed.desk().releases
        return releases.has(kit.made[name].id) and not releases.find_damage(kit.made[name].id)

    return holds


def is_cold(name: str) -> Holds:
    def holds(bed: Bed, kit: Kit) -> bool:
        desk = bed.desk()
        return desk.tiers is not None and desk.tiers.cold.is_whole(kit.made[name].id)

    return holds


def both(*all_of: Holds) -> Holds:
    return lambda bed, kit: all(one(bed, kit) for one in all_of)


def no(one: Holds) -> Holds:
    return lambda bed, kit: not one(bed, kit)


def has_weights(bed: Bed, kit: Kit) -> bool:
    return bed.desk().blobs.has(weights(kit)[0])


def has_half(bed: Bed, kit: Kit) -> bool:
    """What is held is true, however little it is."""
    digest, data = weights(kit)
    held = bed.desk().blobs.count_held(digest)
    part = bed.root / "staging" / f"{digest}.part"
    return held == 0 or part.read_bytes() == data[:held]


def has_passport(bed: Bed, kit: Kit) -> bool:
    return bed.desk().releases.find_passport(kit.new.id) == Passport('{"rate": 1}', "signed")


def has_noted(bed: Bed, kit: Kit) -> bool:
    return any(record.says == "the 3." for record in scan_journal(journal_path(bed.root)).records)


def has_begun(bed: Bed, kit: Kit) -> bool:
    return bool(scan_journal(journal_path(bed.root)).records)


def has_known(bed: Bed, kit: Kit) -> bool:
    desk = bed.desk()
    assert desk.tiers
    return desk.tiers.cold.root.joinpath("known-good.json").is_file()


def is_clean(bed: Bed, kit: Kit) -> bool:
    return list((bed.root / "staging").iterdir()) == []


def always(bed: Bed, kit: Kit) -> bool:
    return True
