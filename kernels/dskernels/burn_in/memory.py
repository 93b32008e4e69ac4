"""All free memory, written with a pattern and its complement and read back."""

import statistics
from collections.abc import Iterator

import torch

from dskernels.burn_in.machine import Machine, Pattern, describe, make_found
from dskernels.burn_in.plan import MIB, Plan, Point, Tamper
from dskernels.burn_in.report import Findings

# A smaller piece that cannot be had is not tried by halves.
LEAST = 64 * MIB


def walk(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures memory_walked, memory_write and memory_read; objects to words that come back wrong."""
    pieces = take(machine, plan)
    size = sum(piece.numel() * 4 for piece in pieces)
    findings.measure("memory_walked", size / (1 << 30), "GiB")
    write: list[float] = []
    read: list[float] = []
    begin, turn = machine.mark(), 0
    while turn < 2 or turn % 2 or machine.count_seconds(begin, machine.mark()) < plan.walk_seconds:
        pattern = Pattern(plan.seed + turn // 2, is_inverted=turn % 2 == 1)
        times = [machine.mark()]
        for first, piece in place(pieces):
            machine.fill(piece, first=first, pattern=pattern)
        times.append(machine.mark())
        for piece in pieces:
            tamper(Point.INVERTED if pattern.is_inverted else Point.FILLED, piece)
        found = make_found(machine.device)
        times.append(machine.mark())
        for first, piece in place(pieces):
            machine.check(piece, first=first, pattern=pattern, found=found)
        times.append(machine.mark())
        write.append(size / machine.count_seconds(times[0], times[1]) / 1e9)
        read.append(size / machine.count_seconds(times[2], times[3]) / 1e9)
        if trouble := describe(found):
            findings.object_to("memory", f"pass {turn + 1}: {trouble}")
            break
        turn += 1
    findings.measure("memory_passes", turn, "passes")
    findings.measure("memory_write", statistics.median(write), "GB/s")
    findings.measure("memory_read", statistics.median(read), "GB/s")


def take(machine: Machine, plan: Plan) -> list[torch.Tensor]:
    """As much of the free memory as can be had, in pieces of whole MiB."""
    pieces: list[torch.Tensor] = []
    left, size = min(machine.get_free() - plan.spare, plan.most) // MIB * MIB, plan.piece
    while left > 0 and size > 0:
        size = min(size, left)
        try:
            pieces.append(torch.empty(size // 4, dtype=torch.int32, device=machine.device))
        except torch.OutOfMemoryError:
            size = size // 2 // MIB * MIB if size >= LEAST else 0
        else:
            left -= size
    return pieces


def place(pieces: list[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
    """Each piece with its place in the pattern, in MiB."""
    first = 0
    for piece in pieces:
        yield first, piece
        first += piece.numel() * 4 // MIB
