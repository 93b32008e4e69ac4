"""What a snapshot says about a server: every phase and condition that can be told today."""

from dataclasses import replace
from typing import Any

import pytest
from dsops.core.blame import Ruling
from dsops.core.looks import Code, Look, Witness
from dsops.core.state import Active, Bad, NodeState, Stage
from dsops.core.status import Blame, Canary, Condition, NodeStatus, Phase, ReleaseState, Verdict
from dsops.core.verdict import Strikes
from dsops.node.agent.app import is_idle
from dsops.node.agent.config import AgentConfig, GatewayConfig, GpuConfig
from dsops.node.agent.judge import judge
from dsops.node.agent.rates import Rates
from dsops.node.agent.snapshot import Snapshot
from dsops.node.agent.view import View, find_findings
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.host import Host
from dsops.node.sources.http import Answer, Failure
from dsops.node.sources.slots import Ports, SlotAnswers
from dsops.node.sources.store import StoreReading
from dsops.node.sources.units import Unit

REFUSED = Answer(0, failure=Failure.REFUSED, reason="connection refused")
SLOTS = (Ports("a", 8100, 8102), Ports("b", 8200, 8202))
GPU = AgentConfig("gpu1", "gpu", slots=SLOTS, gateway=GatewayConfig(), gpus=GpuConfig(expected=0))
LB = AgentConfig("lb1", "lb", units=("nginx.service", "dsops-balancer.service"), gpus=GpuConfig(expected=0))


def unit(name: str, active: str = "active") -> Unit:
    return Unit(name, active, "failed", "exit-code" if active == "failed" else "success", 1)


def serving(**changes: Any) -> Snapshot:
    """A gpu server with a release in slot a, slot b empty."""
    page = b"dsops_engine_generated_tokens_total 100\n"
    snapshot = Snapshot(
        at=1000.0,
        ticks=10.0,
        host=Host("boot", 5.0),
        units={
            "triton@a.service": unit("triton@a.service"),
            "triton@b.service": unit("triton@b.service", "inactive"),
        },
        slots={
            "a": SlotAnswers(Answer(200), Answer(200), Answer(200, page)),
            "b": SlotAnswers(REFUSED, REFUSED, REFUSED),
        },
        slot_releases={"a": "r1", "b": ""},
        stable_slot="a",
        gateway=Answer(200, b'{"drained": null, "in_flight": 2, "tokens_per_second": 7.0, "p99_seconds": 0.5}'),
        gpus=Reading(Sweep.ABSENT, reason="no NVIDIA driver"),
    )
    return replace(snapshot, **changes)


def see(config: AgentConfig, snapshot: Snapshot, before: NodeStatus | None = None) -> NodeStatus:
    return judge(config, snapshot, Rates(), before)[0]


def slot_a(active: str, answer: Answer = REFUSED) -> dict[str, Any]:
    snapshot = serving()
    return {
        "units": {**snapshot.units, "triton@a.service": unit("triton@a.service", active)},
        "slots": {**snapshot.slots, "a": SlotAnswers(answer, answer, answer)},
    }


def test_a_serving_node_is_ok() -> None:
    status = see(GPU, serving())
    assert (status.release, status.release_state) == ("r1", ReleaseState.ACTIVE)
    assert (status.phase, status.condition, status.findings) == (Phase.SERVING, Condition.OK, ())
    assert (status.in_flight, status.p99_seconds, status.boot_id) == (2, 0.5, "boot")
    assert (status.gpus, status.gpus_reason) == ((), "no NVIDIA driver")


@pytest.mark.parametrize(
    ("changes", "phase", "condition", "code"),
    [
        (slot_a("activating"), Phase.LOADING, Condition.OK, None),
        (slot_a("failed"), Phase.STOPPED, Condition.FAILED, "slot.stopped"),
        (slot_a("inactive"), Phase.STOPPED, Condition.FAILED, "slot.stopped"),
        (
            slot_a("active", Answer(0, failure=Failure.TIMEOUT, reason="no answer in 0.8 s")),
            Phase.UNKNOWN,
            Condition.BLIND,
            "slot.silent",
        ),
        ({"stable_slot": ""}, Phase.STOPPED, Condition.DEGRADED, "lane.empty"),
        ({"gateway": REFUSED}, Phase.SERVING, Condition.FAILED, "gateway.silent"),
        (
            {"gateway": Answer(200, b'{"drained": {"reason": "fan", "who": "ann"}}')},
            Phase.SERVING,
            Condition.MAINTENANCE,
            "node.drained",
        ),
        (slot_a("unknown", Answer(200)), Phase.SERVING, Condition.BLIND, "systemd.blind"),
        ({"disk_reason": "the disk did not answer in 1 s"}, Phase.SERVING, Condition.BLIND, "disk.silent"),
        ({"store": StoreReading(None, reason="not JSON")}, Phase.SERVING, Condition.BLIND, "store.unreadable"),
        ({"golden_reason": "format 1"}, Phase.SERVING, Condition.BLIND, "probe.blind"),
    ],
)
def test_each_trouble_has_its_words(
    changes: dict[str, Any], phase: Phase, condition: Condition, code: str | None
) -> None:
    status = see(GPU, serving(**changes))
    assert (status.phase, status.condition) == (phase, condition)
    assert code is None or code in {f.code for f in status.findings}
    assert (status.condition_reason == "") == (condition is Condition.OK)
    assert NodeStatus.from_json(status.to_json(), where="x") == status


