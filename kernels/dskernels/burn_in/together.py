"""The sum over all GPUs of a host (all-reduce, NCCL through PyTorch): its rate, and whether it is right."""

import time
from collections.abc import Sequence

import torch
import torch.cuda.nccl

from dskernels.burn_in.machine import Machine, hold
from dskernels.burn_in.plan import MIB, Plan, Point, Tamper
from dskernels.burn_in.report import Findings

PART = "all-reduce"
TURNS = 5
# Each GPU brings other whole numbers, small enough that their sum is exact in fp32 whatever the order.
PERIOD = 1021


def all_reduce(machines: Sequence[Machine], plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures all_reduce, as bus bandwidth in GB/s; objects to a sum that is not right on one of the GPUs.

    Bus bandwidth: what each GPU sends and gets, 2 (n - 1) / n of the bytes in the time, so that it can be compared
    between hosts with different numbers of GPUs (as nccl-tests counts it).
    """
    count, numbers = len(machines), plan.reduce // 4
    brought = [_bring(machine, numbers, rank=rank) for rank, machine in enumerate(machines)]
    sums = [torch.zeros_like(one) for one in brought]
    reduce(brought, sums)
    _wait(machines)
    seconds = []
    for _ in range(TURNS):
        for one in sums:
            one.fill_(torch.nan)
        _wait(machines)
        begin = time.perf_counter()
        reduce(brought, sums)
        _wait(machines)
        seconds.append(time.perf_counter() - begin)
    size = 2 * (count - 1) / count * plan.reduce
    findings.measure("all_reduce", size / sorted(seconds)[TURNS // 2] / 1e9, "GB/s")
    for machine, total in zip(machines, sums, strict=True):
        tamper(Point.REDUCED, total)
        wrong = _count_wrong(machine, total, count=count)
        if wrong:
            of = f"{numbers} sums over {count} GPUs of {plan.reduce // MIB} MiB"
            what = f"on {machine.device}: {wrong} of {of} are wrong"
            findings.object_to(PART, what)


def reduce(brought: list[torch.Tensor], sums: list[torch.Tensor]) -> None:
    """By NCCL; on devices that are no GPUs by adding up."""
    if all(one.is_cuda for one in brought):
        torch.cuda.nccl.all_reduce(brought, sums)
        return
    total = torch.stack(brought).sum(0)
    for one in sums:
        one.copy_(total)


def _bring(machine: Machine, numbers: int, *, rank: int) -> torch.Tensor:
    with hold(machine.device):
        return (torch.arange(numbers, device=machine.device, dtype=torch.int32) % PERIOD + rank).float()


def _count_wrong(machine: Machine, total: torch.Tensor, *, count: int) -> int:
    with hold(machine.device):
        base = (torch.arange(total.numel(), device=machine.device, dtype=torch.int32) % PERIOD).float()
        return int((total != base * count + count * (count - 1) / 2).sum())


def _wait(machines: Sequence[Machine]) -> None:
    for machine in machines:
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
