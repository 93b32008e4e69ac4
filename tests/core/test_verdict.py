"""How looks become a verdict, and when traffic goes away and comes back."""

from collections.abc import Iterable

import pytest
from dsops.core.looks import Code, Look, Witness
from dsops.core.status import Verdict
from dsops.core.verdict import (
    DEATHS_SECONDS,
    HORIZON_SECONDS,
    SHOWN_SECONDS,
    Strikes,
    count_strikes,
    want_admit,
    want_eject,
)
from hypothesis import given
from hypothesis import strategies as st

OK, BAD, UNKNOWN = Verdict.OK, Verdict.BAD, Verdict.UNKNOWN
SLOT, GATEWAY, PROCESS, PROGRESS = Witness.SLOT, Witness.GATEWAY, Witness.PROCESS, Witness.PROGRESS


def look(
    at: float, verdict: Verdict, subject: str = "p1", *, who: Witness = SLOT, code: Code = Code.TIMEOUT_STALLED
) -> Look:
    return Look(at, who, verdict, Code.OK if verdict is OK else code, f"{code} {subject}", subject)


def death(at: float, pid: int) -> Look:
    return look(at, BAD, f"pid {pid}", who=PROCESS, code=Code.CRASHED)


def strike(looks: Iterable[Look]) -> Strikes:
    strikes = Strikes()
    for one in looks:
        strikes = strikes.add(one)
    return strikes


def bad(*times: float, code: Code = Code.TIMEOUT_STALLED) -> list[Look]:
    """One prompt after the other."""
    return [look(at, BAD, f"p{number}", code=code) for number, at in enumerate(times)]


# --- the verdict ---


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ([], UNKNOWN),
        ([look(9, OK)], OK),
        (bad(0, 2.5), UNKNOWN),
        (bad(0, 2.5, 5), BAD),
        (bad(0, 2.5, 4.9), UNKNOWN),
        (bad(0, 15, 30), BAD),
        # One prompt that is always wrong is no broken model.
        ([look(at, BAD, "p1") for at in (0, 6, 12, 18)], UNKNOWN),
        # A right answer in between begins anew, an UNKNOWN does not.
        ([*bad(0, 3), look(4, OK), look(6, BAD, "p7")], UNKNOWN),
        ([*bad(0, 3), look(4, UNKNOWN, code=Code.CLOCK), look(6, BAD, "p7")], BAD),
        # The gateway's right answer does not absolve the slot, nor the slot's the gateway.
        ([*bad(0, 3), look(4, OK, who=GATEWAY), look(6, BAD, "p7")], BAD),
        (
            [look(0, BAD, who=GATEWAY), look(3, BAD, "p2", who=GATEWAY), look(4, OK), look(6, BAD, "p3", who=GATEWAY)],
            BAD,
        ),
        # Different witnesses of different things add up; of one thing they do not.
        ([look(0, BAD, "engine", who=PROGRESS), look(2, BAD, "p1"), look(6, BAD, "p2", who=GATEWAY)], BAD),
        ([look(0, BAD, "p1"), look(0.1, BAD, "p1", who=GATEWAY), look(5.5, BAD, "p2")], UNKNOWN),
        # A right answer of the slot shows a living process that moves.
        ([death(0, 1), look(3, OK), *bad(5, 11)], UNKNOWN),
        ([look(0, BAD, "engine", who=PROGRESS), look(3, OK), *bad(5, 11)], UNKNOWN),
        # Three deaths in ten minutes are too many, whatever came in between.
        ([death(0, 1), look(9, OK), death(200, 2), look(210, OK), death(500, 3)], BAD),
        ([death(0, 1), look(9, OK), death(200, 2), look(210, OK), death(200, 2)], UNKNOWN),
        ([death(0, 1), look(9, OK), death(400, 2), death(600, 3)], BAD),
        ([death(0, 1), look(9, OK), death(400, 2), death(601, 3)], UNKNOWN),
        # What nobody saw again for long does not count any more.
        (bad(0, 3, HORIZON_SECONDS), BAD),
        (bad(0, 3, 3 + HORIZON_SECONDS), UNKNOWN),
    ],
)
def test_three_independent_bad_make_a_verdict(looks: list[Look], verdict: Verdict) -> None:
    now = looks[-1].at if looks else 0.0
    assert strike(looks).find_verdict(now) is verdict


def test_a_verdict_goes_when_its_looks_are_old() -> None:
    strikes = strike([*bad(0, 3, 6), death(7, 1), death(8, 2), death(9, 3)])
    assert strikes.find_verdict(9 + HORIZON_SECONDS) is BAD
    assert strikes.find_verdict(10 + DEATHS_SECONDS) is UNKNOWN


