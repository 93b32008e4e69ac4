"""A bundle's proof is remembered for a day, and by nothing that changed since, nor by what somebody else wrote."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from roles.ops.proven import DAY, KINDS, find_looks, is_remembered, remember
from roles.ops.proven import prove_once as prove_as_it_is

KEY = "signers"
TICK = 0.1
prove_once = partial(prove_as_it_is, settled=TICK)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder whose last change is old enough."""
    folder = tmp_path / "bundle"
    (folder / "apt/base").mkdir(parents=True)
    (folder / "SHA256SUMS").write_text("sums")
    (folder / "apt/base/a.deb").write_text("content")
    time.sleep(2 * TICK)
    return folder


class Prover:
    """Counts how often it was asked."""

    def __init__(self, *, good: bool = True) -> None:
        self.times, self.good = 0, good

    def __call__(self) -> None:
        self.times += 1
        if not self.good:
            raise ValueError("not as signed")


def test_what_was_proven_is_not_proven_again(tmp_path: Path, bundle: Path) -> None:
    prove = Prover()
    for _ in range(3):
        prove_once(bundle, prove, key=KEY, folder=tmp_path / "state/proven")
    assert prove.times == 1
    assert (tmp_path / "state/proven").stat().st_mode & 0o777 == 0o700


def same_size_and_times(bundle: Path) -> None:
    """Whoever tampers sets back what can be set back."""
    file = bundle / "apt/base/a.deb"
    before = file.stat()
    file.write_text("CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content, with its old size and time": same_size_and_times,
    "another file in its place": lambda b: (b / "new").write_text("content") and (b / "new").replace(b / "SHA256SUMS"),
    "a further file": lambda b: (b / "more").touch(),
    "a file less": lambda b: (b / "apt/base/a.deb").unlink(),
    "a folder's mode": lambda b: (b / "apt").chmod(0o777),
    "a link": lambda b: (b / "link").symlink_to("SHA256SUMS"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_any_change_it_is_proven_again(tmp_path: Path, bundle: Path, change: str) -> None:
    prove = Prover()
    prove_once(bundle, prove, key=KEY, folder=tmp_path / "proven")
    CHANGES[change](bundle)
    time.sleep(2 * TICK)
    prove_once(bundle, prove, key=KEY, folder=tmp_path / "proven")
    assert prove.times == 2


def test_other_signers_prove_for_themselves(tmp_path: Path, bundle: Path) -> None:
    prove = Prover()
    for key in (KEY, "others"):
        prove_once(bundle, prove, key=key, folder=tmp_path / "proven")
    assert prove.times == 2


def test_a_bundle_that_failed_is_not_remembered(tmp_path: Path, bundle: Path) -> None:
    prove = Prover(good=False)
    for _ in range(2):
        with pytest.raises(ValueError, match="not as signed"):
            prove_once(bundle, prove, key=KEY, folder=tmp_path / "proven")
    assert prove.times == 2


def test_one_that_changed_while_it_was_proven_is_not_remembered(tmp_path: Path, bundle: Path) -> None:
    prove_once(bundle, lambda: (bundle / "more").touch(), key=KEY, folder=tmp_path / "proven")
    assert not (tmp_path / "proven").exists()


def test_one_that_changed_just_now_says_too_little(bundle: Path) -> None:
    assert find_looks(bundle, KEY, settled=TICK)
    (bundle / "SHA256SUMS").write_text("other")
    assert find_looks(bundle, KEY) == ""


def test_one_that_is_not_there_is_left_to_the_proof(tmp_path: Path) -> None:
    prove = Prover()
    prove_once(tmp_path / "nowhere", prove, key=KEY, folder=tmp_path / "proven")
    assert prove.times == 1


def test_a_proof_ends_after_a_day_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "proven"
    remember(folder, "old")
    assert is_remembered(folder, "old")
    os.utime(folder / "old", (0, time.time() - DAY - 1))
    assert not is_remembered(folder, "old")
    remember(folder, "new")
    assert [file.name for file in folder.iterdir()] == ["new"]


def test_a_proof_from_the_future_counts_for_nothing(tmp_path: Path) -> None:
    remember(tmp_path / "proven", "it")
    os.utime(tmp_path / "proven/it", (0, time.time() + 100))
    assert not is_remembered(tmp_path / "proven", "it")


def test_a_folder_that_others_may_write_counts_for_nothing(tmp_path: Path) -> None:
    remember(tmp_path / "proven", "it")
    (tmp_path / "proven").chmod(0o777)
    assert not is_remembered(tmp_path / "proven", "it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", [".", "it"])
def test_a_proof_of_somebody_else_counts_for_nothing(tmp_path: Path, what: str) -> None:
    remember(tmp_path / "proven", "it")
    os.chown(tmp_path / "proven" / what, 65534, 65534)
    assert not is_remembered(tmp_path / "proven", "it")


def test_a_stick_that_keeps_no_time_of_change_is_always_hashed() -> None:
    assert not KINDS & {"vfat", "exfat", "ntfs3", "nfs", "nfs4", "cifs", "fuseblk"}
