"""The checks over time: lines of the kernel become findings at once, and outlive the agent but not the boot."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.checks import Sight, find_drain
from dsops.core.status import Gpu, Measure, Verdict
from dsops.node.checks.check import BROKEN, Check, Scene
from dsops.node.checks.checkup import Checkup, find_bus
from dsops.node.checks.kernel import get_hints
from dsops.node.checks.rules import get_shipped
from dsops.node.sources.gpus import Lost, Reading, Sweep
from dsops.node.sources.kernel_log import KernelLog

RULES = get_shipped()
GPU = Gpu(3, "NVIDIA H100 80GB HBM3", "GPU-1", 40, 0, 1, 0, 90.0, "00000000:3B:00.0")
SCENE = Scene(at=1e9 + 100, ticks=100.0, boot="b1", gpus=Reading(Sweep.OK, (GPU,)), gpus_sample="1")
XID = "NVRM: Xid (PCI:0000:3b:00): {}, pid=1, it happened"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "kmsg"
    file.write_text("")
    return file


def make(path: Path, **words: object) -> Checkup:
    checkup = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)), **words)  # type: ignore[arg-type]
    checkup.take_kept(None, boot="b1")
    checkup.look(SCENE)
    return checkup


def tell(path: Path, seq: int, text: str, *, at: float = 100.0) -> None:
    with path.open("a") as file:
        file.write(f"3,{seq},{int(at * 1e6)},-;{text}\n")


def find(checkup: Checkup, now: float = 100.0) -> dict[str, Measure]:
    return {f"{one.entity} {one.code}": one.measure for one in checkup.find(now=now, wall=1e9 + now)}


def test_a_gpu_that_left_the_bus_is_known_by_its_name_and_urgent(path: Path) -> None:
    checkup = make(path)
    assert not checkup.read_kernel(now=100.0, wall=1e9 + 100)
    tell(path, 1, XID.format(79))
    assert checkup.read_kernel(now=100.0, wall=1e9 + 100)
    assert find(checkup) == {"gpu3 xid.79": Measure.REBOOT}
    finding = find_drain(checkup.find(now=100.0, wall=1e9 + 100))
    assert finding
    assert finding.since == 1e9 + 100


def test_a_gpu_that_does_not_answer_any_more_keeps_its_name(path: Path) -> None:
    checkup = make(path)
    checkup.look(replace(SCENE, ticks=105.0, gpus=Reading(Sweep.OK, lost=(Lost(3, "lost", 15),)), gpus_sample="2"))
    tell(path, 1, XID.format(79), at=105.0)
    checkup.read_kernel(now=105.0, wall=1e9 + 105)
    assert find(checkup, 105.0) == {"gpu3 xid.79": Measure.REBOOT}


@pytest.mark.parametrize("number", [13, 31, 43, 45, 63, 94, 92, 999])
def test_what_asks_for_less_is_told_and_not_urgent(path: Path, number: int) -> None:
    checkup = make(path)
    tell(path, 1, XID.format(number))
    assert not checkup.read_kernel(now=100.0, wall=1e9 + 100)
    assert find_drain(checkup.find(now=100.0, wall=1e9 + 100)) is None


def test_a_contained_memory_error_is_worth_a_restart_and_its_second_a_reset(path: Path) -> None:
    checkup = make(path)
    tell(path, 1, XID.format(94))
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    assert find(checkup) == {"gpu3 xid.94": Measure.RESTART}
    tell(path, 2, XID.format(94), at=400.0)
    checkup.read_kernel(now=400.0, wall=1e9 + 400)
    assert find(checkup, 400.0) == {"gpu3 xid.94": Measure.RESET}


def test_a_double_bit_error_hides_the_row_that_it_costs(path: Path) -> None:
    checkup = make(path)
    for seq, number in enumerate((48, 63, 45)):
        tell(path, seq, XID.format(number))
    assert checkup.read_kernel(now=100.0, wall=1e9 + 100)
    assert find(checkup) == {"gpu3 xid.48": Measure.RESET}


def test_the_agents_next_life_knows_it_and_counts_no_line_twice(path: Path) -> None:
    checkup = make(path)
    tell(path, 1, XID.format(94))
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    kept = json.loads(json.dumps(checkup.keep()))
    again = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    again.take_kept(kept, boot="b1")
    again.look(SCENE)
    assert not again.read_kernel(now=130.0, wall=1e9 + 130)
    assert find(again, 130.0) == {"gpu3 xid.94": Measure.RESTART}


def test_a_log_that_began_anew_within_one_boot_is_read(path: Path) -> None:
    checkup = make(path)
    tell(path, 7, XID.format(94))
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    path.write_text("")
    again = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    again.take_kept(json.loads(json.dumps(checkup.keep())), boot="b1")
    tell(path, 0, XID.format(79), at=200.0)
    assert again.read_kernel(now=200.0, wall=1e9 + 200)


def test_what_an_older_build_kept_is_not_judged_again(path: Path) -> None:
    checkup = make(path)
    tell(path, 3, XID.format(79))
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    checkup.clear()
    kept = checkup.keep()
    del kept["at"]
    again = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    again.take_kept(json.loads(json.dumps(kept)), boot="b1")
    assert not again.read_kernel(now=130.0, wall=1e9 + 130)
    assert find(again, 130.0) == {}
    later = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    later.take_kept(json.loads(json.dumps(again.keep())), boot="b1")
    path.write_text("")  # and anew within the boot
    tell(path, 0, XID.format(79), at=150.0)
    assert later.read_kernel(now=151.0, wall=1e9 + 151)


def test_a_new_boot_begins_well_and_reads_its_own_log_from_the_start(path: Path) -> None:
    checkup = make(path)
    tell(path, 5, XID.format(79))
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    kept = checkup.keep()
    path.write_text("")
    tell(path, 1, XID.format(79), at=3.0)
    again = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    again.take_kept(kept, boot="b2")
    assert find(again) == {}
    again.look(replace(SCENE, boot="b2", at=1e9 + 500, ticks=4.0))
    assert again.read_kernel(now=4.0, wall=1e9 + 500)
    # It left the bus again within a week, after a boot.
    assert find(again, 4.0) == {"gpu3 xid.79": Measure.REPLACE}


def test_what_an_old_line_tells_is_not_news(path: Path) -> None:
    """The agent is started late: an alert of two hours ago is over, a GPU that is gone is still gone."""
    tell(path, 1, XID.format(92), at=100.0)
    tell(path, 2, XID.format(79), at=200.0)
    checkup = Checkup(RULES, log=KernelLog(path, wants=get_hints(RULES)))
    checkup.take_kept(None, boot="b1")
    checkup.read_kernel(now=8000.0, wall=1e9 + 8000)
    checkup.look(replace(SCENE, ticks=8000.0, at=1e9 + 8000))
    assert find(checkup, 8000.0) == {"gpu 0000:3b:00 xid.79": Measure.REBOOT}


@pytest.mark.parametrize(
    "kept", [{"ledger": 5, "seq": 1}, {"seq": 1}, "rubbish", {"ledger": {"boot": 1}, "seq": "x"}, []]
)
def test_what_it_knew_and_cannot_be_read_is_forgotten(path: Path, kept: object) -> None:
    checkup = Checkup(RULES)
    checkup.take_kept(kept, boot="b1")
    assert checkup.ledger.boot == "b1"
    assert find(checkup) == {}


def test_a_log_that_cannot_be_read_is_said_after_a_while_and_tried_again(tmp_path: Path) -> None:
    checkup = make(tmp_path / "nowhere")
    for now in range(100, 200, 5):
        assert not checkup.read_kernel(now=now, wall=1e9 + now)
    [finding] = checkup.find(now=200.0, wall=1e9 + 200)
    assert (finding.code, finding.measure) == ("kernel.blind", Measure.ALERT)
    assert "No such file" in finding.reason
    (tmp_path / "nowhere").write_text("")
    for now in range(200, 300, 5):
        checkup.read_kernel(now=now, wall=1e9 + now)
    assert find(checkup, 300.0) == {}


def test_lines_that_were_overwritten_are_told(path: Path) -> None:
    checkup = make(path)
    tell(path, 1, "x")
    tell(path, 9, "x")
    checkup.read_kernel(now=100.0, wall=1e9 + 100)
    [finding] = checkup.find(now=100.0, wall=1e9 + 100)
    assert (finding.code, finding.reason) == ("kernel.lost", "7 lines were overwritten")


def test_a_check_that_breaks_is_seen_and_stops_no_other() -> None:
    def breaks(scene: Scene) -> list[Sight]:
        raise KeyError("gone")

    def sees(scene: Scene) -> list[Sight]:
        return [Sight("kernel.blind", "kernel", Verdict.BAD, scene.gpus_sample, "blind")]

    checks = (Check("gpu.odd", (BROKEN,), breaks), Check("kernel.blind", ("kernel.blind",), sees))
    checkup = Checkup(RULES, checks=checks)
    for number in range(10):
        now = 100.0 + 20 * number
        checkup.look(replace(SCENE, ticks=now, gpus_sample=str(number)))
    assert find(checkup, 280.0) == {"gpu.odd check.broken": Measure.ALERT, "kernel kernel.blind": Measure.ALERT}


def test_what_does_not_apply_says_why_and_is_not_looked_at() -> None:
    def never(scene: Scene) -> list[Sight]:
        raise AssertionError

    check = Check("nvlink.state", ("kernel.blind",), never, needs=lambda scene: "this GPU has no NVLink")
    checkup = Checkup(RULES, checks=(check,))
    checkup.look(SCENE)
    assert checkup.skipped == {"nvlink.state": "this GPU has no NVLink"}
    assert find(checkup) == {}


def test_each_check_has_its_own_pace() -> None:
    looked: list[float] = []

    def look(scene: Scene) -> list[Sight]:
        looked.append(scene.ticks)
        return []

    checkup = Checkup(RULES, checks=(Check("gpu.slow", ("kernel.blind",), look, every=60.0),))
    for number in range(130):
        checkup.look(replace(SCENE, ticks=100.0 + number))
    assert looked == [100.0, 160.0, 220.0]


@pytest.mark.parametrize(
    ("pci", "bus"),
    [
        ("00000000:3B:00.0", "0000:3b:00"),
        ("0000:3b:00", "0000:3b:00"),
        ("3b:00.0", "0000:3b:00"),
        ("00010000:C1:00.0", "0000:c1:00"),
    ],
)
def test_one_address_in_all_its_spellings(pci: str, bus: str) -> None:
    assert find_bus(pci) == bus
