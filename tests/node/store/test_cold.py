"""The cold tier's parts: whether it is there, how fast it is, whose turn it is, and a disk that hangs."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.state import Active, Bad, NodeState, Stage
from dsops.core.tiers import COLD_BYTES_PER_SECOND, Tier
from dsops.node.helper.hurry import Hurry
from dsops.node.store.cold import FOLDERS, GOOD, STAMP, Cold, count_reserve
from dsops.node.store.config import read_store_config
from dsops.node.store.disk import Disk
from dsops.node.store.rate import LEAST_BYTES, Rate
from dsops.node.store.turn import GaveWayError, Moving, Turn

from tests.node.store.bed import Bed, Made, make_cold


def test_a_folder_is_a_cold_tier_only_when_a_disk_is_mounted_there(tmp_path: Path) -> None:
    cold = Cold(tmp_path / "cold", Disk())
    assert cold.find_absence() == f"{tmp_path / 'cold'} cannot be reached (No such file or directory)"
    (tmp_path / "cold").mkdir()
    assert cold.find_absence() == f"no disk is mounted at {tmp_path / 'cold'}"
    with pytest.raises(DsopsError, match="the cold tier is not there"):
        cold.open(at=0.0)
    assert not list((tmp_path / "cold").iterdir())
    (tmp_path / "cold" / STAMP).touch()
    cold.open(at=0.0)
    assert {path.name for path in (tmp_path / "cold").iterdir()} == {*FOLDERS, STAMP}


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no file system of its own here")
def test_another_file_system_needs_no_stamp() -> None:
    assert Cold(Path("/dev/shm"), Disk()).find_absence() == ""


def test_what_is_good_is_written_down_and_a_store_begun_anew_does_not_forget_it(
    bed: Bed, pair: tuple[Made, Made], tmp_path: Path
) -> None:
    one, two = (made.id for made in pair)
    cold = Cold(Path(make_cold(tmp_path / "cold")["cold"]), Disk())
    cold.open(at=0.0)
    state = NodeState(active=Active(one, "a", 1.0, Stage.BAKED), fallbacks=(Active(two, "b", 1.0, Stage.KNOWN_GOOD),))
    cold.keep_good(state, at=5.0)
    assert json.loads((cold.root / GOOD).read_text()) == {"active": one, "known_good": [two]}
    cold.keep_good(NodeState(), at=5.0)
    assert json.loads((cold.root / GOOD).read_text())["active"] == one
    assert cold.find_good() == (), "nothing of it lies there"
    marked = NodeState(active=state.active, fallbacks=state.fallbacks, bad=(Bad(two, "x", 1.0),))
    cold.keep_good(marked, at=5.0)
    assert json.loads((cold.root / GOOD).read_text())["known_good"] == []
    (cold.root / GOOD).write_text("torn")
    assert cold.find_good() == ()


class Watched(Disk):
    """Notes which folders were synced; the first sync of one that is named fails."""

    def __init__(self, fails: str = "") -> None:
        self.synced: list[str] = []
        self.fails = fails

    def sync_folder(self, path: Path) -> None:
        if path.name == self.fails:
            self.fails = ""
            raise OSError(5, "Input/output error")
        self.synced.append(path.name)
        super().sync_folder(path)


def test_a_release_whose_name_could_not_be_synced_is_settled_before_it_counts(
    bed: Bed, pair: tuple[Made, Made], tmp_path: Path
) -> None:
    """Whoever died between the rename and the sync leaves the same."""
    disk, one = Watched(), pair[0]
    cold = Cold(Path(make_cold(tmp_path / "cold")["cold"]), disk)
    cold.open(at=0.0)
    for digest, data in one.blobs.items():
        cold.blobs.path(digest).write_bytes(data)
    disk.synced.clear()
    cold.open(at=1.0)
    assert disk.synced == [], "what is settled is not synced again"
    disk.fails = "releases"
    with pytest.raises(DsopsError, match="Input/output error"):
        cold.releases.build(one.manifest, one.signature)
    assert cold.releases.has(one.id), "it lies there, for now"
    disk.synced.clear()
    cold.open(at=2.0)
    assert disk.synced == ["blobs", "releases"]
    disk.synced.clear()
    cold.open(at=3.0)
    assert disk.synced == []


def test_the_rate_is_a_guess_until_enough_was_read(tmp_path: Path) -> None:
    rate = Rate(tmp_path / "rate.json")
    rate.add(1000, 100.0)
    assert (rate.bytes_per_second, rate.is_measured) == (COLD_BYTES_PER_SECOND, False)
    rate.add(LEAST_BYTES, 0.0)
    assert (round(rate.bytes_per_second), rate.is_measured) == (round((LEAST_BYTES + 1000) / 100), True)
    assert Rate(tmp_path / "rate.json").is_measured, "another process knows it too"
    for spoilt in ("", "[]", '{"bytes_per_second": "x"}', '{"bytes_per_second": 0}'):
        (tmp_path / "rate.json").write_text(spoilt)
        assert rate.bytes_per_second == COLD_BYTES_PER_SECOND


def test_a_share_of_the_file_system_is_kept_free(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    assert count_reserve(tmp_path, 0.0) == pytest.approx(room.f_bavail * room.f_frsize, rel=0.1)
    assert count_reserve(tmp_path, 0.999999) < 0


def test_one_move_at_a_time_and_the_second_hears_how_far_the_first_is() -> None:
    turn = Turn()
    with turn.take(Moving("r1", Tier.COLD, 12 * 10**9)):
        turn.advance(3 * 10**9, own=False)
        busy = pytest.raises(DsopsError, match=r"r1 is being copied to the cold tier, 3\.0 of 12\.0 GB")
        with busy, turn.take(Moving("r2", Tier.HOT, 0), seconds=0.01):
            pass
    assert turn.moving is None
    with turn.take(Moving("r2", Tier.HOT, 0)):
        assert turn.moving
        assert turn.moving.release == "r2"


def test_dsops_own_move_ends_for_a_persons() -> None:
    turn, went = Turn(), []

    def person() -> None:
        with turn.take(Moving("r2", Tier.HOT, 0)):
            went.append("person")

    def copy() -> None:
        with turn.take(Moving("r1", Tier.COLD, 0), own=True):
            thread.start()
            for _ in range(1000):
                turn.advance(1, own=True)
                time.sleep(0.005)

    thread = threading.Thread(target=person)
    with pytest.raises(GaveWayError):
        copy()
    with turn.take(Moving("r1", Tier.COLD, 0), own=True):
        went.append("own")
    thread.join()
    assert went == ["person", "own"]


def test_a_disk_that_hangs_is_waited_for_once_and_not_for_long() -> None:
    hurry, end = Hurry("the cold disk", seconds=1), threading.Event()
    assert hurry.ask(lambda: 5) == 5
    with pytest.raises(ValueError, match="own"):
        hurry.ask(lambda: int("an error of its own"))
    with pytest.raises(DsopsError, match=r"the cold disk did not answer in 1 s"):
        hurry.ask(end.wait)
    with pytest.raises(DsopsError, match="the cold disk still hangs"):
        hurry.ask(lambda: 5)
    end.set()
    assert hurry._hanging
    hurry._hanging.join(20)
    assert hurry.ask(lambda: 5) == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('cold = "cold"', "is no absolute path: 'cold'"),
        ("hot_is_raid0 = true", "there is no cold tier that would still hold a known-good release"),
        ('cold = "/c"\nhot_reserve = 1', "hot_reserve: should be below 1"),
        ('cold = "/c"\nhot_reserve = -1', "hot_reserve: should not be below 0"),
    ],
)
def test_tiers_that_cannot_be_are_refused_with_their_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "store.toml"
    path.write_text(f'namespace = "x"\n{text}\n')
    with pytest.raises(DsopsError, match=says):
        read_store_config(path)


def test_a_blob_that_nobody_holds_for_long_goes_and_one_that_just_came_stays(bed: Bed, pair: tuple[Made, Made]) -> None:
    bed.desk().moves.begin()
    bed.push(pair[0])
    (bed.root / "blobs" / ("a" * 64)).write_text("left over")
    desk = bed.desk()
    desk.releases.clean_staging(at=time.time())
    assert (bed.root / "blobs" / ("a" * 64)).exists()
    desk.releases.clean_staging(at=time.time() + 8 * 86400)
    assert not (bed.root / "blobs" / ("a" * 64)).exists()
    assert desk.releases.find_damage(pair[0].id) == ""
