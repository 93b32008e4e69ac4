"""Two controllers: never two active rollouts, and whoever was overtaken is refused by itself and by every node."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dsops.control.cli.lock import lock
from dsops.control.rollout.store import FencedError, Store
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Rollback, Take, Widen
from dsops.core.state import Epoch
from dsops.node.helper.desk import Desk
from dsops.node.helper.tell import Note
from dsops.node.store.journal import Journal

from tests.control.rollout.racer import FENCED, HELD, NODES, find_socket
from tests.control.rollout.world import NEW, SITE, make_world, start
from tests.node.helper.conftest import serving
from tests.node.store.bed import Bed, Signer, make_root

NOTE = Note("kim", "a race")
ROUNDS = 1000


def make_stale(epoch: Epoch, kind: int) -> Activate | Widen | Rollback | Take:
    """One of the orders that a rollout gives."""
    match kind % 4:
        case 0:
            return Activate(NEW, 1.0, "old", "stale", epoch, share=1)
        case 1:
            return Widen(NEW, 5, 1.0, "old", "stale", epoch)
        case 2:
            return Rollback(1.0, "old", "stale", own=False, lasting=True, epoch=epoch)
        case _:
            return Take(epoch)


def open_desk(folder: Path) -> Desk:
    """A node's helper on a real store; nothing here looks at a signature."""
    if not folder.exists():
        make_root(folder)
    return Bed(folder, Signer(folder / "key", folder / "allowed")).desk()


def test_a_node_refuses_every_stale_epoch(tmp_path: Path) -> None:
    """1,000 of 1,000: whatever the order, however old, and the same number of another holder."""
    moves, dice = open_desk(tmp_path / "gpu1").moves, random.Random(5)
    newest = Epoch(900, "new-host")
    moves.act(Take(newest), note=NOTE, epoch=newest)
    before, refused = moves.read(), 0
    for number in range(ROUNDS):
        stale = Epoch(dice.randrange(900), dice.choice(["old-host", "new-host"]))
        stale = Epoch(900, "old-host") if number % 10 == 0 else stale
        with pytest.raises(DsopsError, match=r"is (older than 900 of|held by) new-host"):
            moves.act(make_stale(stale, number), note=NOTE, epoch=stale)
        refused += 1
    print(f"{refused} of {ROUNDS} stale epochs refused, the node's journal has no new record")
    assert moves.read() == before


def test_a_controller_that_was_overtaken_finds_out_before_each_order(tmp_path: Path) -> None:
    store = Store(tmp_path, SITE)
    kept = start(store, make_world(3))
    for number in range(50):
        later = store.take_over(who="me", says="goes on", at=float(number))
        for attempt in (store.check, lambda one: store.save(one, "stale", at=1.0)):
            with pytest.raises(FencedError):
                attempt(kept)
        kept = later


class Racer:
    """A controller's process, and what it said so far."""

    def __init__(self, root: Path, how: str) -> None:
        argv = [sys.executable, "-m", "tests.control.rollout.racer", str(root), how]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def wait_orders(self, count: int) -> None:
        """Until nodes took so many orders of it."""
        end = time.monotonic() + 20
        while self.count_taken() < count:
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.005)

    def count_taken(self) -> int:
        """Orders that nodes took."""
        return sum(one.get("refused") == "" for one in self.said)

    def end(self) -> int:
        code = self.process.wait(20)
        self.reader.join(5)
        return code


@contextmanager
def racing(root: Path, how: str) -> Iterator[Racer]:
    racer = Racer(root, how)
    try:
        yield racer
    finally:
        racer.process.kill()
        racer.end()


def count_active(state: Path) -> int:
    with closing(sqlite3.connect(state / "epochs.db")) as database:
        return int(database.execute("SELECT count(*) FROM rollout WHERE ended IS NULL").fetchone()[0])


def read_epochs(folder: Path) -> list[int]:
    """What the node's journal says, in its order."""
    moves = open_desk(folder).moves
    return [record.state.epoch.number for record in Journal(moves.root, moves.disk).load().records]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An inventory, and the helpers of its nodes, each on a real store and a real socket."""
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/site.py").write_text(f"gpu = {list(NODES)!r}\n")
    with ExitStack() as stack:
        for name in NODES:
            desk = open_desk(tmp_path / name)
            desk.moves.begin()
            stack.enter_context(serving(desk, find_socket(tmp_path, name)))
        yield tmp_path


@pytest.mark.slow
def test_one_that_was_stopped_beyond_any_timeout_is_overtaken_and_never_heard_again(root: Path) -> None:
    """Real processes: one is stopped at a random moment in its work, the next takes over, and the first wakes up."""
    dice, first, woken = random.Random(7), Racer(root, "start"), 0
    try:
        for _ in range(6):
            first.wait_orders(3)
            time.sleep(dice.random() * 0.1)
            first.process.send_signal(signal.SIGSTOP)
            with racing(root, "resume") as refused:
                assert refused.end() == HELD
                assert "stopped" in refused.said[-1]["error"]
            if not break_it(root, first):
                continue
            second = Racer(root, "resume")
            second.wait_orders(6)
            assert count_active(root / "state") == 1
            told = first.count_taken()
            first.process.send_signal(signal.SIGCONT)
            assert first.end() == FENCED, first.said
            assert "gives no order any more" in first.said[-1]["fenced"]
            assert first.count_taken() <= told + 1, "the one that it was stopped in, if that was taken before"
            woken, first = woken + 1, second
        for name in NODES:
            epochs = read_epochs(root / name)
            assert epochs == sorted(epochs), "no order of an older epoch was taken after a newer one"
        print(f"{woken} of 6 controllers woke up overtaken, and each ended before its next order")
        assert woken >= 3
    finally:
        first.process.kill()
        first.end()


def break_it(root: Path, racer: Racer) -> bool:
    """As a person does; where it was stopped with the database in its hand, it must go on first, which is said."""
    words = ["break", "--reason", "stuck", "--i-know"]
    words += ["--state", str(root / "state"), "--inventory", str(root / "inventory/site.py")]
    result = CliRunner().invoke(lock, words)
    if isinstance(result.exception, DsopsError):
        assert "was stopped in the middle" in result.exception.what
        racer.process.send_signal(signal.SIGCONT)
        return False
    assert result.exit_code == 0, (result.output, result.exception)
    return True


@pytest.mark.slow
def test_of_many_controllers_that_begin_at_once_one_runs(root: Path) -> None:
    racers = [Racer(root, "start") for _ in range(5)]
    try:
        end = time.monotonic() + 20
        while sum(racer.process.poll() is None for racer in racers) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        (winner,) = [racer for racer in racers if racer.process.poll() is None]
        winner.wait_orders(3)
        assert count_active(root / "state") == 1
        assert {racer.end() for racer in racers if racer is not winner} == {HELD}
        assert not any(racer.count_taken() for racer in racers if racer is not winner)
    finally:
        for racer in racers:
            racer.process.kill()
            racer.end()
