"""dsops' own requests to the releases of a canary: whose turn it is, and what an answer counts for."""

from dataclasses import replace

import pytest
from dsops.core.looks import Code, Look, Witness
from dsops.core.samples import NOTHING, PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Tally, subtract_release
from dsops.core.status import Verdict
from dsops.node.agent.app import join
from dsops.node.agent.events import Now, Probe, Probed, Side
from dsops.node.agent.sampling import Sampling, count
from dsops.node.gateway.counts import Counts
from dsops.node.sources.golden import Golden
from dsops.node.sources.http import Failure
from dsops.node.sources.probe import Heard

from tests.node.agent.world import BOUNDS, PROMPTS, RIGHT, WRONG

OK = Look(1.0, Witness.GATEWAY, Verdict.OK, Code.OK, "", "p1")
BUSY = replace(OK, verdict=Verdict.UNKNOWN, code=Code.TIMEOUT_BUSY)
BAD = replace(OK, verdict=Verdict.BAD, code=Code.FAILED)
IS_WRONG = replace(BAD, code=Code.WRONG)
FULL = Heard(status=429, failure=Failure.ERROR, error="overloaded: 3 wait")


def ask(side: Side = Side.CANARY, *, at: float = 0.0, release: str = "r3", sample: bool = True) -> Probe:
    golden = Golden(release, "m", BOUNDS, PROMPTS)
    return Probe(Witness.GATEWAY, "b", golden, PROMPTS[0], 1, Now(at, at), side=side, sample=sample)


def tell(sampling: Sampling, heard: Heard, look: Look | None, **changes: object) -> None:
    sampling.take(Probed(Now(1.0, 1.0), ask(**changes), heard), look)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("heard", "look", "counted"),
    [
        (RIGHT, OK, (1, 0, 0)),
        (WRONG, IS_WRONG, (1, 0, 1)),
        (Heard(failure=Failure.REFUSED), BAD, (1, 1, 0)),
        (FULL, BUSY, (0, 0, 0)),
        (RIGHT, None, (0, 0, 0)),
    ],
)
def test_an_answer_counts_for_what_it_is(heard: Heard, look: Look | None, counted: tuple[int, int, int]) -> None:
    sampling = Sampling(2.0)
    tell(sampling, heard, look)
    tally = sampling.tallies.get("r3", NOTHING)
    assert (tally.requests, tally.failed, tally.wrong) == counted


def test_what_is_no_sample_counts_for_nothing() -> None:
    sampling = Sampling(2.0)
    tell(sampling, RIGHT, OK, sample=False)
    assert sampling.tallies == {}


def test_times_fall_into_the_same_buckets_as_those_of_clients() -> None:
    heard = replace(RIGHT, tokens=5, first_seconds=0.2, last_seconds=0.3)
    tally = count(NOTHING, heard, OK)
    counts = Counts()
    counts.add_ttft(0.2)
    counts.add_per_token((0.3 - 0.2) / 4)
    real = counts.to_tally("r3").real
    assert (tally.ttft, tally.per_token) == (real.ttft, real.per_token)
    assert (tally.ttft_seconds, tally.per_token_seconds) == (real.ttft_seconds, real.per_token_seconds)
    assert tally.ttft.index(1) == TTFT_BOUNDS.index(0.2)
    assert tally.per_token.index(1) == PER_TOKEN_BOUNDS.index(0.03)
    assert sum(count(tally, replace(heard, first_seconds=1000.0, last_seconds=5000.0), OK).ttft[-1:]) == 1
    assert count(NOTHING, Heard(failure=Failure.TIMEOUT, first_seconds=0.1, last_seconds=0.2), BAD).ttft == ()
    assert count(NOTHING, replace(heard, tokens=1), OK).per_token == ()


def test_the_two_take_turns_half_a_pause_apart() -> None:
    sampling, asked = Sampling(2.0, sides=frozenset(Side)), list[tuple[float, Side]]()
    began = dict.fromkeys(Side, float("-inf"))
    for tick in range(40):
        now = tick / 4
        for side in Side:
            pace = sampling.find_pace(side, now=now, is_busy=False)
            if pace is not None and now - began[side] >= pace:
                began[side] = now
                asked.append((now, side))
                sampling.begin([ask(side, at=now)])
    assert [side for _, side in asked[:6]] == [Side.ACTIVE, Side.CANARY] * 3
    assert [now for now, _ in asked[:4]] == [0.0, 1.0, 2.0, 3.0]


def test_one_that_is_asked_alone_waits_for_nobodys_turn() -> None:
    sampling = Sampling(2.0, sides=frozenset({Side.ACTIVE}))
    usual = sampling.find_pace(Side.ACTIVE, now=0.0, is_busy=False)
    sampling.begin([ask(Side.CANARY, at=0.9), ask(Side.ACTIVE, at=1.0)])
    assert sampling.find_pace(Side.ACTIVE, now=1.1, is_busy=False) == usual


def test_one_that_hangs_does_not_silence_the_other() -> None:
    sampling = Sampling(2.0, sides=frozenset(Side))
    sampling.begin([ask(Side.CANARY, at=0.0), ask(Side.ACTIVE, at=1.0)])
    assert sampling.find_pace(Side.ACTIVE, now=3.0, is_busy=False) is None
    assert sampling.find_pace(Side.ACTIVE, now=5.0, is_busy=False) is not None


def test_a_full_house_is_asked_less_until_it_answers_again() -> None:
    sampling = Sampling(2.0)
    usual = sampling.find_pace(Side.CANARY, now=0.0, is_busy=False)
    tell(sampling, FULL, BUSY)
    slow = sampling.find_pace(Side.CANARY, now=0.0, is_busy=False)
    assert usual
    assert slow
    assert slow >= 4 * usual
    assert sampling.find_pace(Side.ACTIVE, now=0.0, is_busy=False) == usual
    assert sampling.find_pace(Side.ACTIVE, now=0.0, is_busy=True) == slow
    tell(sampling, RIGHT, OK)
    assert sampling.find_pace(Side.CANARY, now=0.0, is_busy=False) == usual


def test_few_releases_are_kept_those_that_were_asked_last() -> None:
    sampling = Sampling(2.0)
    for release in ("r0", "r1", "r2", "r3", "r0", "r9"):
        tell(sampling, RIGHT, OK, release=release)
    assert list(sampling.tallies) == ["r2", "r3", "r0", "r9"]
    assert sampling.tallies["r0"].requests == 2


def test_a_new_agent_does_not_make_clients_requests_count_twice() -> None:
    real = ReleaseTally("r3", real=Tally(requests=100, failed=1), lives="gateway1")
    first, second = Sampling(2.0), Sampling(2.0)
    for _ in range(7):
        tell(first, RIGHT, OK)
    for _ in range(9):
        tell(second, WRONG, IS_WRONG)
    before = join(real, first)
    after = join(replace(real, real=Tally(requests=110, failed=1)), second)
    came = subtract_release(after, before)
    assert (came.real.requests, came.real.failed) == (10, 0)
    assert (came.synthetic.requests, came.synthetic.wrong) == (9, 9)
    again = join(replace(real, real=Tally(requests=150), lives="gateway2"), second)
    came = subtract_release(again, after)
    assert (came.real.requests, came.synthetic.requests) == (150, 0)
