"""Bytes from one place to another: on the device, to and from the host, from another GPU."""

import statistics
import time
from collections.abc import Callable

import torch

from dskernels.burn_in import reference
from dskernels.burn_in.machine import Machine, Pattern, describe, hold, make_found
from dskernels.burn_in.plan import MIB, Plan, Point, Tamper
from dskernels.burn_in.report import Findings

TURNS = 5
# The host's memory is everybody's: what somebody else takes of it for a moment is no fault of the GPU.
ROUNDS = 3
# The host's side of the pattern is computed once for so many bytes and repeated.
HOST_PIECE = 32 * MIB


def measure_rate(machine: Machine, work: Callable[[], object], size: int) -> float:
    """GB/s, the median of five after one to warm up."""
    work()
    seconds = []
    for _ in range(TURNS):
        begin = machine.mark()
        work()
        seconds.append(machine.count_seconds(begin, machine.mark()))
    return size / statistics.median(seconds) / 1e9


def measure_best(machine: Machine, work: Callable[[], object], size: int, *, pause: float) -> float:
    """GB/s, the best of several rounds of `measure_rate` with pauses between them."""
    rates = [measure_rate(machine, work, size)]
    for _ in range(ROUNDS - 1):
        time.sleep(pause)
        rates.append(measure_rate(machine, work, size))
    return max(rates)


def copy(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures copy_<MiB> (read and written bytes); objects to a copy that is not the same."""
    pattern = Pattern(plan.seed)
    for size in plan.copies:
        source, target = (torch.zeros(size // 4, dtype=torch.int32, device=machine.device) for _ in range(2))
        machine.fill(source, first=0, pattern=pattern)

        def work(source: torch.Tensor = source, target: torch.Tensor = target) -> None:
            target.copy_(source)
            tamper(Point.COPYING, target)

        findings.measure(f"copy_{size // MIB}", measure_rate(machine, work, 2 * size), "GB/s")
        tamper(Point.COPIED, target)
        found = make_found(machine.device)
        machine.check(target, first=0, pattern=pattern, found=found)
        if trouble := describe(found):
            findings.object_to("copy", f"of {size // MIB} MiB: {trouble}")


def triad(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures triad_<MiB>, a = b + 2 c (read and written bytes); with b = c, a must be 3 b to the bit."""
    for size in plan.copies:
        generator = torch.Generator(machine.device).manual_seed(plan.seed)
        b = torch.randn(size // 4, device=machine.device, generator=generator)
        a, c = torch.zeros_like(b), b.clone()

        def work(a: torch.Tensor = a, b: torch.Tensor = b, c: torch.Tensor = c) -> None:
            torch.add(b, c, alpha=2, out=a)

        findings.measure(f"triad_{size // MIB}", measure_rate(machine, work, 3 * size), "GB/s")
        tamper(Point.ADDED, a)
        if wrong := int((a != b.mul_(3)).sum()):
            findings.object_to("triad", f"of {size // MIB} MiB: {wrong} values are wrong")


def talk_to_host(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures host_to_device and device_to_host, pinned; objects to bytes that arrive changed."""
    piece, pattern = min(HOST_PIECE, plan.host), Pattern(plan.seed)
    count, is_gpu = plan.host // piece, machine.device.type == "cuda"
    there = torch.zeros((count, piece // 4), dtype=torch.int32, device=machine.device)
    here = torch.empty((count, piece // 4), dtype=torch.int32, pin_memory=is_gpu)
    here[:] = reference.expect(piece // 4, first=0, pattern=pattern, device=here.device)
    rate = measure_best(machine, lambda: there.copy_(here, non_blocking=True), there.numel() * 4, pause=plan.pause)
    findings.measure("host_to_device", rate, "GB/s")
    tamper(Point.SENT, there)
    found = make_found(machine.device)
    for row in there:
        machine.check(row, first=0, pattern=pattern, found=found)
    if trouble := describe(found):
        findings.object_to("host", f"to the device: {trouble}")
    want = here.clone()
    for row in there:
        machine.fill(row, first=0, pattern=pattern)
    here.zero_()
    rate = measure_best(machine, lambda: here.copy_(there, non_blocking=True), there.numel() * 4, pause=plan.pause)
    findings.measure("device_to_host", rate, "GB/s")
    tamper(Point.RECEIVED, here)
    if wrong := int((here != want).sum()):
        findings.object_to("host", f"from the device: {wrong} words of 32 bits are wrong")


def copy_from_peer(machine: Machine, other: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures peer_copy from the other GPU to this one; objects to a copy that is not the same."""
    pattern, peer = Pattern(plan.seed), other.device.index
    with hold(other.device):
        source = torch.empty(plan.peer // 4, dtype=torch.int32, device=other.device)
        other.fill(source, first=0, pattern=pattern)
        now = other.mark()
        other.count_seconds(now, now)
    target = torch.zeros(plan.peer // 4, dtype=torch.int32, device=machine.device)
    rate = measure_rate(machine, lambda: target.copy_(source), plan.peer)
    findings.measure("peer_copy", rate, "GB/s", peer=peer)
    tamper(Point.PEER, target)
    found = make_found(machine.device)
    machine.check(target, first=0, pattern=pattern, found=found)
    if trouble := describe(found):
        findings.object_to("peer", f"from GPU {peer}: {trouble}")