def test_a_right_answer_is_ok_for_a_minute() -> None:
    strikes = strike([look(0, OK)])
    assert (strikes.find_verdict(60), strikes.find_verdict(61)) == (OK, UNKNOWN)


def test_a_right_answer_through_the_gateway_alone_is_not_ok() -> None:
    assert strike([look(0, OK, who=GATEWAY)]).find_verdict(1) is UNKNOWN


def test_an_operator_sees_how_many_things_speak_against_it() -> None:
    assert strike([*bad(0, 3), look(6, BAD, "p0")]).count == 2


def test_a_stall_shows_before_it_is_a_hang_and_not_twice() -> None:
    hung = strike([look(5, BAD, "engine", who=PROGRESS, code=Code.HUNG)])
    assert [count_strikes(Strikes(), stall=stall) for stall in (None, 0.0, 1.9, 2.0, 4.0)] == [0, 0, 0, 1, 1]
    assert count_strikes(hung, stall=6.0) == 1


def test_what_looks_every_second_does_not_push_out_the_slots_right_answer() -> None:
    often = [look(at, OK, "engine", who=PROGRESS) for at in range(1, 30)]
    gateway = [look(at + 0.5, OK, who=GATEWAY) for at in range(0, 30, 2)]
    strikes = strike(sorted([look(0, OK), *often, *gateway], key=lambda one: one.at))
    assert strikes.find_verdict(30) is OK
    assert len(strikes.good) <= 24


# --- traffic ---


@pytest.mark.parametrize(
    ("looks", "alone", "with_others"),
    [
        ([], False, False),
        ([look(0, OK)], False, False),
        ([death(0, 1)], True, True),
        ([look(0, BAD, code=Code.REFUSED)], True, True),
        ([look(0, BAD, "engine", who=PROGRESS, code=Code.HUNG)], False, True),
        (bad(0), False, False),
        (bad(0, 2.5), False, True),
        (bad(0, SHOWN_SECONDS), False, True),
        ([look(0, BAD), look(4.9, BAD)], False, False),  # one subject, so one BAD
        ([look(0, BAD), look(5.0, BAD)], False, True),
        (bad(0, 0.1), False, False),  # not shown to the peers for long enough
        (bad(0, 2.5, 5, 9, 15), False, True),
        (bad(0, 2.5, code=Code.WRONG), False, True),
        (bad(0, 2.5, code=Code.FAILED), False, True),
        ([look(at, BAD, f"p{at}", who=GATEWAY, code=Code.GATEWAY_FAILED) for at in (0, 3)], False, True),
        ([death(0, 1), look(5, OK)], False, False),
    ],
)
def test_traffic_goes_away_at_once_or_only_while_another_node_serves(
    looks: list[Look], alone: bool, with_others: bool
) -> None:
    strikes = strike(looks)
    assert bool(want_eject(strikes, peers_serving=0)) == alone
    assert bool(want_eject(strikes, peers_serving=1)) == with_others


def test_the_reason_is_what_was_seen() -> None:
    assert want_eject(strike([death(0, 42)]), peers_serving=0) == "crashed pid 42"


def test_traffic_comes_back_after_two_right_answers_and_one_through_the_gateway() -> None:
    strikes = strike([death(0, 1), look(3, OK), look(4, OK)])
    assert not want_admit(strikes)
    assert not want_admit(strike([death(0, 1), look(3, OK), look(4, OK, who=GATEWAY)]))
    assert want_admit(strikes.add(look(4, OK, who=GATEWAY)))
    assert not want_admit(strikes.add(look(4, OK, who=GATEWAY)).add(look(5, BAD)))


def test_a_right_answer_at_the_moment_of_a_bad_one_clears_it_and_does_not_count() -> None:
    strikes = strike([look(3, BAD), look(3, OK), look(4, OK), look(4, OK, who=GATEWAY)])
    assert strikes.count == 0
    assert not want_admit(strikes)


def test_a_wrong_node_comes_back_when_nobody_else_serves_and_a_dead_one_does_not() -> None:
    wrong = strike(bad(0, 3, code=Code.WRONG))
    assert want_admit(wrong, peers_serving=0)
    assert not want_admit(wrong, peers_serving=1)
    assert not want_admit(strike([death(0, 1)]), peers_serving=0)
    assert not want_admit(strike([death(0, 1), *bad(1, code=Code.WRONG)]), peers_serving=0)


# --- whatever comes ---

looks = st.builds(
    Look,
    at=st.floats(0, 60).map(lambda at: round(at, 1)),
    witness=st.sampled_from(Witness),
    verdict=st.sampled_from(Verdict),
    code=st.sampled_from([code for code in Code if code is not Code.OK]),
    says=st.just("so"),
    subject=st.sampled_from(["p1", "p2", "p3", "engine", "pid 1", "pid 2", "pid 3"]),
)
rows = st.lists(looks, max_size=25).map(lambda row: sorted(row, key=lambda one: one.at))


