"""A disk that fails at any moment: the store stays whole, what serves goes on serving, and trying again succeeds."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Proven, Rollback
from dsops.core.lanes import LANES
from dsops.node.helper.desk import Desk
from dsops.node.helper.tell import Note
from dsops.node.store.disk import Disk

from tests.node.store.bed import CHANGING, Bed, FailingDisk, Made, Reader, make_root

pytestmark = pytest.mark.slow
NOTE = Note("kim", "new")
STEPS = ("push one", "activate one", "prove one", "push two", "activate two", "prove two", "roll back")


def do(step: str, desk: Desk, pair: tuple[Made, Made]) -> None:
    """One step of a release's life, by the code that the helper's verbs use."""
    made = pair["two" in step]
    if step.startswith("push"):
        for digest, data in made.blobs.items():
            held = {one.sha256: one.held for one in desk.blobs.find_missing([digest])}.get(digest, len(data))
            desk.blobs.receive(digest, size=len(data), offset=held, read=Reader(data[held:]))
        desk.releases.build(made.manifest, made.signature)
        return
    at = desk.now()
    if step.startswith("activate"):
        desk.releases.check_whole(made.id)
        desk.moves.act(Activate(made.id, at, "kim", "new"), note=NOTE)
    elif step.startswith("prove"):
        desk.moves.act(Proven(at, made.id), note=NOTE)
    else:
        warm = desk.hands.find_warm(("a",), seconds=0)
        desk.moves.act(Rollback(at, "kim", "x", own=False, lasting=False, warm=warm), note=NOTE)


def check_consistent(bed: Bed, *, is_served: bool) -> None:
    """Without mending anything: every blob is what it is called, every release whole, every lane leads to one."""
    for blob in (bed.root / "blobs").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
        assert blob.stat().st_mode & 0o777 == 0o444
    desk = bed.desk()
    for release in (bed.root / "releases").iterdir():
        assert desk.releases.find_damage(release.name) == ""
    desk.moves.read()
    if is_served:
        for lane in LANES:
            assert (bed.root / "lanes" / lane / "release.json").is_file(), lane


def live(bed: Bed, pair: tuple[Made, Made]) -> Iterator[tuple[str, bool]]:
    """Does all steps, each again on a good disk when it failed; (step, whether it failed)."""
    failing = bed.disk
    for number, step in enumerate(STEPS):
        served = number > 2
        try:
            do(step, bed.desk(), pair)
            failed = False
        except DsopsError:
            failed = True
        check_consistent(bed, is_served=served)
        if failed or bed.desk().moves.read()[0].move:
            bed.disk = Disk()
            repeat(step, bed, pair)
            check_consistent(bed, is_served=served)
            bed.disk = failing
        yield step, failed


def repeat(step: str, bed: Bed, pair: tuple[Made, Made]) -> None:
    """As the agent recovers, and an operator types it again; that it happened already is no error."""
    bed.desk().moves.recover()
    state = bed.desk().moves.read()[0]
    made = pair["two" in step]
    active = state.active.release if state.active else ""
    is_done = {
        "push": False,
        "activate": bool(state.move),
        "prove": active == made.id,
        "roll": bool(state.bad),
    }[step.split()[0]]
    if not is_done:
        do(step, bed.desk(), pair)


def count_changes(bed: Bed, pair: tuple[Made, Made]) -> int:
    bed.disk = disk = FailingDisk(10**9)
    for _ in live(bed, pair):
        pass
    return 10**9 - disk.left


def check_end(bed: Bed, pair: tuple[Made, Made]) -> None:
    bed.disk = Disk()
    desk = bed.desk()
    desk.moves.recover()
    state, _ = desk.moves.read()
    assert state.move is None
    assert bed.serves() == ("a", pair[0].id)
    assert state.find_bad(pair[1].id, at=bed.at)
    assert desk.hands.pointers.find_damage(state) == []
    assert set(bed.systemd.since) == {"triton@a.service"}


def test_without_an_error_all_of_it_happens(bed: Bed, pair: tuple[Made, Made]) -> None:
    assert count_changes(bed, pair) > 100
    check_end(bed, pair)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of stores are made, and none of them must last."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("share", range(8))
def test_any_single_error_leaves_a_whole_store_and_the_next_try_succeeds(
    memory: Path, bed: Bed, pair: tuple[Made, Made], share: int
) -> None:
    count = count_changes(fresh(bed, memory / "count"), pair)
    for nth in range(1 + share, count + 1, 8):
        again = fresh(bed, memory / f"{nth}")
        again.disk = FailingDisk(nth, code=errno.ENOSPC if nth % 2 else errno.EIO)
        for _ in live(again, pair):
            pass
        check_end(again, pair)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_from_any_moment_on_leaves_a_whole_store(
    memory: Path, bed: Bed, pair: tuple[Made, Made], code: int
) -> None:
    count = count_changes(fresh(bed, memory / "count"), pair)
    for nth in range(1, count + 1, 5):
        again = fresh(bed, memory / f"{nth}")
        again.disk = FailingDisk(nth, code=code, stays=True)
        for step, _ in live(again, pair):
            assert step
        check_end(again, pair)


def fresh(bed: Bed, folder: Path) -> Bed:
    return Bed(make_root(folder), bed.signer)


class FullDisk(Disk):
    """Not a block is free: nothing new can be written, what is allocated can. The ballast frees some."""

    def __init__(self) -> None:
        self.room = False
        self.opened_new: set[int] = set()

    def _refuse(self) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_CREAT and not path.exists():
            self._refuse()
        return super().open(path, flags, mode)

    def link(self, source: Path, target: Path) -> None:
        self._refuse()
        super().link(source, target)

    def symlink(self, path: Path, target: str) -> None:
        self._refuse()
        super().symlink(path, target)

    def mkdir(self, path: Path) -> None:
        self._refuse()
        super().mkdir(path)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.room = self.room or path.name == "ballast"


def bring(bed: Bed, pair: tuple[Made, Made]) -> None:
    bed.desk().moves.begin()
    for step in STEPS[:-1]:
        do(step, bed.desk(), pair)


def test_a_rollback_works_on_a_full_disk(bed: Bed, pair: tuple[Made, Made]) -> None:
    bring(bed, pair)
    bed.disk = FullDisk()
    do("roll back", bed.desk(), pair)
    assert bed.serves() == ("a", pair[0].id)
    bed.disk = Disk()
    check_end(bed, pair)


def test_a_rollback_that_must_load_works_on_a_full_disk_too(bed: Bed, pair: tuple[Made, Made]) -> None:
    bring(bed, pair)
    bed.at += bed.config.bake_seconds
    bed.desk().moves.age()
    assert set(bed.systemd.since) == {"triton@b.service"}
    bed.disk = FullDisk()
    do("roll back", bed.desk(), pair)
    do("prove one", bed.desk(), pair)
    assert bed.serves() == ("a", pair[0].id)


def test_a_push_to_a_full_disk_is_refused_in_words_and_goes_on_later(bed: Bed, pair: tuple[Made, Made]) -> None:
    bed.desk().moves.begin()
    bed.disk = FullDisk()
    with pytest.raises(DsopsError, match="the disk is full") as caught:
        do("push one", bed.desk(), pair)
    assert "release remove" in caught.value.mend
    bed.disk = Disk()
    do("push one", bed.desk(), pair)
    check_consistent(bed, is_served=False)


def test_an_activate_on_a_full_disk_leaves_what_serves(bed: Bed, pair: tuple[Made, Made]) -> None:
    bring(bed, pair)
    do("roll back", bed.desk(), pair)
    full: Any = FullDisk()
    (bed.root / "state/ballast").unlink()
    (bed.root / "slots/b").unlink()
    bed.disk = full
    with pytest.raises(DsopsError, match="marked bad"):
        do("activate two", bed.desk(), pair)
    assert bed.serves() == ("a", pair[0].id)
    assert bed.desk().moves.read()[0].move is None


def test_the_failing_disk_of_these_tests_covers_every_change(bed: Bed, pair: tuple[Made, Made]) -> None:
    seen: set[str] = set()

    class Watching(Disk):
        def __getattribute__(self, name: str) -> Any:
            seen.add(name)
            return super().__getattribute__(name)

    bed.disk = Watching()
    bed.desk().moves.begin()
    for step in STEPS:
        do(step, bed.desk(), pair)
    helpers = {"opened", "write_file", "sync_folder", "remove_tree", "open", "drop_cache"}
    assert {name for name in seen if not name.startswith("_")} <= {*CHANGING, *helpers}


def test_what_a_kill_left_in_staging_goes_when_a_helper_starts(bed: Bed) -> None:
    staging = bed.root / "staging"
    (staging / "r0123456789ab.build-1-abc/models").mkdir(parents=True)
    (staging / "r0123456789ab.build-1-abc/models/x").write_text("x")
    (staging / "deploy-r0123456789ab").mkdir()
    for name in (f"{'a' * 64}.part", f"{'b' * 64}.part", f"{'c' * 64}.rotten"):
        (staging / name).write_text("x")
    os.utime(staging / f"{'b' * 64}.part", (1, 1))
    bed.desk().releases.clean_staging(at=staging.stat().st_mtime)
    assert sorted(path.name for path in staging.iterdir()) == [f"{'a' * 64}.part", "deploy-r0123456789ab"]
