"""Every ill of the issue, second by second: what is seen, what is decided, and when. `-s` prints the stories.

A table, so that a reader sees the promises at one glance. Times are seconds from onset; None = it never happens.
"""

from dataclasses import dataclass, replace

import pytest
from dsops.core.blame import Peer
from dsops.core.looks import Cause
from dsops.core.status import Blame, Condition, Finding, Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.ills import ALL_ILL, WELL, Agent, Ill

GPU = Finding("gpu 0", "gpu.lost", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "fell off the bus")
DISK = Finding("disk", "disk.full", Verdict.BAD, Blame.STORAGE, Condition.FAILED, "no space left")
R, S, G = "ROLLBACK", "RESTART slot", "RESTART gateway"


@dataclass(frozen=True)
class Row:
    """What must come of an ill. ejected, acted: at the latest; actions: exactly these, in this order."""

    ill: Ill
    ejected: float | None
    actions: tuple[str, ...] = ()
    acted: float | None = None
    blame: Blame | None = None
    codes: frozenset[str] = frozenset()
    admitted: float | None = None


def after(ill: Ill) -> Ill:
    return replace(ill, name=f"{ill.name}, after bake", baking=False)


WRONG = Ill("wrong answers", release=True, wrong=True)
KILL = Ill("SIGKILL", kills=(0.0,))
OOM = Ill("no memory, once", kills=(0.0,), cause=Cause.OOM)
KILLS = Ill("SIGKILL again and again", kills=(0.0, 12.0, 24.0))
STOP = Ill("SIGSTOP", frozen=True)
STOP_IDLE = Ill("SIGSTOP without load", frozen=True, load=0)
LOOP = Ill("crash loop", release=True, lives=1.0, cause=Cause.EXIT)
SLOW_LOAD = Ill("killed, then loads for ever", kills=(0.0,), loads_after=999.0)
WEDGE = Ill("engine thread wedged, HTTP says 200", wedged=True)
WEDGE_IDLE = Ill("wedged without load", wedged=True, load=0)
WEDGE_RELEASE = Ill("wedged, and again after a restart", wedged=True, release=True)
ONE_TOKEN = Ill("first token, then nothing", one_token=True)
ONE_TOKEN_IDLE = Ill("first token, then nothing, without load", one_token=True, load=0)
GATEWAY = Ill("gateway wedged, Triton fine", gateway_wedged=True)
BUSY = Ill("saturated for minutes", saturated=True, load=60, seconds=600)
SLOW = Ill("ten times slower", slow=True, seconds=600)
METRICS = Ill("metrics dead, saturated", metrics_dead=True, saturated=True, load=60, seconds=300)
CLOCK = Ill("clock jumps", clock_jumps=(0.1, 7.0, 20.0, 33.3))
RESTARTED = Ill("agent restarted while saturated", agent_restarts=(20.0,), saturated=True, load=60, seconds=300)
ALL = Ill("the same on all nodes, no rollout", wedged=True, release=True, baking=False, peers=lambda _: ALL_ILL)
SECOND = Ill(
    "after another node's rollback",
    wrong=True,
    release=True,
    baking=False,
    peers=lambda _: (Peer("gpu2", serves=True, last_rollback_at=0.0), WELL[1]),
)

