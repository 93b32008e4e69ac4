"""The kill table, made from the list of steps: an error and a kill in each step of each kind of move, both recovered.

A row is one step of one kind of move and one ill. Its moments are before and after each change of disk or systemd
while the journal says that step.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Event, Proven, Refuted, Rollback, Widen
from dsops.core.node import pending_effects
from dsops.core.state import WAITS, Kind, Step
from dsops.node.helper.tell import Note
from dsops.node.run import Done
from dsops.node.store.disk import Disk
from dsops.node.store.journal import journal_path, read_state, scan_journal

from tests.node.store.bed import CHANGING, Bed, Made, Signer, Systemd, make_release, make_root, make_signer

NOTE = Note("kim", "new")
ILLS = ("error", "killed")
Say = Callable[[Bed, Made], Event]


class Killed(BaseException):
    """kill -9, as far as one process can play it for itself; tests/node/helper/test_kills.py really does it."""


def activate(bed: Bed, made: Made) -> Event:
    return Activate(made.id, bed.at, "kim", "new")


def activate_share(bed: Bed, made: Made) -> Event:
    return Activate(made.id, bed.at, "kim", "new", share=5)


def activate_alone(bed: Bed, made: Made) -> Event:
    return Activate(made.id, bed.at, "kim", "new", alone=True)


def prove(bed: Bed, made: Made) -> Event:
    return Proven(bed.at)


def refute(bed: Bed, made: Made) -> Event:
    return Refuted(bed.at, "wrong", lasting=True, release=made.id)


def widen(bed: Bed, made: Made) -> Event:
    return Widen(made.id, 25, bed.at, "kim", "so far good")


def roll_back(bed: Bed, made: Made) -> Event:
    return Rollback(bed.at, "kim", "x", own=False, lasting=False)


@dataclass(frozen=True)
class Life:
    """What is said to a node on which `one` serves, until the move of this kind has ended. away: no traffic comes."""

    says: tuple[Say, ...]
    away: bool = False


# Each kind of move, with what leads it through all steps that it can come to.
LIVES: dict[str, Life] = {
    "activate": Life((activate_share, prove, widen, roll_back)),
    "rollback": Life((activate, prove, roll_back, prove)),
    "alone": Life((activate_alone, prove), away=True),
    "alone, refuted": Life((activate_alone, refute, prove), away=True),
}
# What has no such step, and why: the table holds every other pair.
NEVER = {
    ("rollback", Step.CANARY): "the way back gets all of the traffic",
    ("rollback", Step.RETURN): "only a canary's lanes return",
    ("alone", Step.CANARY): "there is no memory for two, so no share",
    ("alone", Step.RETURN): "only a canary's lanes return",
    ("alone, refuted", Step.CANARY): "there is no memory for two, so no share",
    ("alone, refuted", Step.RETURN): "only a canary's lanes return",
}
ROWS = [(life, step, ill) for life in LIVES for step in Step for ill in ILLS if (life, step) not in NEVER]


@dataclass
class Ill:
    """Strikes at the n-th change while the journal says `step`; n counts from 1, a kill comes before or after it."""

    root: Path
    step: Step
    ill: str
    nth: int
    life: str
    seen: int = 0
    hits: int = 0
    struck: bool = False

    def wrap(self, real: Callable[..., Any], fail: Callable[[], Any]) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            if self.struck or not self._is_here():
                return real(*args, **words)
            self.seen += 1
            if self.ill == "killed" and self.seen == (self.nth + 1) // 2:
                self._hit()
                if self.nth % 2 == 0:
                    real(*args, **words)
                raise Killed
            if self.ill == "error" and self.seen == self.nth:
                self._hit()
                return fail()
            return real(*args, **words)

        return call

    def _hit(self) -> None:
        self.struck, self.hits = True, 1

    def _is_here(self) -> bool:
        move = read_state(self.root)[0].move
        is_theirs = move is not None and (move.kind is Kind.ROLLBACK) == (self.life in ("rollback", "alone, refuted"))
        return move is not None and is_theirs and move.step is self.step


def raise_io() -> Any:
    raise OSError(5, "no such luck")


class IllDisk(Disk):
    """A disk that is struck."""

    def __init__(self, ill: Ill) -> None:
        for name in CHANGING:
            setattr(self, name, ill.wrap(getattr(self, name), raise_io))


class IllSystemd(Systemd):
    """A systemd that is struck; it goes on from where the good one was."""

    def __init__(self, good: Systemd, ill: Ill) -> None:
        super().__init__(**vars(good))
        self.ill = ill

    def __call__(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        real = super().__call__
        if argv[0] != "systemctl" or argv[1] == "show":
            return real(argv, timeout=timeout, input=input)
        call = self.ill.wrap(real, lambda: Done(1, "", "no such luck"))
        done: Done = call(argv, timeout=timeout, input=input)
        return done


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture(scope="module")
def made(signer: Signer) -> tuple[Made, Made, Made]:
    one, two, three = (signer.sign(make_release(name)) for name in ("one", "two", "three"))
    return one, two, three


def say(bed: Bed, event: Event) -> None:
    bed.desk().moves.act(event, note=NOTE)


@pytest.fixture(scope="module")
def served(signer: Signer, made: tuple[Made, Made, Made]) -> Iterator[Bed]:
    """`one` serves in slot a and is past its bake window; the others are here. To be copied."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        bed = Bed(make_root(Path(folder) / "store"), signer)
        for one in made:
            bed.push(one)
        bed.desk().moves.begin()
        say(bed, activate(bed, made[0]))
        say(bed, Proven(bed.at))
        bed.at += bed.config.bake_seconds
        bed.desk().moves.age()
        yield bed


