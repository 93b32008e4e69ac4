"""What a node would go back to is hashed once more after a boot, beside everything else; what rotted is set aside."""

import errno
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Halt, Rollback
from dsops.node.helper.desk import Desk
from dsops.node.helper.listing import find_missing
from dsops.node.helper.moves import OWN
from dsops.node.helper.peers import Peer
from dsops.node.helper.rehash import find_left, hash_all
from dsops.node.run import Done, run
from dsops.node.store.disk import hash_slowly
from dsops.node.store.journal import journal_path, scan_journal
from dsops.node.store.reread import BYTES_PER_SECOND, ROTTEN, make_rest

from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made, Signer, make_release

LONG = 120.0


@pytest.fixture
def served(bed: Bed, one: Made, two: Made) -> Bed:
    """Two has the traffic, one is the way back, and the server has just booted: nobody has hashed anything yet."""
    desk = bed.desk()
    desk.moves.begin()
    for made in (one, two):
        bed.push(made)
        with serving(desk, bed.root / "sock") as talk:
            talk.bring(made.id)
        bed.systemd.now += LONG
        bed.at += 2000.0
        desk.moves.age()
    boot(bed)
    return bed


def boot(bed: Bed) -> None:
    (bed.root / "seen.json").unlink()


def find_blob(bed: Bed, made: Made, name: str = "models/llm/1/weights.bin") -> Path:
    return bed.root / "blobs" / hashlib.sha256(made.files[name]).hexdigest()


