"""Which class of cause the evidence points at, and what it excludes."""

from dataclasses import replace
from typing import Any

import pytest
from dsops.core.blame import Evidence, Peer, count_serving, find_peer, judge_blame
from dsops.core.looks import Cause, Code, Death, Witness
from dsops.core.status import Blame, Condition, Finding, Measure, Phase, ReleaseState, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_status import make_status
from tests.core.test_verdict import bad, death, look, rows, strike

NOW = 10_000.0
HANGS = strike(bad(0, 3, 6))
WRONG = strike(bad(0, 3, 6, code=Code.WRONG))
WELL = (Peer("gpu2", "r1", serves=True), Peer("gpu3", "r1", serves=True))
BEFORE = Evidence(at=NOW, strikes=HANGS, release="r1", peers=WELL, peers_asked=2)


def finding(blame: Blame, status: Verdict = Verdict.BAD) -> Finding:
    return Finding("gpu 0", "gpu.lost", status, blame, Condition.FAILED, "fell off the bus")


def ill(node: str = "gpu2", release: str = "r1", **more: Any) -> Peer:
    return Peer(node, release, fails=True, **more)


CASES: list[tuple[str, dict[str, Any], Blame]] = [
    ("in bake", {"baking": True}, Blame.RELEASE),
    ("after bake", {}, Blame.UNKNOWN),
    ("after bake, after a restart", {"restarted": True}, Blame.RELEASE),
    ("a GPU is lost", {"baking": True, "findings": (finding(Blame.HARDWARE),)}, Blame.HARDWARE),
    ("a driver does not answer", {"findings": (finding(Blame.HARDWARE, Verdict.UNKNOWN),)}, Blame.HARDWARE),
    ("a disk is full", {"baking": True, "findings": (finding(Blame.STORAGE),)}, Blame.STORAGE),
    ("a link is down", {"baking": True, "findings": (finding(Blame.FABRIC),)}, Blame.FABRIC),
    ("systemd is blind", {"baking": True, "findings": (finding(Blame.ENVIRONMENT),)}, Blame.ENVIRONMENT),
    ("drained, which is well", {"baking": True, "findings": (finding(Blame.ENVIRONMENT, Verdict.OK),)}, Blame.RELEASE),
    ("too much to do", {"baking": True, "findings": (finding(Blame.OVERLOAD),)}, Blame.OVERLOAD),
    ("the clock jumped", {"baking": True, "clock_jumped": True}, Blame.ENVIRONMENT),
    ("somebody stopped it", {"baking": True, "stopped": True}, Blame.ENVIRONMENT),
    ("another fails too, no rollout", {"restarted": True, "peers": (ill(), WELL[1])}, Blame.ENVIRONMENT),
    ("another fails too, in its own trial", {"restarted": True, "peers": (ill(baking=True),)}, Blame.RELEASE),
    ("in bake, others with it fail too", {"baking": True, "peers": (ill(), ill("gpu3"))}, Blame.RELEASE),
    ("in bake, others fail with another", {"baking": True, "peers": (ill(release="r0"),)}, Blame.ENVIRONMENT),
    (
        "another rolled back",
        {"restarted": True, "peers": (replace(WELL[0], last_rollback_at=NOW - 3000),)},
        Blame.ENVIRONMENT,
    ),
    (
        "another rolled back long ago",
        {"restarted": True, "peers": (replace(WELL[0], last_rollback_at=NOW - 4000),)},
        Blame.RELEASE,
    ),
    ("another kernel since it was good", {"restarted": True, "changed_at": NOW - 600}, Blame.ENVIRONMENT),
    ("another kernel, wrong answers", {"strikes": WRONG, "changed_at": NOW}, Blame.ENVIRONMENT),
    ("another kernel, by a clock that was set back", {"changed_at": NOW + 600}, Blame.ENVIRONMENT),
    ("a day well with another kernel", {"restarted": True, "changed_at": NOW - 86400}, Blame.RELEASE),
    ("another kernel and a lost GPU", {"changed_at": NOW, "findings": (finding(Blame.HARDWARE),)}, Blame.HARDWARE),
    ("this node rolled back", {"restarted": True, "last_rollback_at": NOW - 60}, Blame.ENVIRONMENT),
    ("in bake, this node rolled back", {"baking": True, "last_rollback_at": NOW - 60}, Blame.RELEASE),
    ("before the restart, a rollback", {"last_rollback_at": NOW - 60}, Blame.UNKNOWN),
    ("killed from outside, in bake", {"baking": True, "deaths": (Death(5.5, 1, Cause.KILLED),)}, Blame.UNKNOWN),
    ("no memory, in bake", {"baking": True, "deaths": (Death(5.5, 1, Cause.OOM),)}, Blame.UNKNOWN),
    ("killed, and then the fresh one fails", {"baking": True, "deaths": (Death(1, 1, Cause.KILLED),)}, Blame.RELEASE),
    ("it crashed, in bake", {"baking": True, "deaths": (Death(5.5, 1, Cause.CRASH),)}, Blame.RELEASE),
    ("died after bake, and fails again", {"deaths": (Death(1, 1, Cause.CRASH),)}, Blame.RELEASE),
    ("stopped by dsops after bake", {"deaths": (Death(1, 1, expected=True),)}, Blame.UNKNOWN),
    (
        "wrong, and then killed",
        {"baking": True, "strikes": WRONG, "deaths": (Death(5.5, 1, Cause.KILLED),)},
        Blame.RELEASE,
    ),
    (
        "only through the gateway",
        {
            "baking": True,
            "strikes": strike(
                [look(at, Verdict.BAD, f"p{at}", who=Witness.GATEWAY, code=Code.GATEWAY_FAILED) for at in (0, 3, 6)]
            ),
        },
        Blame.DSOPS,
    ),
    (
        "through the gateway and by itself",
        {"baking": True, "strikes": HANGS.add(look(7, Verdict.BAD, "p9", who=Witness.GATEWAY))},
        Blame.RELEASE,
    ),
    ("nobody can be asked", {"baking": True, "peers": (), "peers_asked": 2}, Blame.RELEASE),
]


