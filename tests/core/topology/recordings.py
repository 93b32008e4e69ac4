"""Recordings of servers for tests: read from fixtures/, with single facts changed."""

from pathlib import Path

from dsops.core.topology.asked import Asked
from dsops.core.topology.compile import Compiled, compile_network
from dsops.core.topology.model import Problem
from dsops.core.topology.read import read_topology

FIXTURES = Path(__file__).parent / "fixtures"
SOUND = ("a100-pcie-2nic", "dgx-h100", "h100-x2-guest", "roce-bond", "two-gpus-no-rdma")
IB, PCI = "/sys/class/infiniband", "/sys/bus/pci/devices"


def read_parts(name: str) -> dict[str, str]:
    return {file.stem: file.read_text() for file in (FIXTURES / name).glob("*.txt")}


def change(parts: dict[str, str], **facts: str) -> dict[str, str]:
    """With other parts."""
    return parts | facts


def put(parts: dict[str, str], path: str, text: str) -> dict[str, str]:
    """With another text in one of the kernel's files, which must be there."""
    lines = parts["sys"].splitlines()
    assert sum(line.startswith(f"{path}\t") for line in lines) == 1, path
    changed = [f"{path}\t{text}" if line.startswith(f"{path}\t") else line for line in lines]
    return parts | {"sys": "\n".join(changed) + "\n"}


def drop(parts: dict[str, str], start: str) -> dict[str, str]:
    """Without the kernel's files whose path begins so."""
    kept = [line for line in parts["sys"].splitlines() if not line.startswith(start)]
    assert len(kept) < len(parts["sys"].splitlines()), start
    return parts | {"sys": "\n".join(kept) + "\n"}


def build(parts: dict[str, str] | str, asked: Asked | None = None, *, node: str = "gpu1") -> Compiled:
    """What becomes of a recording, by its name or changed."""
    found = read_parts(parts) if isinstance(parts, str) else parts
    return compile_network(read_topology(found, node=node), asked or Asked())


def find_problem(made: Compiled, words: str) -> Problem:
    """The only problem that says so. A refused map has neither lines nor a file."""
    assert made.lines == ()
    assert made.xml == ""
    found = [one for one in made.problems if words in one.what]
    assert len(found) == 1, made.problems
    assert found[0].where
    assert found[0].mend
    return found[0]


def cards(made: Compiled) -> dict[int, str]:
    return {pair.gpu.index: ",".join(port.hca for port in pair.ports) for pair in made.pairs}


def values(made: Compiled) -> dict[str, str]:
    return {line.key: line.value for line in made.lines}
