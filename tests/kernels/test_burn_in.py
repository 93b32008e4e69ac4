"""A burn-in in plain PyTorch on the CPU: a sound device passes, and every fault put into it is found."""

import dataclasses
import threading

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: bin/test has it in .torch-venv")

from dskernels.burn_in import memory, suite  # noqa: E402
from dskernels.burn_in.bench import make_floors  # noqa: E402
from dskernels.burn_in.faults import FAULTS, PEER_FAULT, REDUCE_FAULT, Fault  # noqa: E402
from dskernels.burn_in.machine import Pattern, describe, make_found  # noqa: E402
from dskernels.burn_in.plan import MIB, Plan, Point  # noqa: E402
from dskernels.burn_in.reference import Plain, expect, to_int32  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
torch.set_num_threads(1)  # threads of threads would only wait for each other on CI's two cores
SMALL = Plan(
    walk_seconds=0,
    multiply_seconds=0,
    limit=60,
    spare=MIB,
    piece=2 * MIB,
    copies=(MIB,),
    host=2 * MIB,
    pause=0,
    reduce=MIB,
    repeats=2,
    side=64,
    depth=128,
    fp8_depth=128,
    fp8_seconds=0,
    batch=2,
)


def make_machine() -> Plain:
    return Plain(CPU, free=4 * MIB)


def test_a_sound_device_passes_and_says_what_was_measured() -> None:
    (report,) = suite.run([make_machine()], plan=SMALL)
    assert report.is_sound, report.problems
    figures = {one.name: one for one in report.figures}
    assert figures["memory_walked"].value == pytest.approx(3 / 1024)
    assert figures["memory_passes"].value == 2
    assert {"memory_read", "copy_1", "triad_1", "host_to_device", "device_to_host", "product", "abft_share"} <= set(
        figures
    )
    assert all(one.value > 0 and one.unit for one in report.figures)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_by_the_part_that_must_find_it(fault: Fault) -> None:
    plan = SMALL if "not answer" not in fault.name else dataclasses.replace(SMALL, limit=0.5)
    if fault.part == "floors":
        plan = make_floors(SMALL, suite.run([make_machine()], plan=SMALL), share=0.2)
    (report,) = suite.run([make_machine()], plan=plan, tamper=fault.make())
    assert fault.part in {problem.part for problem in report.problems}, report.problems


def test_faults_are_put_in_at_more_than_eight_points() -> None:
    assert len({fault.point for fault in FAULTS}) >= 8


def test_one_device_that_hangs_does_not_keep_the_others_from_their_reports() -> None:
    gate = threading.Event()

    class Stuck(Plain):
        def get_free(self) -> int:
            gate.wait()
            raise RuntimeError("too late")

    plan = dataclasses.replace(SMALL, limit=6.0, peer=MIB)
    reports = suite.run([Stuck(CPU), make_machine()], plan=plan)
    gate.set()
    assert [report.is_sound for report in reports] == [False, True]
    assert "no answer within 6 s" in reports[0].problems[0].what


def test_an_error_in_one_part_leaves_the_others_their_turn() -> None:
    def tamper(point: Point, tensor: "torch.Tensor") -> None:
        if point is Point.COPIED:
            raise RuntimeError("out of luck")

    (report,) = suite.run([make_machine()], plan=SMALL, tamper=tamper)
    assert [(problem.part, problem.what) for problem in report.problems] == [("copy", "RuntimeError: out of luck")]
    assert "product" in {one.name for one in report.figures}


def test_every_word_of_the_pattern_and_its_complement_is_its_own() -> None:
    words = expect(1 << 18, first=3, pattern=Pattern(7), device=CPU)
    assert words.unique().numel() == words.numel()
    assert torch.equal(~words, expect(1 << 18, first=3, pattern=Pattern(7, is_inverted=True), device=CPU))
    assert to_int32(torch.tensor([1 << 31, (1 << 32) + 5, -1])).tolist() == [-(1 << 31), 5, -1]


def test_what_is_wrong_is_counted_and_placed() -> None:
    machine, words, found = make_machine(), torch.empty(1 << 18, dtype=torch.int32), make_found(CPU)
    machine.fill(words, first=2, pattern=Pattern(1))
    machine.check(words, first=2, pattern=Pattern(1), found=found)
    assert describe(found) is None
    words[10] ^= 6
    words[20] ^= 8
    machine.check(words, first=2, pattern=Pattern(1), found=found)
    assert describe(found) == (
        "2 words of 32 bits are wrong, the first at byte 2097192 of what was walked, in the bits 0000000e"
    )


def test_memory_is_taken_in_whole_mib_and_the_spare_is_left() -> None:
    plan = dataclasses.replace(SMALL, spare=MIB, piece=2 * MIB)
    pieces = memory.take(Plain(CPU, free=6 * MIB + 17), plan)
    assert [piece.numel() * 4 for piece in pieces] == [2 * MIB, 2 * MIB, MIB]
    assert [first for first, _ in memory.place(pieces)] == [0, 2, 4]


def test_a_copy_between_two_devices_is_measured_and_its_fault_found() -> None:
    machines = [make_machine(), make_machine()]
    plan = dataclasses.replace(SMALL, peer=MIB)
    reports = suite.run(machines, plan=plan)
    assert all(report.is_sound and "peer_copy" in {one.name for one in report.figures} for report in reports)
    reports = suite.run(machines, plan=plan, tamper=PEER_FAULT.make())
    assert [problem.part for report in reports for problem in report.problems] == ["peer"]


def test_the_sum_over_all_devices_is_measured_and_its_fault_found() -> None:
    machines = [make_machine(), make_machine()]
    plan = dataclasses.replace(SMALL, peer=MIB)
    first, second = suite.run(machines, plan=plan)
    assert "all_reduce" in {one.name for one in first.figures}
    assert "all-reduce" in first.done
    assert "all-reduce" not in second.done
    reports = suite.run(machines, plan=plan, tamper=REDUCE_FAULT.make())
    assert [problem.part for report in reports for problem in report.problems] == ["all-reduce"]


def test_a_device_without_fp8_says_so_and_is_sound() -> None:
    class Older(Plain):
        def find_fp8_lack(self) -> str:
            return "too old"

    (report,) = suite.run([Older(CPU, free=4 * MIB)], plan=SMALL)
    assert report.is_sound
    assert [(skip.part, skip.why) for skip in report.skips] == [("fp8", "too old")]


def test_a_part_that_fails_is_not_among_those_that_came_to_their_end() -> None:
    def tamper(point: Point, tensor: "torch.Tensor") -> None:
        if point is Point.COPIED:
            raise RuntimeError("out of luck")

    (report,) = suite.run([make_machine()], plan=SMALL, tamper=tamper)
    assert set(suite.PARTS) - set(report.done) == {"copy"}