ROWS = [
    # 2: right at first, wrong after a while.
    Row(WRONG, 18.5, (R,), 21, Blame.RELEASE, frozenset({"wrong"}), 24),
    Row(after(WRONG), 18.5, (S, R), 21, Blame.RELEASE),
    # 3: for each a decision and a time.
    Row(KILL, 0.1, admitted=8),
    Row(after(KILL), 0.1, admitted=8),
    Row(OOM, 0.1, admitted=8),
    Row(KILLS, 0.1, (R,), 24.1, Blame.RELEASE),
    Row(after(KILLS), 0.1, (R,), 24.1, Blame.RELEASE),
    Row(STOP, 7, (R,), 30, Blame.RELEASE, frozenset({"hung", "timeout_stalled"}), 33),
    Row(after(STOP), 7, (S,), 30, Blame.UNKNOWN, admitted=40),
    Row(STOP_IDLE, 60, (R,), 60, Blame.RELEASE, frozenset({"timeout_stalled"})),
    Row(LOOP, 0.1, (R,), 10, Blame.RELEASE, frozenset({"crashed"}), 13),
    Row(after(LOOP), 0.1, (R,), 10, Blame.RELEASE, frozenset({"crashed"}), 13),
    Row(SLOW_LOAD, 0.1, (R,), 40, Blame.RELEASE, frozenset({"slow"}), 43),
    Row(after(SLOW_LOAD), 0.1, (R,), 40, Blame.RELEASE, frozenset({"slow"})),
    Row(WEDGE, 7, (R,), 30, Blame.RELEASE, frozenset({"hung"})),
    Row(after(WEDGE), 7, (S,), 30, Blame.UNKNOWN, frozenset({"hung"}), 40),
    Row(WEDGE_IDLE, 60, (R,), 60, Blame.RELEASE),
    Row(after(WEDGE_RELEASE), 7, (S, R), 30, Blame.RELEASE),
    Row(ONE_TOKEN, 7, (R,), 30, Blame.RELEASE),
    Row(ONE_TOKEN_IDLE, 60, (R,), 60, Blame.RELEASE),
    Row(GATEWAY, 60, (G,), 60, Blame.DSOPS, frozenset({"gateway_failed"}), 65),
    Row(after(GATEWAY), 60, (G,), 60, Blame.DSOPS),
    # 4: busy is not sick.
    *(Row(ill, None) for one in (BUSY, SLOW, METRICS, CLOCK, RESTARTED) for ill in (one, after(one))),
    # 5: the same on all nodes; a second release after another node's rollback.
    Row(ALL, None, (S,), 30, Blame.ENVIRONMENT),
    Row(SECOND, 18.5, (S,), 21, Blame.ENVIRONMENT),
    # Broken parts.
    Row(replace(WEDGE, name="wedged, GPU lost", findings=(GPU,)), 7, (), None, Blame.HARDWARE),
    Row(replace(LOOP, name="crash loop, disk full", findings=(DISK,)), 0.1, (), None, Blame.STORAGE),
    # The only node: nobody takes it out but death.
    Row(replace(WRONG, name="wrong, alone", peers=lambda _: ()), None, (R,), 21, Blame.RELEASE),
    Row(replace(STOP, name="SIGSTOP, alone", peers=lambda _: ()), None, (R,), 30, Blame.RELEASE),
    Row(replace(KILL, name="SIGKILL, alone", peers=lambda _: ()), 0.1, admitted=8),
    # Nothing to go back to: a restart, and then a person.
    Row(replace(WEDGE_RELEASE, name="wedged, no other release", target=""), 7, (S, "halt_and_page"), 30, Blame.RELEASE),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.ill.name for row in ROWS])
def test_what_is_decided_when(row: Row) -> None:
    agent = Agent(row.ill).run()
    print(agent.tell())
    ejected, admitted, acted = (
        agent.at("EJECTED"),
        agent.at("admitted"),
        agent.at(row.actions[0] if row.actions else ""),
    )
    assert tuple(agent.actions) == row.actions
    assert (ejected is None) == (row.ejected is None)
    assert ejected is None or row.ejected is None or 0 <= ejected <= row.ejected
    assert acted is None or row.acted is None or acted <= row.acted
    assert agent.blame is row.blame
    assert row.codes <= {said.split()[1] for seen in agent.seen.values() for said in seen}
    assert row.admitted is None or (admitted is not None and admitted <= row.admitted)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.ejected is None and not row.actions], ids=lambda row: row.ill.name
)
def test_who_is_busy_has_no_bad_look_at_all(row: Row) -> None:
    agent = Agent(row.ill).run()
    assert not [event for event in agent.events if "BAD" in event.what]
    assert {said.split()[0] for seen in agent.seen.values() for said in seen} <= {"OK", "UNKNOWN"}


@pytest.mark.parametrize("row", ROWS, ids=[row.ill.name for row in ROWS])
def test_an_agent_that_just_started_acts_on_nothing_but_traffic(row: Row) -> None:
    """It starts a second before the ill does; two minutes later it may act."""
    ill = replace(row.ill, agent_restarts=(0.0,), seconds=100.0)
    assert Agent(ill).run().actions == []


@pytest.mark.slow
@given(st.integers(0, 149), st.sampled_from([row for row in ROWS if row.ill.seconds < 300]))
@settings(max_examples=60)
def test_the_promise_holds_whenever_the_last_probe_was(phase: int, row: Row) -> None:
    agent = Agent(row.ill)
    agent.next_probe = phase / 10
    agent.run()
    ejected = agent.at("EJECTED")
    assert tuple(agent.actions) == row.actions
    assert (ejected is None) == (row.ejected is None)
    assert ejected is None or row.ejected is None or ejected <= row.ejected
