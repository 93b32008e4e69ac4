"""An apply: through the gates wave by wave, stopped at the first that fails, gone on with by the next one."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.cli.apply import render_end
from dsops.control.plan.apply import Orders, check_now, one_at_a_time
from dsops.control.plan.keep import Notes
from dsops.core.dry import Certainty, Change, Detail
from dsops.core.errors import DsopsError
from dsops.core.gates import Gate
from dsops.core.plan import Unseen
from dsops.core.waves import get_most
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control.plan.plans import CONFIG, FILE, HUGEPAGES, RESTART, FakeDoors, make_fleet, make_plan, make_run

ALL = {"gpu1", "gpu2", "gpu3", "lb1", "mon1"}
NONE: frozenset[str] = frozenset()


def test_a_gpu_server_is_drained_changed_verified_and_let_in_again_before_the_next(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL))
    end = make_run(tmp_path, make_plan(), doors).go(NONE)
    assert end.stop is None
    wanted = [(door, name) for name in ("gpu1", "gpu2", "gpu3") for door in ("drain", "run", "undrain", "verify")]
    assert doors.said == wanted
    assert doors.serving == ALL


def test_a_fresh_server_is_not_drained(tmp_path: Path) -> None:
    doors = FakeDoors(set())
    assert make_run(tmp_path, make_plan(), doors).go(NONE).stop is None
    assert {door for door, *_ in doors.said} == {"run", "verify"}


def test_a_person_s_drain_is_left_alone(tmp_path: Path) -> None:
    doors = FakeDoors(ALL - {"gpu2"})
    make_run(tmp_path, make_plan(), doors).go(NONE)
    assert ("undrain", "gpu2") not in doors.said
    assert "gpu2" not in doors.serving


def test_what_takes_no_capacity_is_not_drained(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL))
    make_run(tmp_path, make_plan({"gpu1": (CONFIG,), "lb1": (CONFIG, RESTART)}), doors).go(NONE)
    assert doors.said == [("run", "gpu1"), ("verify", "gpu1"), ("run", "lb1"), ("verify", "lb1")]


@pytest.mark.parametrize(("door", "gate"), [("run", Gate.RUN), ("well", Gate.WELL), ("undrain", Gate.ADMIT)])
def test_it_stops_where_a_gate_fails_and_says_what_is_left(tmp_path: Path, door: str, gate: Gate) -> None:
    doors = FakeDoors(set(ALL), breaks={(door, "gpu2"): "it broke"})
    run = make_run(tmp_path, make_plan(), doors)
    end = run.go(NONE)
    assert end.stop is not None
    assert (end.stop.gate, end.stop.why) == (gate, "it broke")
    assert not any("gpu3" in names for _, *names in doors.said)
    said = render_end(run, end, file="plan.json")
    assert said.startswith(f"STOPPED in wave 2 at {gate}: it broke\n1 of 3 servers are as planned: gpu1.\n")
    assert "Begun, and not done: gpu2.\nNot touched: gpu3.\nLeft out of traffic: gpu2 (`dsops undrain NODE`)." in said
    assert "`dsops apply plan.json` goes on from here" in said


def test_a_fresh_site_is_verified_once_all_its_servers_are_there(tmp_path: Path) -> None:
    doors = FakeDoors(set())
    assert make_run(tmp_path, make_plan(dsops=""), doors).go(NONE).stop is None
    assert [said for said in doors.said if said[0] == "verify"] == [("verify", "gpu1", "gpu2", "gpu3")]


def test_a_fresh_server_that_is_not_well_stops_it_at_once(tmp_path: Path) -> None:
    doors = FakeDoors(set(), breaks={("well", "gpu1"): "after 300 s gpu1 is failed"})
    end = make_run(tmp_path, make_plan(dsops=""), doors).go(NONE)
    assert end.stop is not None
    assert (end.stop.gate, end.untouched) == (Gate.WELL, ("gpu2", "gpu3"))


def test_where_a_dead_peer_is_known_the_agents_words_can_be_enough(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), breaks={("verify", "gpu1"): "gpu9 cannot be asked"})
    assert make_run(tmp_path, make_plan(), doors, Orders(quick=True)).go(NONE).stop is None
    assert not any(door == "verify" for door, *_ in doors.said)


def test_what_verify_finds_stops_it_with_the_server_in_traffic(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), breaks={("verify", "gpu2"): "a check failed"})
    run = make_run(tmp_path, make_plan(), doors)
    end = run.go(NONE)
    assert end.stop is not None
    assert (end.stop.gate, doors.serving, run.notes.noted.done) == (Gate.VERIFY, ALL, ("gpu1",))


def test_a_drain_that_fails_changes_nothing_and_is_taken_back(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), breaks={("drain", "gpu1"): "requests in flight"})
    run = make_run(tmp_path, make_plan(), doors)
    end = run.go(NONE)
    assert end.stop is not None
    assert end.untouched == ("gpu1", "gpu2", "gpu3")
    assert doors.said == [("drain", "gpu1"), ("undrain", "gpu1")]
    assert run.notes.noted.drained == ()


def test_a_second_apply_goes_on_and_lets_in_again_what_the_first_had_drained(tmp_path: Path) -> None:
    plan = make_plan()
    doors = FakeDoors(set(ALL), breaks={("well", "gpu2"): "it is failed"})
    make_run(tmp_path, plan, doors).go(NONE)
    assert "gpu2" not in doors.serving
    doors.breaks, doors.said = {}, []
    run = make_run(tmp_path, plan, doors)
    assert run.go(frozenset(run.notes.noted.done)).stop is None
    assert doors.said[:3] == [("run", "gpu2"), ("undrain", "gpu2"), ("verify", "gpu2")]
    assert doors.serving == ALL


def test_the_last_that_serves_stays_unless_an_outage_is_agreed_to(tmp_path: Path) -> None:
    plan = make_plan(fleet=make_fleet(1))
    end = make_run(tmp_path, plan, FakeDoors({"gpu1"})).go(NONE)
    assert end.stop is not None
    assert (end.stop.gate, end.stop.why) == (Gate.ROOM, "gpu1 is the last that serves of pool gpu")
    assert make_run(tmp_path, plan, FakeDoors({"gpu1"}), Orders(outage=True)).go(NONE).stop is None


def test_servers_that_die_meanwhile_stop_it(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), dies={"gpu1": {"gpu3"}})
    end = make_run(tmp_path, make_plan(), doors).go(NONE)
    assert end.stop is not None
    assert end.stop.gate is Gate.ROOM
    assert end.stop.why.endswith("gpu3 served when this began and does not any more")


def test_a_reboot_is_only_noted_unless_it_is_wanted(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), asks={"gpu1": {"system": "hugepages"}})
    run = make_run(tmp_path, make_plan({"gpu1": (HUGEPAGES,)}), doors)
    end = run.go(NONE)
    assert doors.said == [("run", "gpu1"), ("verify", "gpu1")]
    assert "Wait for a reboot: gpu1 (system)" in render_end(run, end, file="p.json")


def test_a_wanted_reboot_is_done_out_of_traffic(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), asks={"gpu1": {"system": "hugepages"}})
    make_run(tmp_path, make_plan({"gpu1": (HUGEPAGES,)}), doors, Orders(reboots=True)).go(NONE)
    assert [door for door, _ in doors.said] == ["drain", "run", "reboot", "undrain", "verify"]


def test_a_reboot_that_the_plan_does_not_know_of_drains_too(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), asks={"gpu1": {"storage": ""}})
    make_run(tmp_path, make_plan({"gpu1": (CONFIG,)}), doors, Orders(reboots=True)).go(NONE)
    assert [door for door, _ in doors.said] == ["run", "drain", "reboot", "undrain", "verify"]


def test_a_reboot_that_never_comes_back_stops_the_rest(tmp_path: Path) -> None:
    doors = FakeDoors(set(ALL), asks={"gpu1": {"system": ""}}, breaks={("reboot", "gpu1"): "did not come back"})
    plan = make_plan({"gpu1": (HUGEPAGES,), "gpu2": (HUGEPAGES,)})
    end = make_run(tmp_path, plan, doors, Orders(reboots=True)).go(NONE)
    assert end.stop is not None
    assert end.stop.gate is Gate.REBOOT
    assert not any("gpu2" in names for _, *names in doors.said)


@settings(max_examples=60)
@given(data=st.data(), gpus=st.integers(1, 25), asked=st.none() | st.integers(1, 8))
def test_whatever_fails_enough_go_on_serving(data: st.DataObject, gpus: int, asked: int | None) -> None:
    """Doors that fail at random, servers that die at random: never more out than may be, never the last one by us."""
    fleet = make_fleet(gpus)
    names = [one.name for one in fleet if one.role == "gpu"]
    doors = FakeDoors(set(data.draw(st.sets(st.sampled_from(names), min_size=1))))
    for door in ("drain", "run", "verify", "undrain"):
        for name in data.draw(st.sets(st.sampled_from(names), max_size=1)):
            doors.breaks[door, name] = "broken"
    doors.dies = {data.draw(st.sampled_from(names)): data.draw(st.sets(st.sampled_from(names), max_size=2))}
    before = frozenset(doors.serving)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), make_plan(fleet=fleet, asked=asked), Watched(doors, before, get_most(gpus, asked)))
        end = run.go(NONE)
    if end.stop and end.stop.gate in {Gate.RUN, Gate.VERIFY}:
        assert doors.said[-1][0] == end.stop.gate.value


class Watched(FakeDoors):
    """Looks at every drain: how many are out then, and whether one is left."""

    def __init__(self, doors: FakeDoors, before: frozenset[str], most: int) -> None:
        self.__dict__.update(doors.__dict__)
        self.before, self.most = before, most

    def drain(self, name: str) -> str:
        said = super().drain(name)
        assert said or len(self.before - self.serving) <= self.most
        assert said or self.serving & self.before
        return said


def notes(tmp_path: Path) -> Notes:
    return Notes(make_plan(), tmp_path / "plan.json", who="me@here")


def now(**other: tuple[Change, ...]) -> dict[str, tuple[Change, ...]]:
    return {server.name: other.get(server.name, server.changes) for server in make_plan().servers}


def test_servers_as_they_were_are_all_to_do(tmp_path: Path) -> None:
    assert check_now(make_plan(), now(), {}, notes(tmp_path)) == NONE


def test_a_server_that_somebody_else_changed_so_already_is_done(tmp_path: Path) -> None:
    assert check_now(make_plan(), now(gpu2=()), {}, notes(tmp_path)) == {"gpu2"}


def test_reality_that_drifted_is_named(tmp_path: Path) -> None:
    edited = replace(CONFIG, details=(replace(FILE, diff=("-port = 9999", "+port = 8081")),))
    new = Change("base", "base: limits", Certainty.SURE, (Detail("file", "/etc/limits"),))
    with pytest.raises(DsopsError) as caught:
        check_now(make_plan(), now(gpu1=(edited, RESTART), gpu2=(RESTART,), mon1=(new,)), {}, notes(tmp_path))
    assert caught.value.what.splitlines()[1:] == [
        "  gpu1: gateway: configuration would do something else than planned: /etc/dsops/gateway.toml",
        "  gpu2: gateway: configuration has nothing to do any more",
        "  mon1: base: limits has something to do now, which was not planned",
    ]
    assert caught.value.mend == "nothing was changed; `dsops plan` makes a new one"


def test_a_server_that_cannot_be_looked_at_is_no_drift_and_no_go(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="gpu1: could not be looked at: no route"):
        check_now(make_plan(), {k: v for k, v in now().items() if k != "gpu1"}, {"gpu1": "no route"}, notes(tmp_path))
    seen = {k: v for k, v in now().items() if k != "mon1"}
    assert check_now(make_plan(), seen, {"mon1": "no route"}, notes(tmp_path)) == NONE


def test_what_is_left_of_a_server_that_was_begun_is_no_drift(tmp_path: Path) -> None:
    held = notes(tmp_path)
    held.add("begins with gpu1", begun=("gpu1",))
    assert check_now(make_plan(), now(gpu1=(RESTART,)), {}, held) == NONE
    # All is done there, but its gates are not passed: it is gone on with.
    assert check_now(make_plan(), now(gpu1=()), {}, held) == NONE


def test_a_done_server_that_was_changed_again_is_named(tmp_path: Path) -> None:
    held = notes(tmp_path)
    held.add("done with gpu1", begun=("gpu1",), done=("gpu1",))
    with pytest.raises(DsopsError, match="gpu1: gateway: configuration has something to do now"):
        check_now(make_plan(), now(), {}, held)


def test_one_apply_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with one_at_a_time(lock), pytest.raises(DsopsError, match="another apply is running"), one_at_a_time(lock):
        pass


def test_unseen_servers_are_in_no_wave() -> None:
    plan = make_plan(unseen=(Unseen("gpu2", "no route"),))
    assert plan.waves == (("gpu1",), ("gpu3",))
