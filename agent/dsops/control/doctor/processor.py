"""Processors and their memory: sockets, cores, NUMA nodes, instructions, and whether mitigations are off."""

import re
from dataclasses import dataclass

from dsops.control.doctor.answer import Answer, to_int
from dsops.control.doctor.finding import Finding, count, ok, problem, warning

NODE = re.compile(r"Node (\d+) MemTotal:\s*(\d+) kB")
GIB = 1 << 30
# The instructions that an engine or quantized kernels ask for, as /proc/cpuinfo and as people write them.
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX"}
# Nodes may differ by what firmware and kernel keep for themselves, not by a DIMM.
UNEVEN = 0.85


@dataclass(frozen=True)
class Node:
    """One NUMA node. memory in bytes. cpus: a list such as `0-31,64-95`; empty on a node of memory only."""

    number: int
    memory: int
    cpus: str


@dataclass(frozen=True)
class Processor:
    """threads: logical CPUs that are on line. off: names of weaknesses that nothing is done about."""

    sockets: int = 0
    cores: int = 0
    threads: int = 0
    flags: tuple[str, ...] = ()
    governors: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    off: tuple[str, ...] = ()

    def render(self) -> str:
        """In few words."""
        parts = [name for flag, name in INSTRUCTIONS.items() if flag in self.flags]
        said = f"with {', '.join(parts)}" if parts else ""
        if self.cores:
            said += f"; {count(self.sockets, 'socket')}, {count(self.cores, 'core')}, {count(self.threads, 'thread')}"
        return said + (f"; governor {' and '.join(self.governors)}" if self.governors else "")


def read_processor(answer: Answer) -> Processor:
    """Out of the probe's lines."""
    weak = answer.below("/sys/devices/system/cpu/vulnerabilities")
    return Processor(
        sockets=to_int(answer.find("cpu.sockets")),
        cores=to_int(answer.find("cpu.cores")),
        threads=to_int(answer.find("cpu.threads")),
        flags=tuple(answer.find("cpu.flags").split()),
        governors=answer.all("cpu.governor"),
        nodes=tuple(_read_nodes(answer)),
        off=tuple(sorted(name for name, text in weak if text.startswith("Vulnerable"))),
    )


def _read_nodes(answer: Answer) -> list[Node]:
    found = [match for line in answer.all("numa") if (match := NODE.search(line))]
    where = "/sys/devices/system/node/node{}/cpulist"
    return [Node(int(one[1]), int(one[2]) * 1024, answer.leaf(where.format(one[1]))) for one in found]


def judge_numa(where: str, processor: Processor) -> list[Finding]:
    """A processor without memory of its own: its DIMMs are missing, dead or in the wrong slots."""
    nodes = [node for node in processor.nodes if node.cpus]
    if not nodes:
        return []
    bare = [str(node.number) for node in nodes if not node.memory]
    said = ", ".join(f"node {node.number}: {node.memory / GIB:.0f} GiB" for node in nodes)
    mend = "look at the DIMMs (`dmidecode -t memory` there, or the BMC): a dead one, or wrong slots"
    if bare:
        what = f"node {', '.join(bare)} has processors and no memory ({said}): all its memory is another socket's"
        return [problem("numa", where, what, mend=mend)]
    sizes = [node.memory for node in nodes]
    if min(sizes) < UNEVEN * max(sizes):
        return [warning("numa", where, f"the nodes' memory differs ({said})", mend=mend)]
    return [ok("numa", where, said)]


def judge_mitigations(where: str, processor: Processor, *, command_line: str) -> list[Finding]:
    """Off by somebody's choice: said, because whoever reads this may not know. Else it is the kernel's business."""
    if "mitigations=off" not in command_line.split():
        return []
    what = "mitigations of the processor's weaknesses are off (mitigations=off)"
    what += f": {', '.join(processor.off)}" if processor.off else ""
    mend = "take it off the kernel's command line, unless only your own code runs there"
    return [warning("mitigations", where, what, mend=mend)]
