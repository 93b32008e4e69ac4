"""kill -9, and a disk that fails, at any moment of a move between the tiers: the release is whole on one of them."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Forget
from dsops.node.helper.tell import Note
from dsops.node.helper.tiers import cool_release, heat_release, keep_cold, tidy
from dsops.node.store.disk import Disk

from tests.node.helper.test_kills import ROOT, activate, age, die, prove, push
from tests.node.store.bed import Bed, FailingDisk, Made, Signer, make_cold, make_release, make_root, make_signer
from tests.node.store.test_errors import check_consistent

pytestmark = pytest.mark.slow
NOTE = Note("kim", "room")
Act = Callable[[Bed, Made], None]


def cool(bed: Bed, made: Made) -> None:
    cool_release(bed.desk(), made.id, note=NOTE)


def keep(bed: Bed, made: Made) -> None:
    keep_cold(bed.desk(), made.id, note=NOTE)


def heat(bed: Bed, made: Made) -> None:
    heat_release(bed.desk(), made.id, note=NOTE)


def tidy_up(bed: Bed, made: Made) -> None:
    """What is known good is copied; what is old goes cold."""
    bed.settings |= {"hot_is_raid0": True, "hot_reserve": 0.999999}
    tidy(bed.desk())


def remove(bed: Bed, made: Made) -> None:
    """Off the hot tier, as the verb does it."""
    desk, away = bed.desk(), []
    desk.moves.act(Forget(made.id, bed.at), note=NOTE, then=lambda _: away.append(desk.releases.detach(made.id)))
    for one in away:
        desk.releases.destroy(one)


# The last act of each is the one in which the disk fails, or the helper is killed.
LIVES: dict[str, tuple[Act, ...]] = {
    "cool": (cool,),
    "cool again": (cool, heat, cool),
    "keep": (keep,),
    "heat": (cool, heat),
    "tidy": (tidy_up,),
    "remove": (remove,),
}
# How many changes of a disk at least: a life that changes less does not do what it should.
LEAST = {"cool": 50, "cool again": 9, "keep": 40, "heat": 40, "tidy": 40, "remove": 9}


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def make_trio(signer: Signer) -> tuple[Made, ...]:
    return tuple(signer.sign(make_release(name)) for name in ("one", "two", "three"))


def prepare(folder: Path, signer: Signer, trio: tuple[Made, ...], life: str) -> Bed:
    """Three that serve one after the other, the last one now; all acts of the life but the last are done with `one`."""
    bed = Bed(make_root(folder / "hot"), signer, settings=make_cold(folder / "cold"))
    bed.desk().moves.begin()
    for made in trio:
        for step in (push, activate, prove):
            step(bed, made)
        age(bed, made)
        bed.at += bed.config.known_good_seconds
        bed.desk().moves.age()
        os.utime(bed.root / "releases" / made.id / "release.json", (bed.at - 1, bed.at - 1))
    bed.at += 10
    for act in LIVES[life][:-1]:
        act(bed, trio[0])
    return bed


def copy(bed: Bed, folder: Path) -> Bed:
    """The same node again, hard links and times and all; much quicker than another life."""
    folder.mkdir()
    subprocess.run(["cp", "-a", str(bed.root), str(bed.cold), str(folder)], check=True, timeout=20)
    settings = bed.settings | {"cold": str(folder / "cold")}
    return replace(bed, root=folder / "hot", settings=settings, systemd=deepcopy(bed.systemd))


def check_tiers(bed: Bed, trio: tuple[Made, ...], *, life: str) -> None:
    """Without mending anything: both tiers hold only what is true, and every release is whole on one of them."""
    check_consistent(bed, is_served=True)
    desk = bed.desk()
    assert desk.tiers
    cold = desk.tiers.cold
    if (bed.cold / "blobs").is_dir():
        for blob in (bed.cold / "blobs").iterdir():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    if (bed.cold / "releases").is_dir():
        assert all(cold.is_whole(path.name) for path in (bed.cold / "releases").iterdir())
    for made in trio[0 if life != "remove" else 1 :]:
        is_hot = desk.releases.has(made.id) and not desk.releases.find_damage(made.id)
        assert is_hot or cold.is_whole(made.id), made.id
    state, _ = desk.moves.read()
    assert [one.release for one in state.fallbacks][-1] == trio[0].id or life == "remove"


def go_on(bed: Bed, trio: tuple[Made, ...], life: str) -> None:
    """A helper starts, the same is asked again, and afterwards all is as if nothing had been."""
    restart(bed)
    # Of these the release may be gone from hot already: then it was done.
    if life not in ("cool", "cool again", "remove") or bed.desk().releases.has(trio[0].id):
        LIVES[life][-1](bed, trio[0])
    check_tiers(bed, trio, life=life)
    desk = bed.desk()
    assert desk.tiers
    at = {"hot": desk.releases.has(trio[0].id), "cold": desk.tiers.cold.releases.has(trio[0].id)}
    assert (
        at
        == {
            "cool": {"hot": False, "cold": True},
            "cool again": {"hot": False, "cold": True},
            "keep": {"hot": True, "cold": True},
            "heat": {"hot": True, "cold": True},
            "tidy": {"hot": False, "cold": True},
            "remove": {"hot": False, "cold": False},
        }[life]
    )
    for root in (bed.root, bed.cold):
        names = [path.name for path in (root / "staging").iterdir()] if (root / "staging").is_dir() else []
        assert names == [], "nothing is left that nobody will ever take away"
        blobs = (root / "blobs").iterdir() if (root / "blobs").is_dir() else ()
        assert [path.name for path in blobs if path.stat().st_nlink == 1] == []


def restart(bed: Bed) -> None:
    """As `python -m dsops.node.helper` begins, and its keeper."""
    desk = bed.desk()
    desk.moves.begin()
    desk.releases.clean_staging(at=bed.at)
    assert desk.tiers
    desk.tiers.cold.open(at=bed.at)


@pytest.mark.parametrize("life", LIVES)
def test_a_kill_at_any_moment_leaves_the_release_whole_on_a_tier_and_it_goes_on(memory: Path, life: str) -> None:
    # A process of its own: what forks here must have one thread.
    words = [sys.executable, "-m", "tests.node.helper.test_tier_kills", str(memory), life]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "agent"), str(ROOT)])}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def kill_at_every_moment(memory: Path, life: str) -> None:
    signer = make_signer(memory)
    trio = make_trio(signer)
    killed, first = 0, prepare(memory / "first", signer, trio, life)
    # What `tidy` consists of is killed at every moment by the others.
    for nth in range(1, 400, 3 if life == "tidy" else 1):
        bed = copy(first, memory / f"{nth}")
        if not die(bed, trio[0], LIVES[life][-1], nth=nth):
            break
        killed += 1
        if life == "tidy":
            bed.settings |= {"hot_is_raid0": True, "hot_reserve": 0.999999}
        check_tiers(bed, trio, life=life)
        go_on(bed, trio, life)
    print(f"{life}: killed at {killed} moments")
    assert killed >= LEAST[life]


@pytest.mark.parametrize("where", ["hot", "cold"])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("life", LIVES)
def test_an_error_of_either_disk_at_any_moment_loses_nothing(
    memory: Path, signer: Signer, life: str, where: str, stays: bool
) -> None:
    trio, failed = make_trio(signer), 0
    first = prepare(memory / "first", signer, trio, life)
    # The longest life changes a disk so often that every third moment must do.
    for nth in range(1, 400, 9 if stays else 3 if life == "tidy" else 1):
        bed = copy(first, memory / f"{nth}")
        disk = FailingDisk(nth, code=errno.ENOSPC if nth % 2 else errno.EIO, stays=stays)
        bed.disk, bed.cold_disk = (disk, Disk()) if where == "hot" else (Disk(), disk)
        with suppress(DsopsError):
            LIVES[life][-1](bed, trio[0])
        if not disk.failed:
            break
        failed += 1
        bed.disk, bed.cold_disk = Disk(), None
        check_tiers(bed, trio, life=life)
        go_on(bed, trio, life)
    print(f"{life}, {where}: failed at {failed} moments")
    assert failed or (where, life) in {("cold", "remove"), ("cold", "heat")}, "these change nothing there"


if __name__ == "__main__":
    kill_at_every_moment(Path(sys.argv[1]), sys.argv[2])