def spare_failed(holds: str, *bad: Bad) -> Condition:
    units = {**serving().units, "triton@b.service": unit("triton@b.service", "failed")}
    held, store = {"a": "r1", "b": holds}, StoreReading(NodeState(bad=bad), 5)
    return see(GPU, serving(units=units, slot_releases=held, store=store)).condition


def test_a_spare_slot_that_failed_is_trouble_where_it_is_the_way_back() -> None:
    assert spare_failed("r0") is Condition.DEGRADED


def test_a_spare_slot_that_failed_is_none_where_nobody_would_go_back_to_it() -> None:
    # What was left because it hung does not end when it is told to, and systemd calls that failed.
    assert spare_failed("r0", Bad("r0", "it hung", 1.0)) is Condition.OK
    assert spare_failed("") is Condition.OK


def test_a_stopped_slot_beside_the_active_one_is_idle_and_no_target_of_prometheus() -> None:
    status = see(GPU, serving(slot_releases={"a": "r1", "b": "r0"}))
    assert is_idle(status, "b")
    assert not is_idle(status, "a")
    assert not is_idle(None, "b")


def test_a_drained_node_says_who_and_how_to_bring_it_back() -> None:
    status = see(GPU, serving(gateway=Answer(200, b'{"drained": {"reason": "fan", "who": "ann"}}')))
    assert status.drained == "fan (ann)"
    assert status.findings[0].mend == "`dsops undrain gpu1`"


@pytest.mark.parametrize(
    ("nginx", "phase", "condition"),
    [
        ("active", Phase.SERVING, Condition.OK),
        ("reloading", Phase.SERVING, Condition.OK),
        ("activating", Phase.LOADING, Condition.OK),
        ("failed", Phase.STOPPED, Condition.FAILED),
        ("missing", Phase.STOPPED, Condition.FAILED),
        ("unknown", Phase.UNKNOWN, Condition.BLIND),
    ],
)
def test_a_server_without_slots_shows_its_units(nginx: str, phase: Phase, condition: Condition) -> None:
    names = LB.units
    units = {names[0]: unit(names[0], nginx), names[1]: unit(names[1])}
    status = see(LB, serving(units=units, slots={}, slot_releases={}, stable_slot="", gateway=None))
    assert (status.phase, status.condition, status.release_state) == (phase, condition, ReleaseState.NONE)
    assert status.release_reason == "a server of role lb holds no release"


def test_a_server_with_nothing_to_watch_says_that_nothing_is_known() -> None:
    status = see(replace(LB, units=()), serving(units={}, slots={}, slot_releases={}, stable_slot="", gateway=None))
    assert (status.phase, status.phase_reason) == (Phase.UNKNOWN, "no unit is configured to be watched")


def test_since_moves_only_when_a_word_changes() -> None:
    first = see(GPU, serving())
    same = see(GPU, serving(at=1001.0), first)
    other = see(GPU, serving(at=1002.0, **slot_a("failed")), same)
    assert (same.since, same.observed_at, other.since) == (1000.0, 1001.0, 1002.0)


def test_speed_is_the_engines_own_count_and_the_gateways_where_there_is_none() -> None:
    def tick(ticks: float, tokens: int, rates: Rates) -> tuple[NodeStatus, Rates]:
        page = Answer(200, b"dsops_engine_generated_tokens_total %d\n" % tokens)
        slots = {**serving().slots, "a": SlotAnswers(Answer(200), Answer(200), page)}
        return judge(GPU, serving(ticks=ticks, slots=slots), rates, None)

    first, rates = tick(0.0, 100, Rates())
    second, rates = tick(2.0, 300, rates)
    restarted, rates = tick(4.0, 40, rates)
    assert first.tokens_per_second == 7.0
    assert second.tokens_per_second == 100.0
    # Triton began again at zero: nothing is subtracted, and nothing invented.
    assert restarted.tokens_per_second == 50.0
    later, rates = tick(60.0, 40, rates)
    assert later.tokens_per_second == 7.0
    assert len(rates.samples) == 1


def look(code: Code, at: float = 1.0) -> Look:
    return Look(at, Witness.SLOT, Verdict.BAD, code, f"it is {code}", f"p{at}")