def copy(bed: Bed, folder: Path) -> Bed:
    """A node as that one is."""
    shutil.copytree(bed.root, folder, symlinks=True)
    return replace(bed, root=folder, systemd=deepcopy(bed.systemd), said=[], logged=[])


def live(bed: Bed, life: Life, made: Made, ill: Ill | None) -> set[Step]:
    """Says all of it; what was struck goes on with `recover`, by a helper that was just started. The steps seen."""
    disk = bed.disk
    if ill:
        bed.disk, bed.systemd = IllDisk(ill), IllSystemd(bed.systemd, ill)
    for words in life.says:
        with suppress(Killed, DsopsError):
            say(bed, words(bed, made))
        if ill and ill.struck:
            bed.disk, ill = disk, None
            check_traffic(bed, life)
            bed.desk().moves.recover()
            check_recovered(bed, life)
            with suppress(DsopsError):  # an operator types it again; that it happened already is no error
                say(bed, words(bed, made))
    bed.disk = disk
    if ill:
        ill.struck = True  # what follows is not of this row
    return {record.state.move.step for record in scan_journal(journal_path(bed.root)).records if record.state.move}


def check_traffic(bed: Bed, life: Life) -> None:
    """Every lane leads to a slot that holds a release and runs, whatever moment it is; alone, none need run."""
    lanes = bed.desk().hands.pointers.read_lanes()
    assert len(lanes) == 5
    for lane, slot in lanes.items():
        assert (bed.root / "lanes" / lane / "release.json").is_file()
        assert life.away or f"triton@{slot}.service" in bed.systemd.since


def check_recovered(bed: Bed, life: Life) -> None:
    """The move ended, or waits for what somebody says; links are as the state says; another recover does nothing."""
    check_traffic(bed, life)
    moves = bed.desk().moves
    state, seq = moves.read()
    assert state.move is None or state.move.step in WAITS
    assert not pending_effects(state)
    assert bed.desk().hands.pointers.find_damage(state) == []
    assert state.halted == ""
    moves.recover()
    assert moves.read() == (state, seq)


def finish(bed: Bed, made: tuple[Made, Made, Made]) -> None:
    """Whatever waits ends; then a third release comes in as ever."""
    state = bed.desk().moves.read()[0]
    if state.canary:
        say(bed, Rollback(bed.at, "kim", "x", own=False, lasting=False))
    elif state.move:
        say(bed, Proven(bed.at))
    state = bed.desk().moves.read()[0]
    assert (state.move, state.halted) == (None, "")
    assert state.active
    assert bed.serves() == (state.active.slot, state.active.release)
    say(bed, Activate(made[2].id, bed.at, "kim", "new"))
    say(bed, Proven(bed.at))
    assert bed.serves()[1] == made[2].id


@pytest.mark.parametrize("life", LIVES)
def test_the_table_holds_every_step_that_a_kind_of_move_comes_to(
    tmp_path: Path, served: Bed, made: tuple[Made, Made, Made], life: str
) -> None:
    bed = copy(served, tmp_path / "store")
    assert live(bed, LIVES[life], made[1], None) == {row[1] for row in ROWS if row[0] == life}
    finish(bed, made)


def test_no_step_is_without_both_rows() -> None:
    for step in Step:
        assert {row[2] for row in ROWS if row[1] is step} == set(ILLS), step
    assert len(ROWS) + len(ILLS) * len(NEVER) == len(LIVES) * len(Step) * len(ILLS)
    assert {kind.value for kind in Kind} <= set(LIVES)


def strike(served: Bed, made: tuple[Made, Made, Made], row: tuple[str, Step, str], *, nth: int) -> bool:
    """One moment of a row, on a node of its own; False when there is none any more."""
    life, step, ill = row
    with tempfile.TemporaryDirectory(dir=served.root.parent) as folder:
        bed = copy(served, Path(folder) / "store")
        struck = Ill(bed.root, step, ill, nth, life)
        live(bed, LIVES[life], made[1], struck)
        finish(bed, made)
        return struck.hits > 0


@pytest.mark.parametrize("row", ROWS, ids=[f"{life}-{step}-{ill}" for life, step, ill in ROWS])
def test_each_row_recovers_from_its_first_moment(
    served: Bed, made: tuple[Made, Made, Made], row: tuple[str, Step, str]
) -> None:
    assert strike(served, made, row, nth=1)


@pytest.mark.slow
@pytest.mark.parametrize("life", LIVES)
def test_each_row_recovers_from_every_moment(
    served: Bed, made: tuple[Made, Made, Made], life: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for row in (row for row in ROWS if row[0] == life):
        moments = next(nth for nth in range(1, 1000) if not strike(served, made, row, nth=nth)) - 1
        assert moments
        lines.append(f"{life:<15} {row[1]:<7} {row[2]:<7} {moments:>3} of {moments} moments recovered")
    with capsys.disabled():
        print("", *lines, sep="\n")