def rot(blob: Path) -> None:
    """One bit, with neither its size nor its time, as a disk does it."""
    seen = blob.stat()
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    blob.chmod(0o444)
    os.utime(blob, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def settle(desk: Desk) -> None:
    end = time.monotonic() + 60
    while desk.beside.is_busy:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_after_a_boot_each_blob_is_hashed_once_and_then_remembered(served: Bed, one: Made, two: Made) -> None:
    desk = served.desk()
    left = find_left(desk)
    assert set(left) == {*one.blobs, *two.blobs}
    first, *_ = left
    assert first in one.blobs  # the way back comes first
    with serving(desk, served.root / "sock") as talk:
        talk.peer = Peer.AGENT
        assert talk("rehash")["left"] == len(left)
        settle(desk)
        assert talk("rehash")["left"] == 0
    assert served.logged[-1].endswith("blobs of 0.00 GB were hashed again since the boot")
    desk.releases.check_whole(one.id)  # nothing of it is hashed again
    assert find_left(served.desk()) == {}
    boot(served)
    assert len(find_left(served.desk())) == len(left)


def test_only_the_agent_and_root_may_ask_for_it(talk: Talk) -> None:
    talk.peer = Peer.OPERATOR
    with pytest.raises(DsopsError, match="may not ask for rehash"):
        talk("rehash")


def test_a_rotten_way_back_is_found_told_and_not_gone_back_to(
    served: Bed, one: Made, two: Made, signer: Signer
) -> None:
    three = signer.sign(make_release("three"))
    desk = served.desk()
    served.push(three)
    with serving(desk, served.root / "sock") as talk:
        talk.bring(three.id)
        served.systemd.now += LONG
        blob = find_blob(served, two)
        rot(blob)
        talk("rehash")
        settle(desk)
        listed = {entry["release"]: entry for entry in talk("list")["releases"]}
        assert listed[two.id]["damage"]
        assert (listed[two.id]["back"], listed[one.id]["back"]) == (False, True)
        assert not listed[one.id]["damage"]
        state = talk("rollback", who="ann", reason="it fails")["state"]
        assert state["move"]["release"] == one.id
    assert not blob.exists()
    assert (served.root / "staging" / f"{blob.name}.rotten").exists()
    records = [record for record in scan_journal(journal_path(served.root)).records if record.event == "rotten"]
    assert [record.release for record in records] == [two.id]
    assert f"of {two.id} has rotted on this disk: it is not what its name says" in records[0].says


def test_the_only_way_back_stays_one_though_it_rotted(served: Bed, one: Made) -> None:
    rot(find_blob(served, one))
    desk = served.desk()
    hash_all(desk)
    state, _ = desk.moves.read()
    assert desk.releases.find_damage(one.id)
    assert find_missing(desk, state) == ()


def test_a_push_mends_what_rotted(served: Bed, one: Made, two: Made) -> None:
    rot(find_blob(served, two))
    hash_all(served.desk())
    assert served.desk().releases.find_damage(two.id)
    with serving(served.desk(), served.root / "sock") as talk:
        talk.push(two)
    assert not served.desk().releases.find_damage(two.id)
    assert find_left(served.desk()) == {}


def answering(bed: Bed, answer: Callable[[Sequence[str]], Done | None]) -> Desk:
    """A desk whose readers answer as they are told; None: as they are."""
    desk = bed.desk()

    def ask(argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        told = answer(argv) if "dsops.node.store.reread" in argv else None
        return told or bed.systemd(argv, timeout=timeout, input=input)

    object.__setattr__(desk, "run", ask)
    return desk


def test_a_disk_that_cannot_give_a_blob_back_twice_has_lost_it(served: Bed, two: Made) -> None:
    name = find_blob(served, two).name
    desk = answering(served, lambda argv: Done(3, "", "Input/output error") if argv[-1].endswith(name) else None)
    hash_all(desk)
    assert desk.releases.find_damage(two.id)
    assert any("the disk cannot give it back (Input/output error)" in line for line in served.logged)


def test_one_bad_moment_costs_nothing(served: Bed, two: Made) -> None:
    asked: list[str] = []

    def answer(argv: Sequence[str]) -> Done | None:
        asked.append(argv[-1])
        return Done(0, "0" * 64, "") if len(asked) == 1 else None

    desk = answering(served, answer)
    hash_all(desk)
    assert asked[0] == asked[1]
    assert find_left(desk) == {}
    assert not desk.releases.find_damage(two.id)


def test_what_nobody_can_say_is_tried_again_at_the_next_asking(served: Bed, one: Made, two: Made) -> None:
    desk = answering(served, lambda _: Done(1, "", "Too many open files"))
    before = len(find_left(desk))
    desk.beside.begin(lambda: hash_all(desk))
    settle(desk)
    assert "cannot be read again: Too many open files" in served.logged[-1]
    assert len(find_left(desk)) == before
    assert not any(desk.releases.find_damage(made.id) for made in (one, two))


@pytest.mark.parametrize("why", ["a move", "a rollback", "a slot that just started", "a slot that stopped"])
def test_whoever_needs_the_disk_goes_first(served: Bed, one: Made, signer: Signer, why: str) -> None:
    desk = served.desk()
    state, _ = desk.moves.read()
    assert state.active
    if why == "a move":
        three = signer.sign(make_release("three"))
        served.push(three)
        desk.moves.act(Activate(three.id, served.at, "ann", "new"), note=OWN)
    elif why == "a rollback":
        event = Rollback(served.at, "dsops", "it fails", own=True, lasting=False)
        desk.moves.act(event, note=OWN)
    elif why == "a slot that just started":
        served.systemd.since[f"triton@{state.active.slot}.service"] = served.systemd.now - 1.0
    else:
        served.systemd.since.clear()
    before = find_left(desk)
    hash_all(desk)
    assert find_left(desk) == before != {}


def test_it_ends_in_the_middle_and_goes_on_where_it_was(served: Bed) -> None:
    desk = served.desk()
    total = len(find_left(desk))

    def answer(argv: Sequence[str]) -> None:
        if len(find_left(desk)) == total - 1:
            served.systemd.since.clear()  # the slot stops while the second one is read

    hash_all(answering(served, answer))
    assert len(find_left(desk)) == total - 2
    served.systemd.since["triton@b.service"] = 0.0
    hash_all(desk)
    assert find_left(desk) == {}


def test_a_halted_node_is_hashed_too(served: Bed) -> None:
    desk = served.desk()
    desk.moves.act(Halt("a person looks"), note=OWN)
    hash_all(desk)
    assert find_left(desk) == {}


# --- the reader ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) + 1, (3 << 20)])
def test_it_hashes_files_of_any_size(tmp_path: Path, size: int) -> None:
    file, heard = tmp_path / "x", list[int]()
    file.write_bytes(bytes(range(256)) * (size // 256) + b"z" * (size % 256))
    assert hash_slowly(file, rest=heard.append) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert ([size] if size else []) == heard[-1:]


def test_a_file_system_without_direct_reads_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc" * 1000)
    real, refused = os.preadv, list[int]()

    def refuse(fd: int, buffers: object, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(fd)
            raise OSError(errno.EINVAL, "no")
        return real(fd, buffers, offset)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", refuse)
    assert hash_slowly(file, rest=lambda _: None) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_its_exit_says_whether_the_disk_is_to_blame(tmp_path: Path) -> None:
    done = run([sys.executable, "-I", "-m", "dsops.node.store.reread", str(tmp_path / "none")])
    assert (done.code, done.stdout, done.stderr) == (1, "", "No such file or directory\n")
    assert {errno.EIO, errno.EUCLEAN} < set(ROTTEN)


def test_it_leaves_most_of_the_disk_to_others() -> None:
    slept = list[float]()
    rest = make_rest(clock=lambda: 100.0, sleep=slept.append)
    rest(int(BYTES_PER_SECOND))
    rest(int(BYTES_PER_SECOND * 3))
    assert slept == [1.0, 3.0]