@pytest.mark.parametrize(("changes", "blame"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_evidence_points_at_its_class(changes: dict[str, Any], blame: Blame) -> None:
    ruling = judge_blame(replace(BEFORE, **changes))
    assert (ruling.blame, bool(ruling.says)) == (blame, True)


def test_a_ruling_says_what_was_looked_at_and_is_not_it() -> None:
    assert judge_blame(replace(BEFORE, baking=True)).excludes == (
        "hardware: nothing reports a fault",
        "storage: no disk reports a fault",
        "dsops: the slot fails also without the gateway",
        "overload: what timed out did not move at all",
        "environment: 2 of 2 other nodes answer, none fails",
    )
    assert judge_blame(replace(BEFORE, peers=WELL[:1])).excludes[-1].startswith("environment: 1 of 2 other nodes")
    assert not any("environment" in one for one in judge_blame(replace(BEFORE, peers_asked=0)).excludes)
    rollout = replace(BEFORE, baking=True, peers=(ill(),))
    assert judge_blame(rollout).excludes[-1] == "environment: the nodes that fail with it have a new release"
    assert judge_blame(replace(BEFORE, findings=(finding(Blame.HARDWARE),))).excludes == ()


def test_a_fresh_start_helps_a_dead_engine_in_a_sick_room_and_no_wrong_one() -> None:
    assert judge_blame(replace(BEFORE, peers=(ill(),))).restart_helps
    assert judge_blame(replace(BEFORE, peers=(ill(),))).says.startswith("gpu2 fails at")
    assert judge_blame(replace(BEFORE, peers=(ill(), ill("gpu3")))).says.startswith("gpu2, gpu3 fail at")
    assert not judge_blame(replace(BEFORE, peers=(ill(),), strikes=WRONG)).restart_helps
    assert not judge_blame(replace(BEFORE, clock_jumped=True)).restart_helps


def test_a_peer_is_what_its_status_says() -> None:
    status = make_status(strikes=0, drained=None, ejected=None, last_rollback_at=None)
    status = replace(status, release_state=ReleaseState.KNOWN_GOOD, verdict=Verdict.OK, phase=Phase.SERVING)
    assert find_peer(status) == Peer("gpu1", status.release, serves=True)
    assert not find_peer(replace(status, phase=Phase.LOADING)).serves
    assert not find_peer(replace(status, drained="by me")).serves
    assert not find_peer(replace(status, ejected="it died")).serves
    assert find_peer(replace(status, release_state=ReleaseState.BAKING)).baking
    one_strike = find_peer(replace(status, strikes=1))
    assert (one_strike.serves, one_strike.fails) == (False, False)
    assert find_peer(replace(status, strikes=1, ejected="it died")).fails
    assert not find_peer(replace(status, ejected="it died")).fails
    assert find_peer(replace(status, strikes=2)).fails
    assert find_peer(replace(status, verdict=Verdict.BAD)).fails
    assert not find_peer(replace(status, halted="by me")).fails
    assert count_serving([find_peer(status), one_strike]) == 1
    lost = Finding("gpu0", "xid.79", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "off the bus", "", Measure.REBOOT)
    assert not find_peer(replace(status, findings=(lost,))).serves
    assert not find_peer(replace(status, findings=(lost,))).fails
    assert find_peer(replace(status, findings=(replace(lost, measure=Measure.ALERT),))).serves


blames = st.sampled_from([Blame.HARDWARE, Blame.STORAGE, Blame.FABRIC])
peers = st.lists(
    st.builds(
        Peer,
        st.sampled_from(["gpu2", "gpu3"]),
        st.sampled_from(["r0", "r1"]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.none() | st.floats(NOW - 7200, NOW),
    ),
    max_size=3,
).map(tuple)
evidences = st.builds(
    Evidence,
    at=st.just(NOW),
    strikes=rows.map(strike),
    release=st.just("r1"),
    baking=st.booleans(),
    restarted=st.booleans(),
    stopped=st.booleans(),
    clock_jumped=st.booleans(),
    deaths=st.lists(st.builds(Death, st.floats(0, 60), st.just(1), st.sampled_from(Cause)), max_size=3).map(tuple),
    peers=peers,
    peers_asked=st.just(3),
    last_rollback_at=st.none() | st.floats(NOW - 7200, NOW),
)


@given(evidences, blames)
def test_broken_parts_are_never_the_releases_fault(evidence: Evidence, blame: Blame) -> None:
    assert judge_blame(replace(evidence, findings=(finding(blame),))).blame is blame


@given(evidences)
def test_a_release_is_only_to_blame_in_bake_or_after_a_fresh_start(evidence: Evidence) -> None:
    if judge_blame(evidence).blame is Blame.RELEASE:
        assert evidence.baking or evidence.was_restarted


@given(evidences, peers)
def test_more_trouble_around_it_never_turns_to_the_release(evidence: Evidence, more: tuple[Peer, ...]) -> None:
    if judge_blame(evidence).blame is not Blame.RELEASE:
        worse = replace(evidence, peers=(*evidence.peers, *more))
        assert judge_blame(worse).blame is not Blame.RELEASE


@given(evidences)
def test_after_bake_a_pool_rolls_back_once_an_hour(evidence: Evidence) -> None:
    recent = replace(evidence, baking=False, last_rollback_at=NOW - 10)
    assert judge_blame(recent).blame is not Blame.RELEASE


@given(evidences)
def test_what_only_the_gateway_fails_at_is_never_the_releases_fault(evidence: Evidence) -> None:
    through = strike([look(at, Verdict.BAD, f"p{at}", who=Witness.GATEWAY) for at in (0, 3, 6)])
    assert judge_blame(replace(evidence, strikes=through)).blame is not Blame.RELEASE


def test_a_single_death_is_no_fresh_start_that_failed() -> None:
    evidence = replace(BEFORE, strikes=strike([death(5, 1)]), deaths=(Death(5, 1, Cause.CRASH),))
    assert not evidence.was_restarted
    assert not replace(evidence, strikes=evidence.strikes.add(look(6.9, Verdict.BAD))).was_restarted
    assert replace(evidence, strikes=evidence.strikes.add(look(7.0, Verdict.BAD))).was_restarted


@pytest.mark.parametrize(("cause", "how"), [(Cause.KILLED, "was killed from outside"), (Cause.OOM, "found no memory")])
def test_a_death_is_told_as_it_was(cause: Cause, how: str) -> None:
    assert how in judge_blame(replace(BEFORE, baking=True, deaths=(Death(5.5, 1, cause),))).says
