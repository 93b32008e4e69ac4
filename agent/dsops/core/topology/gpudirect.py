"""By which way a card reads a GPU's memory: dma-buf or nvidia-peermem, from what is installed. Pure.

Facts: NVIDIA's GPU Operator guide, `GPUDirect RDMA` (dma-buf is recommended: open kernel modules, Linux 5.12 or newer,
CUDA 11.7 or newer, Turing or newer; nvidia-peermem needs NVIDIA's own network drivers); NCCL takes dma-buf by itself.
"""

import re
from dataclasses import dataclass

from dsops.core.topology.model import Software

DMABUF, PEERMEM, NONE = "dmabuf", "peermem", "none"
CHOICES = ("auto", DMABUF, PEERMEM, NONE)
KERNEL = (5, 12)
DRIVER = 515  # the first with open kernel modules, and with CUDA 11.7


@dataclass(frozen=True)
class Way:
    """name: dmabuf, peermem or none. why: in words. is_possible: False when it was asked for and cannot be."""

    name: str
    why: str
    is_possible: bool = True


def choose_way(found: Software, asked: str = "auto") -> Way:
    """What is asked for, with whether that is possible; by itself the first that is."""
    if asked == NONE:
        return Way(NONE, "not wanted (rdma_gpudirect)")
    if not found.driver:
        return Way(NONE, "no NVIDIA driver is loaded yet", asked == "auto")
    dmabuf, peermem = _find_no_dmabuf(found), _find_no_peermem(found)
    if asked == DMABUF or (asked == "auto" and not dmabuf):
        return Way(DMABUF, dmabuf or "kernel and driver share buffers by themselves: no module is needed", not dmabuf)
    if asked == PEERMEM or not peermem:
        return Way(PEERMEM, peermem or f"nvidia-peermem: {dmabuf}", not peermem)
    return Way(NONE, f"no dma-buf ({dmabuf}), no peermem ({peermem}): data is staged in the host's memory")


def _find_no_dmabuf(found: Software) -> str:
    match = re.match(r"(\d+)\.(\d+)", found.kernel)
    if not match or (int(match[1]), int(match[2])) < KERNEL:
        return f"kernel {found.kernel or 'unknown'} is older than 5.12"
    if "Open Kernel Module" not in found.driver:
        return "the driver's modules are the proprietary ones"
    branch = re.search(r"\b(\d{3})\.\d+", found.driver)
    return "" if branch and int(branch[1]) >= DRIVER else f"the driver is older than {DRIVER}"


def _find_no_peermem(found: Software) -> str:
    if found.has_peer_memory:
        return ""
    return "the kernel has nothing that nvidia-peermem could register with; NVIDIA's network drivers bring it"
