"""Proves a release from the local door, by the agent's own code, where the agent does not."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dsops.core.passport import Hardware
from dsops.core.state import Move
from dsops.core.status import Proof
from dsops.node.agent.prove import Proving, Refusal, prove
from dsops.node.run import Run, run
from dsops.node.sources.cache import find_cached, list_files
from dsops.node.sources.golden import read_golden
from dsops.node.sources.hardware import read_hardware
from dsops.node.sources.passports import find_demand
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit, read_units

# Fixed, as roles/triton has them.
PORTS = {"a": Ports("a", 8100, 8102), "b": Ports("b", 8200, 8202)}
Prover = Callable[[Move, Path, Path], Proof | Refusal]


def prove_here(move: Move, root: Path, gateway: Path) -> Proof | Refusal:
    """Asks the release in the move's slot. root: the store; gateway: its control socket. Raises DsopsError."""
    hardware = read_hardware()
    ports = PORTS[move.slot]
    proving = make_proving(move.release, ports, root=root, gateway=gateway, hardware=hardware)
    return asyncio.run(prove(replace(proving, passport=find_demand(root, move, hardware))))


def make_proving(
    release: str, ports: Ports, *, root: Path, gateway: Path, hardware: Hardware | None, run: Run = run
) -> Proving:
    """What it takes to ask a release in a slot of this server. Raises DsopsError."""
    folder = root / "releases" / release

    def find_unit() -> Unit:
        return read_units([ports.unit], run=run)[ports.unit]

    return Proving(
        ports=ports,
        golden=read_golden(folder),
        find_unit=find_unit,
        gateway=gateway,
        gpus=hardware.gpus if hardware else (),
        find_cached=lambda: find_cached(list_files(folder)),
    )
