"""kill -9 at any moment, as a process that really ends: afterwards a whole release serves, and the node goes on."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from dsops.core.events import Activate, Proven, Refuted, Rollback, Widen
from dsops.core.lanes import LANES
from dsops.core.state import Step
from dsops.node.helper.tell import Note
from dsops.node.run import Done
from dsops.node.store.disk import Disk
from dsops.node.store.journal import journal_path, scan_journal

from tests.node.store.bed import CHANGING, Bed, Made, Signer, Systemd, make_release, make_root, make_signer
from tests.node.store.test_errors import check_consistent

pytestmark = pytest.mark.slow
NOTE = Note("kim", "new")
ROOT = Path(__file__).parents[3]


class Clock:
    """Kills its own process at the n-th change of disk or systemd."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalDisk(Disk):
    """A disk on which one dies."""

    def __init__(self, clock: Clock) -> None:
        for name in CHANGING:
            setattr(self, name, self._wrap(getattr(self, name), clock))

    def _wrap(self, real: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            clock.tick()
            return real(*args)

        return call


class MortalSystemd(Systemd):
    """A systemd before which one dies."""

    clock: Clock

    def __call__(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        self.clock.tick()
        return super().__call__(argv, timeout=timeout, input=input)


def push(bed: Bed, made: Made) -> None:
    bed.push(made)


def activate(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Activate(made.id, bed.at, "kim", "new"), note=NOTE)


def activate_share(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Activate(made.id, bed.at, "kim", "new", share=5), note=NOTE)


def activate_alone(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Activate(made.id, bed.at, "kim", "new", alone=True), note=NOTE)


def refute(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Refuted(bed.at, "wrong", lasting=True, release=made.id), note=NOTE)


def widen(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Widen(made.id, 25, bed.at, "kim", "so far good"), note=NOTE)


def widen_all(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Widen(made.id, 100, bed.at, "kim", "so far good"), note=NOTE)


def prove(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Proven(bed.at, made.id), note=NOTE)


def roll_back(bed: Bed, made: Made) -> None:
    warm = bed.desk().hands.find_warm(("a",), seconds=0)
    bed.desk().moves.act(Rollback(bed.at, "kim", "x", own=False, lasting=False, warm=warm), note=NOTE)


def roll_back_cold(bed: Bed, made: Made) -> None:
    bed.desk().moves.act(Rollback(bed.at, "kim", "x", own=False, lasting=False), note=NOTE)


def age(bed: Bed, made: Made) -> None:
    bed.at += bed.config.bake_seconds
    bed.desk().moves.age()


Act = Callable[[Bed, Made], None]
# The last step of each is the one in which the helper is killed.
LIVES: dict[str, tuple[Act, ...]] = {
    "push": (push,),
    "activate": (push, activate),
    "prove": (push, activate, prove),
    "rollback": (push, activate, prove, roll_back),
    "cold rollback": (push, activate, prove, roll_back_cold),
    "age": (push, activate, prove, age),
    "canary": (push, activate_share, prove),
    "widen": (push, activate_share, prove, widen),
    "take over": (push, activate_share, prove, widen_all),
    "return": (push, activate_share, prove, widen, refute),
    "alone": (push, activate_alone),
    "prove alone": (push, activate_alone, prove),
    "refute alone": (push, activate_alone, refute),
}


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def prepare(folder: Path, signer: Signer, pair: tuple[Made, Made], life: str) -> Bed:
    """`one` serves and is baked; all steps of the life but the last are done with `two`."""
    bed = Bed(make_root(folder), signer)
    bed.desk().moves.begin()
    first: tuple[Act, ...] = (push, activate, prove, age)
    for step in first:
        step(bed, pair[0])
    for step in LIVES[life][:-1]:
        step(bed, pair[1])
    return bed


def die(bed: Bed, made: Made, step: Act, *, nth: int) -> bool:
    """Does the step in a process that is killed at its n-th change; False when it came to its end."""
    pid = os.fork()
    if pid == 0:
        clock = Clock(nth)
        bed.disk = MortalDisk(clock)
        bed.systemd.__class__ = MortalSystemd
        bed.systemd.clock = clock  # type: ignore[attr-defined]
        step(bed, made)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status != 0


@pytest.mark.parametrize("life", LIVES)
def test_a_kill_at_any_moment_leaves_a_node_that_serves_and_goes_on(memory: Path, life: str) -> None:
    # A process of its own: what forks here must have one thread, and other tests of a worker leave theirs behind.
    words = [sys.executable, "-m", "tests.node.helper.test_kills", str(memory), life]
    path = os.pathsep.join([str(ROOT / "agent"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def kill_at_every_moment(memory: Path, life: str) -> None:
    """Kills the last step of a life at its 1st, 2nd ... change, each time on a node of its own."""
    signer = make_signer(memory)
    pair = (signer.sign(make_release("one")), signer.sign(make_release("two")))
    third = signer.sign(make_release("three"))
    killed = 0
    for nth in range(1, 200):
        bed = prepare(memory / f"{nth}", signer, pair, life)
        before = read_seqs(bed)[-1]
        if not die(bed, pair[1], LIVES[life][-1], nth=nth):
            break
        killed += 1
        check_consistent(bed, is_served=True)
        state, _ = bed.desk().moves.recover()
        check_consistent(bed, is_served=True)
        assert state.active
        if not state.canary:
            assert bed.serves()[1] == state.active.release
        assert bed.desk().hands.pointers.find_damage(state) == []
        seqs = read_seqs(bed)
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        assert seqs[-1] >= before
        go_on(bed, pair, third)
    print(f"{life}: killed at {killed} moments")
    assert killed >= 3


def read_seqs(bed: Bed) -> list[int]:
    return [record.seq for record in scan_journal(journal_path(bed.root)).records]


def go_on(bed: Bed, pair: tuple[Made, Made], third: Made) -> None:
    """What waits for its proof is proven, and a canary taken back; then another release is brought in as ever."""
    state, _ = bed.desk().moves.read()
    if state.move and not state.canary:
        assert state.move.step is Step.PROVE
        bed.desk().moves.act(Proven(bed.at), note=NOTE)
    if bed.desk().moves.read()[0].canary:
        roll_back_cold(bed, pair[1])
    for made in (pair[1], third):
        push(bed, made)
    assert not [path for path in (bed.root / "staging").iterdir() if path.suffix == ".rotten"]
    activate(bed, third)
    prove(bed, third)
    assert bed.serves()[1] == third.id
    for lane in LANES:
        assert (bed.root / "lanes" / lane / "release.json").read_bytes() == third.manifest


if __name__ == "__main__":
    kill_at_every_moment(Path(sys.argv[1]), sys.argv[2])
