"""What comes in and is cut: what is held is what surely lasted."""

import errno
import hashlib
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.store.blobs import SYNC_EVERY, Blobs
from dsops.node.store.disk import CHUNK, Disk

from tests.node.store.bed import Bed, FailingDisk, Reader

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


def make_part(bed: Bed, size: int) -> Path:
    part = bed.root / "staging" / f"{DIGEST}.part"
    with part.open("wb") as file:
        file.truncate(size)
    return part


def test_after_a_boot_the_end_of_half_a_push_is_not_trusted(bed: Bed) -> None:
    part = make_part(bed, 3 * SYNC_EVERY)
    bed.desk().releases.clean_staging(at=bed.at)
    assert part.stat().st_size == 3 * SYNC_EVERY - SYNC_EVERY - CHUNK
    bed.desk().releases.clean_staging(at=bed.at)
    assert part.stat().st_size == 2 * SYNC_EVERY - CHUNK, "a second start after the same boot trusts it"


def test_without_a_memory_of_the_boot_each_start_is_one(tmp_path: Path) -> None:
    for name in ("blobs", "staging"):
        (tmp_path / name).mkdir()
    part = tmp_path / "staging" / f"{DIGEST}.part"
    part.write_bytes(b"x" * 100)
    Blobs(tmp_path, Disk()).begin_boot()
    assert part.stat().st_size == 0


def test_what_a_failed_fsync_lost_comes_again(bed: Bed) -> None:
    bed.disk = FailingDisk(1, code=errno.EIO, only=["fsync"])
    bed.disk.left = 1 + 1  # the first one is of the folder, for what lies there already
    with pytest.raises(DsopsError, match="the disk refuses"):
        receive(bed, DATA[:5000], held=0)
    bed.disk = Disk()
    held = bed.desk().blobs.find_missing([DIGEST])[0].held
    assert held in (0, 5000)
    receive(bed, DATA[held:], held=held)
    assert bed.desk().blobs.path(DIGEST).read_bytes() == DATA


def receive(bed: Bed, data: bytes, *, held: int) -> None:
    bed.desk().blobs.receive(DIGEST, size=len(DATA), offset=held, read=Reader(data))
