"""How the driver drives a move on that cannot go on."""

from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from dsops.core.state import TURNS, Active, Kind, Move, NodeState, Policy, Stage, Step
from dsops.core.status import Phase
from dsops.node.agent.driver import RECOVER_MOST_SECONDS, REHASH_AFTER_SECONDS, REHASH_AGAIN_SECONDS, Driver
from dsops.node.agent.events import Call, HelperTold, Now, Seen

MOVE = Move(Kind.ROLLBACK, "r1", "a", Step.START, 0.0, "dsops", "it fails")
STATE = NodeState(active=Active("r2", "b", 0.0, Stage.BAKING), move=MOVE)


@dataclass
class Stuck:
    """A helper that refuses each try, and writes that down."""

    driver: Driver
    seq: int = 1

    def play(self, seconds: int, *, state: NodeState = STATE, since: int = 0) -> list[int]:
        """The seconds at which it was told to recover."""
        told = []
        for second in range(since, since + seconds):
            now = Now(float(second), float(second))
            seen = cast(Seen, SimpleNamespace(store=state, seq=self.seq))
            calls: list[Any] = self.driver.step(now, seen, is_quiet=False)
            for call in calls:
                assert call == Call("recover")
                told.append(second)
                self.seq += 1
                self.driver.take_answer(HelperTold(now, call, "the disk is full"))
        return told


def test_the_first_tries_come_at_once_and_the_later_ones_are_far_apart() -> None:
    told = Stuck(Driver(Policy())).play(1200)
    assert told[0] <= 3
    pauses = [b - a for a, b in pairwise(told)]
    assert pauses[:3] == sorted(pauses[:3])
    assert pauses[2] < 20 < pauses[-1] <= RECOVER_MOST_SECONDS + 2


def test_a_disk_that_is_full_for_twenty_minutes_does_not_use_a_move_up() -> None:
    assert len(Stuck(Driver(Policy())).play(1200)) < TURNS - 4


def test_a_step_that_came_on_is_tried_at_once_again() -> None:
    stuck = Stuck(Driver(Policy()))
    stuck.play(600)
    on = replace(STATE, move=replace(MOVE, step=Step.TIDY))
    stuck.seq += 1
    assert stuck.play(10, state=on, since=600)[0] <= 603


@dataclass
class Quiet:
    """A node on which nothing is wrong, and a helper that hashes; left: how many blobs it still has to."""

    driver: Driver
    left: int = 40
    says: str = ""
    at: int = 0

    def play(
        self, seconds: int, *, phase: Phase = Phase.SERVING, is_quiet: bool = True, move: bool = False
    ) -> list[int]:
        """The seconds at which it was told to hash."""
        told = []
        good = NodeState(active=Active("r2", "b", 0.0, Stage.KNOWN_GOOD), move=MOVE if move else None)
        for second in range(self.at, self.at + seconds):
            now = Now(float(second), float(second))
            seen = cast(Seen, SimpleNamespace(store=good, seq=1, phase=phase))
            for call in self.driver.step(now, seen, is_quiet=is_quiet):
                assert isinstance(call, Call)
                if call.verb == "rehash":
                    told.append(second)
                    self.driver.take_answer(HelperTold(now, call, self.says, said={"left": self.left}))
        self.at += seconds
        return told


def test_what_it_would_go_back_to_is_hashed_again_once_the_slot_has_served_for_a_while() -> None:
    quiet = Quiet(Driver(Policy()))
    assert quiet.play(1000, phase=Phase.LOADING) == []
    first, second = quiet.play(1000)
    assert first == 1000 + REHASH_AFTER_SECONDS
    assert second == first + REHASH_AGAIN_SECONDS
    quiet.left = 0
    assert len(quiet.play(1000)) == 1
    assert quiet.play(10_000) == []


def test_whatever_else_goes_on_comes_before_hashing() -> None:
    for trouble in ({"is_quiet": False}, {"move": True}, {"phase": Phase.STOPPED}):
        quiet = Quiet(Driver(Policy()))
        assert quiet.play(200) == []
        assert quiet.play(1000, **trouble) == []  # type: ignore[arg-type]
        assert quiet.play(200) == []  # it begins to wait anew
        assert quiet.play(200) == [1500]


def test_a_helper_that_cannot_hash_yet_is_asked_again() -> None:
    quiet = Quiet(Driver(Policy()), says="the helper has no verb 'rehash'", left=0)
    assert len(quiet.play(3000)) == 5
