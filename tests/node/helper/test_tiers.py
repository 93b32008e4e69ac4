"""The two tiers over the helper's real socket: what goes cold, what comes back, what is told, and what is refused."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.passport import Run
from dsops.core.state import Active, Stage
from dsops.core.tiers import ColdError
from dsops.node.helper.keeper import Keeper, build_keeper
from dsops.node.helper.peers import Peer
from dsops.node.helper.tiers import count_gain, find_old, make_room, tidy
from dsops.node.store.cold import STAMP
from dsops.node.store.disk import Disk
from dsops.node.store.journal import journal_path, read_history

from tests.core.passports import COLD, CPU, T4
from tests.core.passports import make as make_passport
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made, Signer, make_cold, make_release, make_root

KIM = {"who": "kim", "reason": "room"}
RUNS = (Run(COLD, 100.0, 7.5),)


@pytest.fixture
def bed(tmp_path: Path, signer: Signer) -> Bed:
    return Bed(make_root(tmp_path / "store"), signer, settings=make_cold(tmp_path / "cold"))


@pytest.fixture
def made(signer: Signer) -> tuple[Made, ...]:
    """Four releases; all share a template."""
    return tuple(signer.sign(make_release(name)) for name in ("one", "two", "three", "four"))


@pytest.fixture
def talk(bed: Bed) -> Iterator[Talk]:
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield talk


def serve_all(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    """One after the other, each until it is known good; the last one stays."""
    for one in made:
        talk.push(one)
        bed.at += 10
        stamp(bed, one.id)
        talk.bring(one.id)
        for _ in range(2):
            bed.at += bed.config.known_good_seconds
            talk("age")


def stamp(bed: Bed, release: str) -> None:
    """It came when this bed's clock says."""
    os.utime(bed.root / "releases" / release / "release.json", (bed.at, bed.at))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def listed(talk: Talk) -> dict[str, dict[str, Any]]:
    return {one["release"]: one for one in talk("list")["releases"]}


