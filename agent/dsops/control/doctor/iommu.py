"""What silently takes the direct way between GPUs and network cards: a translating IOMMU, and ACS on PCI bridges."""

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dsops.control.doctor.answer import Answer
from dsops.control.doctor.finding import Finding, count, ok, skipped, warning
from dsops.control.doctor.gpus import Gpu

# PCI Express: where the extended capabilities begin, ACS' id, and its bits that send what peers say to each other
# up to the processor (PCIe 5.0, 7.7.8.3: P2P Request Redirect, P2P Completion Redirect).
EXTENDED, ACS, CONTROL = 0x100, 0x000D, 6
REDIRECT = 0b1100
SHOWN = 4


@dataclass(frozen=True)
class Iommu:
    """types: type of IOMMU group -> how many; empty when there is no IOMMU. acs: bridge -> its control bits.

    A bridge is missing from acs when its configuration could not be read.
    """

    types: Mapping[str, int] = field(default_factory=dict)
    acs: Mapping[str, int] = field(default_factory=dict)


def read_iommu(answer: Answer) -> Iommu:
    """Out of the probe's lines."""
    counted = [line.split() for line in answer.all("iommu")]
    configs = [line.split() for line in answer.all("config")]
    read = {words[0]: find_acs(_decode(words[1])) for words in configs if len(words) == 2}
    return Iommu(
        types={words[1]: int(words[0]) for words in counted if len(words) == 2},
        acs={bridge: bits for bridge, bits in read.items() if bits is not None},
    )


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def find_acs(config: bytes) -> int | None:
    """ACS' control bits out of a bridge's configuration space; 0 when it has no ACS, None when it was not readable.

    Anybody but root, and old hardware, gets 64 or 256 bytes, where the extended capabilities are not.
    """
    if len(config) <= EXTENDED:
        return None
    for offset, kind in _walk(config):
        if kind == ACS and offset + CONTROL + 2 <= len(config):
            return int(struct.unpack_from("<H", config, offset + CONTROL)[0])
    return 0


def _walk(config: bytes) -> Iterator[tuple[int, int]]:
    """(offset, id) of each extended capability. A broken chain ends it."""
    offset, seen = EXTENDED, set[int]()
    while EXTENDED <= offset <= len(config) - 4 and offset not in seen:
        seen.add(offset)
        (head,) = struct.unpack_from("<I", config, offset)
        if head in (0, 0xFFFFFFFF):
            return
        yield offset, head & 0xFFFF
        offset = head >> 20


def judge_iommu(where: str, iommu: Iommu, gpus: Sequence[Gpu]) -> list[Finding]:
    """Translation between GPUs and their neighbours: slow at best, and P2P tests hang at worst."""
    if not gpus:
        return []
    kinds = {gpu.iommu for gpu in gpus if gpu.iommu} or set(iommu.types)
    if not kinds:
        return [ok("iommu", where, "off, or none")]
    if kinds <= {"identity"}:
        return [ok("iommu", where, "on, and passes the GPUs through (iommu=pt)")]
    what = f"translates what the GPUs send (groups of type {', '.join(sorted(kinds))}): GPUDirect between GPUs and to"
    what += " network cards is slow, or fails without a word"
    mend = "add iommu=pt to the kernel's command line and reboot, or turn the IOMMU off in the BIOS (VT-d, AMD-Vi)"
    return [warning("iommu", where, what, mend=mend)]


def judge_acs(where: str, iommu: Iommu, gpus: Sequence[Gpu]) -> list[Finding]:
    """Bridges above GPUs that send what peers say to each other up to the processor."""
    above = sorted({bridge for gpu in gpus for bridge in gpu.parents})
    if not above:
        return []
    read = [bridge for bridge in above if bridge in iommu.acs]
    if not read:
        return [skipped("acs", where, f"the configuration of {count(len(above), 'bridge')} could not be read")]
    on = [bridge for bridge in read if iommu.acs[bridge] & REDIRECT]
    if not on:
        return [ok("acs", where, f"off on {count(len(read), 'bridge')} above the GPUs")]
    more = f" and {len(on) - SHOWN} more" if len(on) > SHOWN else ""
    what = f"redirects peer to peer traffic on {', '.join(on[:SHOWN])}{more}: GPUDirect goes through the processor"
    mend = "ACS off in the BIOS; or `setpci -s BRIDGE ECAP_ACS+6.w=0` for each of them at every boot"
    return [warning("acs", where, what, mend=mend)]
