"""A burn-in of every GPU, then the faults it must find: `python -m dskernels.burn_in.bench`."""

import dataclasses
from collections.abc import Sequence

import torch

from dskernels.burn_in.faults import FAULTS, PEER_FAULT, REDUCE_FAULT, Fault
from dskernels.burn_in.plan import MIB, Plan
from dskernels.burn_in.report import Report
from dskernels.burn_in.suite import run

SHORT = Plan(
    walk_seconds=0,
    multiply_seconds=0.2,
    fp8_seconds=0.2,
    limit=20,
    most=8192 * MIB,
    copies=(256 * MIB,),
    host=64 * MIB,
    repeats=3,
)


def show(report: Report) -> None:
    """One line a figure and a problem."""
    print(f"GPU {report.gpu}, {report.name}: {report.seconds:.1f} s, {'sound' if report.is_sound else 'NOT SOUND'}")
    for one in report.figures:
        print(f"  {one.name:<18}{one.value:12.2f} {one.unit}{'' if one.peer is None else f' from GPU {one.peer}'}")
    for problem in report.problems:
        print(f"  PROBLEM in {problem.part}: {problem.what}")


def find_fault(fault: Fault, plan: Plan) -> bool:
    """Whether the part that must find it does, and no report of a sound run would say the same."""
    limit = 3.0 if "not answer" in fault.name else plan.limit
    reports = run(plan=dataclasses.replace(plan, limit=limit), tamper=fault.make())
    found = [problem for report in reports for problem in report.problems]
    is_found = any(problem.part == fault.part for problem in found)
    print(f"{'found ' if is_found else 'MISSED'} {fault.name}: {found[0].what if found else ''}", flush=True)
    return is_found


def make_floors(plan: Plan, sound: Sequence[Report], *, share: float = 0.7) -> Plan:
    """The plan with floors for copies and products, from what sound GPUs reached."""
    figures = [figure for report in sound for figure in report.figures]
    names = (f"copy_{plan.copies[0] // MIB}", "product", "fp8")
    values = {name: [one.value for one in figures if one.name == name] for name in names}
    floors = {name: share * min(some) for name, some in values.items() if some}
    return dataclasses.replace(plan, floors=floors)


def main() -> None:
    """Prints the reports and what was found."""
    for report in run():
        show(report)
    sound = run(plan=SHORT)
    if bad := [problem for report in sound for problem in report.problems]:
        print(f"a short run of sound GPUs objects: {bad}")
    plan = make_floors(SHORT, sound)
    faults = FAULTS + ((PEER_FAULT, REDUCE_FAULT) if torch.cuda.device_count() > 1 else ())
    print(f"{sum([find_fault(fault, plan) for fault in faults])} of {len(faults)} injected faults found")


if __name__ == "__main__":
    main()