def test_a_release_goes_cold_and_comes_back_the_same(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    serve_all(talk, bed, made)
    one = made[0]
    blobs = names(bed.root / "blobs")
    freed = talk("cool", release=one.id, **KIM)["freed"]
    assert freed == sum(len(data) for digest, data in one.blobs.items() if digest not in made[1].blobs)
    assert not (bed.root / "releases" / one.id).exists()
    assert not list((bed.root / "staging").iterdir())
    assert listed(talk)[one.id]["tier"] == "cold"
    assert listed(talk)[one.id]["state"] == "fallback", "it is a way back wherever it lies"
    assert {name: (bed.cold / "releases" / one.id / name).read_bytes() for name in one.files} == one.files
    said = talk("heat", release=one.id, who="kim", reason="it was good")
    assert said["bytes"] == freed
    assert names(bed.root / "blobs") == blobs
    assert listed(talk)[one.id]["tier"] == "hot+cold"
    assert listed(talk)[one.id]["damage"] == ""
    talk("rollback", to=one.id, who="kim", reason="x")
    talk("proven", release=one.id, evidence="8 of 8")
    assert bed.serves()[1] == one.id
    events = [record.event for record in read_history(journal_path(bed.root))]
    assert [event for event in events if event in ("cool", "heat")] == ["cool", "heat"]


def test_what_must_be_quick_does_not_go_cold(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    serve_all(talk, bed, made)
    for one in made[2:]:
        with pytest.raises(DsopsError, match="must stay on the hot tier"):
            talk("cool", release=one.id, **KIM)
    talk("cool", release=made[1].id, **KIM)
    with pytest.raises(DsopsError, match="lies on the cold tier already"):
        talk("cool", release=made[1].id, **KIM)
    with pytest.raises(DsopsError, match="is not on this node"):
        talk("cool", release="r0123456789ab", **KIM)
    with pytest.raises(DsopsError, match="is not on the cold tier"):
        talk("heat", release="r0123456789ab", **KIM)


def test_only_people_move_releases_between_the_tiers_and_say_why(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    talk.push(made[0])
    with pytest.raises(DsopsError, match="reason is missing"):
        talk("cool", release=made[0].id, who="kim")
    talk.peer = Peer.AGENT
    for verb in ("cool", "heat"):
        with pytest.raises(DsopsError, match=f"dsops-agent may not ask for {verb}"):
            talk(verb, release=made[0].id, **KIM)
    talk.peer = Peer.OPERATOR
    talk("cool", release=made[0].id, **KIM)
    assert bed.said[-1] == f"dsops: cool {made[0].id} by kim: room"


def test_a_rollback_to_a_cold_release_says_how_to_bring_it_and_how_long_that_takes(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made)
    talk("cool", release=made[0].id, **KIM)
    with pytest.raises(DsopsError, match=f"{made[0].id} lies on the cold tier") as caught:
        talk("rollback", to=made[0].id, who="kim", reason="x")
    assert caught.value.mend == f"`dsops node release heat {made[0].id} --reason ...` (about 0 s), then again"
    assert isinstance(caught.value, ColdError)
    with pytest.raises(DsopsError, match="no release that this node can go back to") as caught:
        talk("rollback", to="r0123456789ab", who="kim", reason="x")
    assert not isinstance(caught.value, ColdError)
    with pytest.raises(ColdError, match="lies on the cold tier"):
        talk("activate", release=made[0].id, who="kim", reason="x")


def test_when_all_good_releases_lie_cold_the_agent_hears_so_and_copies_nothing(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made[:3])
    talk("cool", release=made[0].id, **KIM)
    talk("rollback", who="kim", reason="wrong")
    talk("proven", release=made[1].id, evidence="8 of 8")
    talk.peer = Peer.AGENT
    with pytest.raises(ColdError, match=f"there is no good release to go back to; {made[0].id} lies on the cold tier"):
        talk("rollback", own=True, reason="wrong answers")


def test_the_list_tells_the_way_and_the_seconds_of_each(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    serve_all(talk, bed, made[:3])
    size = sum(len(data) for digest, data in made[0].blobs.items() if digest not in made[1].blobs)
    talk("cool", release=made[0].id, **KIM)
    (bed.root / "state/cold-rate.json").write_text('{"bytes_per_second": 100}')
    talk.push(made[3])
    talk.bring(made[3].id)  # beside it three stays loaded
    said = listed(talk)
    ways = {one.id: (said[one.id]["tier"], said[one.id]["way"], said[one.id]["seconds"]) for one in made}
    assert ways == {
        made[0].id: ("cold", "cold", round(size / 100 + 60 + 3, 1)),
        made[1].id: ("hot", "hot", 63.0),
        made[2].id: ("hot", "warm slot", 1.0),
        made[3].id: ("hot", "", None),
    }
    assert [name for name, one in said.items() if one["back"]] == [made[2].id]
    talk.bring_passports(made[1], bed.signer.certify(make_passport(release=made[1].id, runs=RUNS)))
    assert listed(talk)[made[1].id]["seconds"] == 10.5


def test_a_passport_travels_with_its_release(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    one = made[0]
    pairs = [bed.signer.certify(make_passport(release=one.id, runs=RUNS, hardware=kind)) for kind in (CPU, T4)]
    talk.push(one)
    talk.bring_passports(one, *pairs)
    talk("cool", release=one.id, **KIM)
    assert not list((bed.root / "passports").iterdir())
    assert listed(talk)[one.id]["seconds"] == 10.5
    assert len(listed(talk)[one.id]["passports"]) == 2
    talk("heat", release=one.id, **KIM)
    held = bed.desk().releases.find_passports(one.id)
    assert {(paper.text, paper.signature) for paper in held} == {(pair["text"], pair["signature"]) for pair in pairs}


@pytest.mark.parametrize("how", ["rot", "short", "gone"])
def test_a_blob_that_rotted_on_cold_is_named_and_never_served(
    talk: Talk, bed: Bed, made: tuple[Made, ...], how: str
) -> None:
    one = made[0]
    talk.push(one)
    talk("cool", release=one.id, **KIM)
    digest = max(one.blobs, key=lambda key: len(one.blobs[key]))
    spoil(bed.cold / "blobs" / digest, how)
    for _ in range(2):
        with pytest.raises(DsopsError, match=digest[:12]) as caught:
            talk("heat", release=one.id, **KIM)
        assert "push the release again" in caught.value.mend
        assert "cold" in caught.value.where
    assert not (bed.root / "releases" / one.id).exists()
    assert not (bed.cold / "blobs" / digest).exists()
    assert "is not as the manifest says" in listed(talk)[one.id]["damage"]
    assert listed(talk)[one.id]["seconds"] is None
    talk.push(one)
    assert listed(talk)[one.id]["tier"] == "hot"
    talk("cool", release=one.id, **KIM)
    talk("heat", release=one.id, **KIM)
    assert listed(talk)[one.id]["damage"] == listed(talk)[one.id]["cold_damage"] == ""


def spoil(blob: Path, how: str) -> None:
    """By a disk that does not tell: size and time stay, but for a file that is shorter or not there."""
    before, data = blob.stat(), blob.read_bytes()
    if how == "gone":
        blob.unlink()
        return
    blob.chmod(0o644)
    blob.write_bytes(b"x" * len(data) if how == "rot" else data[:-1])
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_copy_that_rotted_on_cold_is_made_again_before_the_hot_one_goes(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    one = made[0]
    talk.push(one)
    talk("cool", release=one.id, keep_hot=True, **KIM)
    assert listed(talk)[one.id]["tier"] == "hot+cold"
    digest = max(one.blobs, key=lambda key: len(one.blobs[key]))
    spoil(bed.cold / "blobs" / digest, "rot")
    talk("cool", release=one.id, **KIM)
    assert (bed.cold / "releases" / one.id / "models/llm/1/weights.bin").read_bytes() == one.blobs[digest]
    assert any(f"the blob {digest[:12]} is not what its name says; it is copied again" in line for line in bed.logged)


def test_a_source_that_rotted_on_hot_goes_nowhere(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    one = made[0]
    talk.push(one)
    spoil(bed.root / "blobs" / max(one.blobs, key=lambda key: len(one.blobs[key])), "rot")
    with pytest.raises(DsopsError, match="is not what its name says"):
        talk("cool", release=one.id, **KIM)
    assert not (bed.cold / "releases" / one.id).exists()


def test_a_release_that_shares_its_blobs_leaves_them_to_the_other(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    for one in made[:2]:
        talk.push(one)
    talk("cool", release=made[0].id, **KIM)
    assert listed(talk)[made[1].id]["damage"] == ""
    assert set(made[1].blobs) == names(bed.root / "blobs")
    talk("cool", release=made[1].id, **KIM)
    talk("remove", release=made[0].id, **KIM)
    assert listed(talk)[made[1].id]["damage"] == ""
    talk("heat", release=made[1].id, **KIM)
    talk.bring(made[1].id)


def test_a_release_is_removed_from_both_tiers(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    one = made[0]
    talk.push(one)
    talk("cool", release=one.id, keep_hot=True, **KIM)
    assert talk("remove", release=one.id, **KIM)["freed"] == 2 * sum(map(len, one.blobs.values()))
    assert listed(talk) == {}
    assert not list((bed.cold / "blobs").iterdir())
    with pytest.raises(DsopsError, match="is not on this node"):
        talk("remove", release=one.id, **KIM)


def test_without_its_disk_the_cold_tier_refuses_and_the_hot_one_goes_on(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made[:3])
    talk("cool", release=made[0].id, **KIM)
    (bed.cold / STAMP).rename(bed.cold / "was-mounted")
    for verb in ("cool", "heat"):
        with pytest.raises(DsopsError, match="the cold tier is not there: no disk is mounted at") as caught:
            talk(verb, release=made[0].id, **KIM)
        assert "findmnt" in caught.value.mend
    said = talk("list")
    assert said["cold"]["reason"].startswith("no disk is mounted at")
    assert {one["release"] for one in said["releases"]} == {made[1].id, made[2].id}
    talk("rollback", who="kim", reason="x")
    talk("proven", release=made[1].id, evidence="8 of 8")
    assert bed.serves()[1] == made[1].id
    talk.push(made[3])
    assert not list(bed.root.glob("staging/*"))


def test_where_there_is_no_cold_tier_nothing_is_cold(tmp_path: Path, signer: Signer, made: tuple[Made, ...]) -> None:
    bed = Bed(make_root(tmp_path / "plain"), signer)
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk.push(made[0])
        for verb in ("cool", "heat"):
            with pytest.raises(DsopsError, match="this node has no cold tier"):
                talk(verb, release="r0123456789ab" if verb == "heat" else made[0].id, **KIM)
        assert (talk("list")["cold"], listed(talk)[made[0].id]["tier"]) == (None, "hot")
    assert build_keeper(bed.desk()) is None


def test_a_cut_copy_goes_on_where_it_stopped(bed: Bed, made: tuple[Made, ...]) -> None:
    bed.desk().moves.begin()
    one, read = made[0], []

    class Cut(Disk):
        def read(self, fd: int, count: int, offset: int) -> bytes:
            read.append(offset)
            if len(read) == 3:
                raise OSError(5, "Input/output error")
            return super().read(fd, min(count, 1000), offset)

    bed.push(one)
    bed.disk = Cut()
    with pytest.raises(DsopsError, match="the disk refuses: Input/output error"):
        cool(bed, one)
    assert bed.desk().releases.has(one.id)
    held = sum(path.stat().st_size for path in (bed.cold / "staging").iterdir())
    done = sum(path.stat().st_size for path in (bed.cold / "blobs").iterdir())
    assert held + done > 0
    bed.disk, again = Disk(), []

    class Counting(Disk):
        def read(self, fd: int, count: int, offset: int) -> bytes:
            data = super().read(fd, count, offset)
            again.append(len(data))
            return data

    bed.disk = Counting()
    cool(bed, one)
    assert sum(again) == sum(map(len, one.blobs.values())) - held - done


def test_a_cold_disk_that_cannot_be_read_is_named_and_what_came_is_kept(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    class Dying(Disk):
        def read(self, fd: int, count: int, offset: int) -> bytes:
            if offset >= 1000:
                raise OSError(5, "Input/output error")
            return super().read(fd, min(count, 1000), offset)

    talk.push(made[0])
    talk("cool", release=made[0].id, **KIM)
    bed.cold_disk = Dying()
    broken = pytest.raises(DsopsError, match="the disk refuses: Input/output error")
    with serving(bed.desk(), bed.root / "sock2") as dying, broken as caught:
        dying("heat", release=made[0].id, **KIM)
    assert caught.value.where.startswith(str(bed.cold / "blobs"))
    assert "dmesg" in caught.value.mend
    bed.cold_disk = None
    size = sum(map(len, made[0].blobs.values()))
    held = sum(path.stat().st_size for path in (bed.root / "staging").iterdir())
    done = sum(path.stat().st_size for path in (bed.root / "blobs").iterdir())
    assert talk("heat", release=made[0].id, **KIM)["bytes"] == size - held - done < size


def cool(bed: Bed, made: Made) -> None:
    from dsops.node.helper.tell import Note
    from dsops.node.helper.tiers import cool_release

    cool_release(bed.desk(), made.id, note=Note("kim", "room"))


def test_a_hot_tier_without_room_refuses_and_says_how_much_is_missing(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    huge = made[0]
    talk.push(huge)
    talk("cool", release=huge.id, **KIM)
    desk = bed.desk()
    desk.blobs.count_free = lambda: 1000  # type: ignore[method-assign]
    missing = pytest.raises(DsopsError, match=r"the hot tier has 0.00 GB left, .* GB are missing")
    with serving(desk, bed.root / "sock2") as small, missing as caught:
        small("heat", release=huge.id, **KIM)
    assert "release cool ID" in caught.value.mend
    assert not list((bed.root / "blobs").iterdir())


class Small:
    """A hot tier on which so many bytes fit, and not one more."""

    def __init__(self, bed: Bed, room: int) -> None:
        self.blobs, self.room = bed.root / "blobs", room

    def __call__(self) -> int:
        return self.room - sum(path.stat().st_size for path in self.blobs.iterdir())


def test_a_push_that_lacks_room_sends_the_oldest_cold_and_never_deletes(
    talk: Talk, bed: Bed, made: tuple[Made, ...], signer: Signer
) -> None:
    serve_all(talk, bed, made)
    new = signer.sign(make_release("five"))
    desk = bed.desk()
    desk.blobs.count_free = Small(bed, 17_000)  # type: ignore[method-assign]
    with serving(desk, bed.root / "sock2") as small:
        small.push(new)
        said = listed(small)
    assert {name: one["tier"] for name, one in said.items()} == {
        made[0].id: "cold",
        made[1].id: "hot",
        made[2].id: "hot",
        made[3].id: "hot",
        new.id: "hot",
    }
    assert all(one["damage"] == "" for one in said.values())


def test_what_would_not_be_enough_is_not_begun(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    serve_all(talk, bed, made)
    make_room(bed.desk(), 1 << 50)
    assert {one["tier"] for one in listed(talk).values()} == {"hot"}


def test_a_push_hears_what_is_free_and_what_old_releases_would_leave(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made)
    said = talk("have", sums=[])
    gain = count_gain(bed.desk(), find_old(bed.desk()))
    assert gain > 0
    assert said["room"] == said["free"] + gain
    (bed.cold / STAMP).unlink()  # the cold disk is away: nothing can go there
    said = talk("have", sums=[])
    assert said["room"] == said["free"] > 0


def test_what_a_push_counts_on_is_not_dropped_to_make_room_for_it(
    talk: Talk, bed: Bed, made: tuple[Made, ...], signer: Signer
) -> None:
    serve_all(talk, bed, made)
    near = signer.sign(Made(made[0].manifest.replace(b'"tiny"', b'"near"'), made[0].files))
    assert talk("have", sums=list(near.blobs))["missing"] == []
    talk("cool", release=made[0].id, **KIM)
    assert talk("admit", manifest=near.manifest.decode(), signature=near.signature.decode())["new"]
    assert listed(talk)[near.id]["damage"] == ""


def test_a_short_reserve_sends_old_ones_cold_by_itself(talk: Talk, bed: Bed, made: tuple[Made, ...]) -> None:
    serve_all(talk, bed, made)
    bed.settings["hot_reserve"] = 0.999999
    tidy(bed.desk())
    assert {one.id: listed(talk)[one.id]["tier"] for one in made} == {
        made[0].id: "cold",
        made[1].id: "cold",
        made[2].id: "hot",
        made[3].id: "hot",
    }
    assert any("no old release is left to go cold" in line for line in bed.logged)
    told = [record for record in read_history(journal_path(bed.root)) if record.event == "cool"]
    assert [(one.release, one.who) for one in told] == [(made[0].id, "dsops"), (made[1].id, "dsops")]


def test_what_was_brought_for_what_comes_next_is_no_old_release(
    talk: Talk, bed: Bed, made: tuple[Made, ...], signer: Signer
) -> None:
    serve_all(talk, bed, made)
    talk("cool", release=made[0].id, **KIM)
    bed.at += 10
    talk("heat", release=made[0].id, **KIM)
    stamp(bed, made[0].id)
    assert find_old(bed.desk()) == (made[1].id,)


def test_the_way_back_is_brought_to_hot_by_itself_when_the_one_before_is_used_up(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made)
    for one in made[:2]:
        talk("cool", release=one.id, **KIM)
    talk("rollback", who="kim", reason="wrong")
    talk("proven", release=made[2].id, evidence="8 of 8")
    assert bed.serves()[1] == made[2].id
    tidy(bed.desk())
    assert listed(talk)[made[1].id]["tier"] == "hot+cold"
    assert listed(talk)[made[0].id]["tier"] == "cold"


def test_on_a_raid0_what_is_good_lies_cold_as_well_and_outlives_the_hot_tier(
    bed: Bed, made: tuple[Made, ...], tmp_path: Path, signer: Signer
) -> None:
    bed.settings["hot_is_raid0"] = True
    bed.desk().moves.begin()
    desk = bed.desk()
    keeper = build_keeper(desk)
    with serving(desk, bed.root / "sock", keeper=keeper) as talk:
        serve_all(talk, bed, made[:2])
        wait_until(lambda: all(one["tier"] == "hot+cold" for one in listed(talk).values()))
    new = Bed(make_root(tmp_path / "new"), signer, settings=bed.settings)
    new.desk().moves.begin()
    with serving(new.desk(), new.root / "sock") as talk:
        assert talk("list")["cold"]["good"] == [made[1].id, made[0].id]
        tidy(new.desk())
        assert talk("list")["cold"]["good"], "a store that was begun anew does not overwrite what it does not know"
        talk("heat", release=made[1].id, who="kim", reason="the disk is new")
        talk.bring(made[1].id)
        assert new.serves()[1] == made[1].id


def wait_until(is_so: Any, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_keeper_gives_way_to_a_person_and_goes_on_afterwards(bed: Bed, made: tuple[Made, ...]) -> None:
    bed.desk().moves.begin()
    reads, go_on, heat_is_told = [], threading.Event(), threading.Event()

    class Slow(Disk):
        """Reads for the keeper wait until somebody says so."""

        def read(self, fd: int, count: int, offset: int) -> bytes:
            if threading.current_thread().name == "keeper":
                reads.append(offset)
                (heat_is_told if go_on.is_set() else go_on).wait(10)
            return super().read(fd, min(count, 1000), offset)

    for one in made[:2]:
        bed.push(one)
    cool(bed, made[0])
    bed.settings["hot_is_raid0"] = True
    bed.disk = Slow()
    desk = bed.desk()
    state, _ = desk.moves.read()
    assert state.active is None
    keeper = build_keeper(desk)
    with serving(desk, bed.root / "sock", keeper=keeper) as talk:
        talk.bring(made[1].id)
        wait_until(lambda: reads)
        moving = talk("list")["cold"]["moving"]
        assert (moving["release"], moving["to"]) == (made[1].id, "cold")
        heated = threading.Thread(target=lambda: talk("heat", release=made[0].id, **KIM))
        heated.start()
        wait_until(lambda: desk.tiers and desk.tiers.turn._waiting)
        go_on.set()
        heated.join(10)
        heat_is_told.set()
        wait_until(lambda: listed(talk)[made[1].id]["tier"] == "hot+cold")
        assert listed(talk)[made[0].id]["tier"] == "hot+cold"
    events = [record.event for record in read_history(journal_path(bed.root))]
    assert events.index("heat") < events.index("keep")


def test_a_keeper_that_meets_a_bug_says_so_and_lives_on(capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def tidy() -> None:
        asked.append(1)
        raise ValueError("a bug") if len(asked) == 1 else DsopsError("no disk")

    logged: list[str] = []
    keeper = Keeper(tidy, log=logged.append)
    for count in (1, 2):
        keeper.wake()
        wait_until(lambda: not keeper.is_busy)
        assert len(asked) == count
    assert "ValueError: a bug" in capfd.readouterr().err
    assert logged == ["the tiers: no disk"]


def test_a_known_good_release_stays_hot_even_while_a_younger_way_back_is_there(
    talk: Talk, bed: Bed, made: tuple[Made, ...]
) -> None:
    serve_all(talk, bed, made[:2])
    for one in made[2:]:
        talk.push(one)
        talk.bring(one.id)
        bed.at += bed.config.bake_seconds
        talk("age")
    state = bed.desk().moves.read()[0]
    stages = [(one.release, one.stage) for one in state.fallbacks]
    assert stages == [(made[2].id, Stage.BAKED), (made[1].id, Stage.KNOWN_GOOD), (made[0].id, Stage.KNOWN_GOOD)]
    assert isinstance(state.active, Active)
    with pytest.raises(DsopsError, match="must stay"):
        talk("cool", release=made[1].id, **KIM)
    talk("cool", release=made[0].id, **KIM)
