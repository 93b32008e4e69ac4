"""Proves a release from the local door, by the agent's own code, where the agent does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from dsops.core.state import Move
from dsops.core.status import Proof
from dsops.node.agent.prove import Proving, Refusal, prove
from dsops.node.sources.golden import read_golden
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit, read_units

# Fixed, as roles/triton has them.
PORTS = {"a": Ports("a", 8100, 8102), "b": Ports("b", 8200, 8202)}
Prover = Callable[[Move, Path, Path], Proof | Refusal]


def prove_here(move: Move, root: Path, gateway: Path) -> Proof | Refusal:
    """Asks the release in the move's slot. root: the store; gateway: its control socket. Raises DsopsError."""
    ports = PORTS[move.slot]

    def find_unit() -> Unit:
        return read_units([ports.unit])[ports.unit]

    golden = read_golden(root / "releases" / move.release)
    return asyncio.run(prove(Proving(ports=ports, golden=golden, find_unit=find_unit, gateway=gateway)))
