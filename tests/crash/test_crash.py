"""A slice of `make crash`: power cuts, kills and errors of some operations, and wrong protocols that must be caught."""

import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.acts import make_kit
from tests.crash.explore import Bound, Tried, explore, go_on, record
from tests.crash.faults import Fault, inject, kill
from tests.crash.operations import Ground, find_operations
from tests.crash.wrong import WRONG

OPERATIONS = {one.name: one for one in find_operations()}
# All of them are `make crash`.
SOME = (
    "wrap the ring around",
    "receive the rest",
    "admit one again",
    "adopt and admit a tree",
    "prove and switch",
    "widen",
    "return",
    "remove",
)
FEW = Bound(whole=3, some=2, lives=20)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Ground(Path(folder), make_kit(Path(folder)))


@pytest.mark.parametrize("name", ["begin", "receive a blob"])
def test_a_power_cut_at_any_moment_of_a_short_operation_leaves_a_good_node(ground: Ground, name: str) -> None:
    recording = record(ground, OPERATIONS[name])
    count = explore(recording, ground.kit, folder=ground.folder, bound=FEW, tried=Tried())
    assert count.wrong == []
    assert count.states >= 8


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_a_power_cut_at_any_moment_leaves_a_good_node(ground: Ground, name: str) -> None:
    recording = record(ground, OPERATIONS[name])
    few = Bound(whole=1, some=0, lives=40)
    count = explore(recording, ground.kit, folder=ground.folder, bound=few, tried=Tried())
    assert count.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["begin", "receive a blob", "activate", "remove"])
def test_a_kill_and_a_power_cut_after_the_new_start_leave_a_good_node(ground: Ground, name: str) -> None:
    few = Bound(whole=1, some=0, lives=20)
    count = kill(ground, OPERATIONS[name], every=9, bound=few)
    assert count.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["begin", "receive a blob", "activate", "remove"])
def test_any_call_may_fail(ground: Ground, name: str) -> None:
    found = inject(ground, OPERATIONS[name], codes=(errno.EIO,), every=4)
    assert found.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_protocol_is_caught(ground: Ground, wrong: str) -> None:
    name, make = WRONG[wrong]
    recording = record(ground, OPERATIONS[name], make=make)
    count = explore(recording, ground.kit, folder=ground.folder, bound=replace(FEW, lives=1000), tried=Tried())
    assert count.wrong, "nothing was seen of it"
    assert "cut after call" in count.wrong[0]


def test_what_a_failed_sync_lost_is_lost_in_the_model_too(ground: Ground) -> None:
    fault = Fault(5, errno.EIO)
    recording = record(ground, OPERATIONS["receive a blob"], before=fault)
    assert fault.hit.startswith("fsync")
    assert not recording.returned
    part = next(path for path in (recording.bed.root / "staging").iterdir())
    assert part.stat().st_size == 0, "R6: nothing of it is trusted"
    again = go_on(recording, ground.kit)
    assert again.returned


@pytest.mark.slow
def test_the_same_seed_tries_the_same_states(ground: Ground) -> None:
    counts = []
    for _ in range(2):
        recording = record(ground, OPERATIONS["activate"])
        few = Bound(whole=1, some=1, lives=1000)
        counts.append(explore(recording, ground.kit, folder=ground.folder, bound=few, tried=Tried()).states)
    assert counts[0] == counts[1]