@given(rows, looks)
def test_unknown_changes_nothing(row: list[Look], one: Look) -> None:
    strikes = strike(row)
    unknown = Look(one.at, one.witness, UNKNOWN, one.code, one.says, one.subject)
    assert strikes.add(unknown) == strikes


@given(rows)
def test_a_verdict_needs_three_things_over_five_seconds_or_three_deaths(row: list[Look]) -> None:
    if strike(row).find_verdict(60.0) is BAD:
        seen = [one for one in row if one.verdict is BAD]
        deaths = {one.subject for one in seen if one.code is Code.CRASHED}
        assert len(deaths) >= 3 or (len({one.subject for one in seen}) >= 3 and seen[-1].at - seen[0].at >= 5.0)


@given(rows, st.sampled_from(Witness))
def test_a_good_look_never_makes_it_worse(row: list[Look], who: Witness) -> None:
    strikes = strike(row)
    after = strikes.add(look(60.0, OK, who=who))
    assert not (after.find_verdict(60.0) is BAD and strikes.find_verdict(60.0) is not BAD)
    for peers in (0, 1):
        assert want_eject(strikes, peers_serving=peers) or not want_eject(after, peers_serving=peers)
        assert want_admit(after, peers_serving=1) or not want_admit(strikes, peers_serving=1)


@given(rows)
def test_fewer_peers_never_make_it_leave(row: list[Look]) -> None:
    strikes = strike(row)
    assert want_eject(strikes, peers_serving=1) or not want_eject(strikes, peers_serving=0)


@given(rows)
def test_the_last_node_leaves_only_when_its_engine_is_dead(row: list[Look]) -> None:
    if want_eject(strike(row), peers_serving=0):
        assert any(one.verdict is BAD and one.code in (Code.CRASHED, Code.REFUSED) for one in row)


@given(rows)
def test_what_wants_in_has_no_reason_to_leave_again(row: list[Look]) -> None:
    strikes = strike(row)
    if want_admit(strikes):
        reasons = {one.witness for one in strikes.bad}
        assert not want_eject(strikes, peers_serving=9), reasons


@given(rows)
def test_strikes_do_not_grow_without_end(row: list[Look]) -> None:
    strikes = strike([*row] * 20)
    assert max(len(strikes.bad), len(strikes.deaths), len(strikes.good)) <= 32


# --- a fleet that falls ill together ---


class Sick:
    """A node that gives wrong answers, or hangs, from its onset on. Time in tenths of a second."""

    def __init__(self, *, onset: int, phase: int, hangs: bool) -> None:
        self.onset, self.phase, self.hangs = onset, phase, hangs
        self.strikes = Strikes()
        self.ejected = False
        self.shown: list[bool] = []  # whether it seems to serve, at each tenth of a second

    def look(self, now: int) -> None:
        """Probes every 15 s, after a BAD every 2.5 s; counters each second."""
        ill = now - self.onset
        if self.hangs and ill >= 50 and now % 10 == self.phase % 10:
            self.strikes = self.strikes.add(look(now / 10, BAD, "engine", who=PROGRESS, code=Code.HUNG))
        if not self.hangs and ill >= 0 and now % (25 if self.strikes.bad else 150) == self.phase % 25:
            self.strikes = self.strikes.add(look(now / 10, BAD, f"p{now}", code=Code.WRONG))

    def show(self, now: int) -> None:
        """Its status is made once a second."""
        if now % 10 == self.phase % 10 or not self.shown:
            stall = max(0, now - self.onset) / 10 if self.hangs else 0.0
            self.shown.append(not self.ejected and count_strikes(self.strikes, stall=stall) == 0)
        else:
            self.shown.append(self.shown[-1])


@pytest.mark.slow
@given(
    st.lists(
        st.builds(Sick, onset=st.integers(0, 60), phase=st.integers(0, 149), hangs=st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_a_fleet_that_falls_ill_together_never_takes_itself_out(nodes: list[Sick], chance: object) -> None:
    for now in range(400):
        for node in nodes:
            node.look(now)
        for node in nodes:
            age = chance.randint(0, int(SHOWN_SECONDS * 10) - 11)  # type: ignore[attr-defined]
            serving = sum(one.shown[max(0, now - 1 - age)] for one in nodes if one is not node and one.shown)
            node.ejected = node.ejected or bool(want_eject(node.strikes, peers_serving=serving))
        for node in nodes:
            node.show(now)
        assert not all(node.ejected for node in nodes)
