"""Reads what this server computes with: its GPUs through NVML, and without any its CPU."""

import asyncio
import os
import platform
import tomllib
from collections.abc import Sequence
from pathlib import Path

from dsops.core.passport import Hardware
from dsops.node.sources.gpu_child import ARGV, GpuChild
from dsops.node.sources.gpus import Reading, Sweep

CPUINFO = Path("/proc/cpuinfo")
# The agent's configuration says when a server is meant to have no GPU, whatever is built into it.
AGENT = Path("/etc/dsops/agent.toml")
SWEEP_SECONDS = 8.0


def find_hardware(reading: Reading, *, cpuinfo: Path = CPUINFO) -> Hardware | None:
    """From one sweep of the GPUs; None when the driver did not say what there is."""
    if reading.sweep not in (Sweep.OK, Sweep.ABSENT):
        return None
    cpu, cores = read_cpu(cpuinfo)
    return Hardware(tuple(gpu.name for gpu in reading.gpus), cpu, cores)


def read_hardware(
    *, argv: Sequence[str] = ARGV, seconds: float = SWEEP_SECONDS, agent: Path = AGENT, cpuinfo: Path = CPUINFO
) -> Hardware | None:
    """As the agent sees it. Asks the driver in a child with a deadline: NVML calls hang on broken drivers.

    None when nobody can say.
    """
    if is_without_gpus(agent):
        return find_hardware(Reading(Sweep.ABSENT), cpuinfo=cpuinfo)
    return find_hardware(asyncio.run(_sweep(argv, seconds)), cpuinfo=cpuinfo)


def read_uuids(
    *, argv: Sequence[str] = ARGV, seconds: float = SWEEP_SECONDS, agent: Path = AGENT
) -> tuple[str, ...] | None:
    """Which GPUs this server has now, in the driver's order. None when nobody can say, also when one is lost."""
    if is_without_gpus(agent):
        return ()
    reading = asyncio.run(_sweep(argv, seconds))
    if reading.sweep not in (Sweep.OK, Sweep.ABSENT) or reading.lost:
        return None
    return tuple(gpu.uuid for gpu in reading.gpus)


def is_without_gpus(path: Path) -> bool:
    """Whether the inventory promises that there is none; False where it says nothing."""
    try:
        return bool(tomllib.loads(path.read_text())["gpus"]["expected"] == 0)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def read_cpu(path: Path = CPUINFO) -> tuple[str, int]:
    """(model, logical cores of the machine, whatever this process may use)."""
    try:
        lines = [line.partition(":") for line in path.read_text().splitlines()]
    except OSError:
        lines = []
    names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
    cores = sum(key.strip() == "processor" for key, _, _ in lines)
    return (names[0] if names else platform.machine()), cores or os.cpu_count() or 1


async def _sweep(argv: Sequence[str], seconds: float) -> Reading:
    child = GpuChild(argv, deadline=seconds)
    try:
        return await child.read()
    finally:
        await child.close()