@pytest.mark.parametrize(
    ("codes", "condition"),
    [
        ((Code.WRONG, Code.REFUSED), Condition.WRONG),
        ((Code.HUNG, Code.TIMEOUT_STALLED), Condition.HUNG),
        ((Code.REFUSED,), Condition.FAILED),
        ((Code.HUNG, Code.CRASHED), Condition.FAILED),
        ((Code.GATEWAY_FAILED,), Condition.FAILED),
    ],
)
def test_a_verdict_is_a_finding_with_its_condition_and_blame(codes: tuple[Code, ...], condition: Condition) -> None:
    strikes = Strikes(bad=tuple(look(code, float(n)) for n, code in enumerate(codes)))
    (finding,) = find_findings(
        node="gpu1",
        slot="a",
        strikes=strikes,
        verdict=Verdict.BAD,
        ruling=Ruling(Blame.RELEASE, "x"),
        ejected=None,
        halted="",
        next_step="r1 takes over",
    )
    assert (finding.condition, finding.blame, finding.code) == (condition, Blame.RELEASE, f"release.{condition}")
    assert finding.reason.endswith("next: r1 takes over")
    assert finding.mend == "`dsops why gpu1`"


def test_one_strike_is_no_verdict_and_an_ejection_says_why() -> None:
    def see_view(strikes: Strikes, ejected: str | None, *, canary: Canary | None = None) -> list[tuple[str, Condition]]:
        words: dict[str, Any] = {"node": "gpu1", "slot": "a", "verdict": Verdict.UNKNOWN, "ruling": None}
        found = find_findings(strikes=strikes, ejected=ejected, halted="", canary=canary, **words)
        return [(finding.code, finding.condition) for finding in found]

    assert see_view(Strikes(), None) == []
    assert see_view(Strikes(bad=(look(Code.WRONG),)), None) == [("slot.suspect", Condition.DEGRADED)]
    assert see_view(Strikes(), "it hangs") == [("slot.ejected", Condition.DEGRADED)]
    assert see_view(Strikes(bad=(look(Code.HUNG),)), "it hangs") == [("slot.ejected", Condition.HUNG)]
    canary = Canary("r3", "b", 5, 1.0, Verdict.UNKNOWN)
    assert see_view(Strikes(), None, canary=canary) == []
    doubt = replace(canary, reason="p1 was answered wrong")
    assert see_view(Strikes(), None, canary=doubt) == [("canary.suspect", Condition.DEGRADED)]


@pytest.mark.parametrize(
    ("stage", "state"),
    [
        (Stage.BAKING, ReleaseState.BAKING),
        (Stage.BAKED, ReleaseState.ACTIVE),
        (Stage.KNOWN_GOOD, ReleaseState.KNOWN_GOOD),
    ],
)
def test_where_the_release_stands_is_the_stores_word(stage: Stage, state: ReleaseState) -> None:
    store = StoreReading(NodeState(active=Active("r1", "a", 900.0, stage), bad=(Bad("r9", "wrong", 1.0),)), 5)
    status = judge(GPU, serving(store=store), Rates(), None, View(baking_until=2700.0))[0]
    assert status.release_state is state
    assert status.baking_until == (2700.0 if stage is Stage.BAKING else None)
    assert [mark.release for mark in status.bad] == ["r9"]


def test_an_active_release_that_is_marked_bad_says_why() -> None:
    store = StoreReading(NodeState(active=Active("r1", "a", 900.0, Stage.BAKED), bad=(Bad("r1", "wrong", 1.0),)), 5)
    status = see(GPU, serving(store=store))
    assert (status.release_state, status.release_reason) == (ReleaseState.BAD, "wrong")


def test_damage_on_the_disk_is_told_and_only_the_active_ones_is_evidence() -> None:
    before = Active("r0", "b", 0.0, Stage.KNOWN_GOOD)
    older = Active("r00", "b", 0.0, Stage.KNOWN_GOOD)
    state = NodeState(active=Active("r1", "a", 0.0, Stage.KNOWN_GOOD), fallbacks=(before, older))
    status = see(GPU, serving(store=StoreReading(state), damage={"r0": "weights.bin is not as the manifest says"}))
    (found,) = [one for one in status.findings if one.code == "release.damaged"]
    assert (status.condition, found.blame) == (Condition.DEGRADED, Blame.STORAGE)
    assert found.reason == "r0 is no good way back: weights.bin is not as the manifest says"
    assert "`dsops release push r0`" in found.mend
    assert status.fallback == "r00"
    both = see(GPU, serving(store=StoreReading(state), damage={"r0": "x", "r00": "x"}))
    assert both.fallback == "r0"
    active = see(GPU, serving(store=StoreReading(state), damage={"r1": "x"}))
    assert [one.code for one in active.findings] == ["store.damaged"]
    assert active.findings[0].reason == "r1 has the traffic and may not start again: x"
