"""What the NVIDIA driver says: the GPUs in its own order, and the matrix of `nvidia-smi topo -m`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.core.topology.sysfs import ADDRESS

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LEGEND = re.compile(r"^\s*(NIC\d+): (\S+)\s*$", re.MULTILINE)
GPU = re.compile(r"GPU(\d+)")
CELLS = re.compile(r"X|SYS|NODE|PHB|PXB|PIX|NV\d+|N/A")


@dataclass(frozen=True)
class Listed:
    """One GPU as NVML lists it."""

    index: int
    address: str
    uuid: str = ""
    sm: str = ""
    name: str = ""


def read_listed(text: str, *, where: str) -> tuple[Listed, ...]:
    """Lines `index, bus id, UUID, compute capability, name`. Raises DsopsError on a line that is none."""
    return tuple(_read_listed(line, where=where) for line in text.splitlines() if line.strip())


def _read_listed(line: str, *, where: str) -> Listed:
    words = [word.strip() for word in line.split(",", 4)]
    # The driver writes eight digits of the domain, the kernel four.
    address = words[1].lower()[-12:] if len(words) > 1 else ""
    if not words[0].isdigit() or not ADDRESS.fullmatch(address):
        mend = "look at `nvidia-smi` there: the driver does not answer as it should"
        raise DsopsError(f"no line about a GPU: {line.strip()!r}", where=where, mend=mend)
    return Listed(int(words[0]), address, *words[2:])


def read_matrix(text: str) -> Mapping[tuple[int, str], str]:
    """(GPU's index, card) -> PIX, PXB, PHB, NODE or SYS. Empty when there is no matrix, or no card in it.

    Cards have their own names in older drivers' heads, `NIC0` and a legend in newer ones'.
    """
    lines = COLOUR.sub("", text).splitlines()
    head = next((line.split() for line in lines if line.split()[:1] == ["GPU0"]), [])
    columns = head[: head.index("CPU")] if "CPU" in head else head
    legend = dict(LEGEND.findall(text))
    found = {}
    for line in lines:
        name, *cells = line.split() or [""]
        row = GPU.fullmatch(name)
        if not row or not cells or not all(CELLS.fullmatch(cell) for cell in cells[: len(columns)]):
            continue
        for column, cell in zip(columns, cells, strict=False):
            if not GPU.fullmatch(column):
                found[int(row[1]), legend.get(column, column)] = cell
    return found
