"""Sockets, cores, instructions, memory per node, mitigations."""

from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.finding import Status
from dsops.control.doctor.processor import GIB, Node, Processor, judge_mitigations, judge_numa, read_processor

SAID = """cpu.sockets=2
cpu.cores=64
cpu.threads=128
cpu.flags=fpu sse2 avx2 avx512f amx_tile
cpu.governor=performance
numa=Node 0 MemTotal:       1056521216 kB
numa=Node 1 MemTotal:              0 kB
sys=/sys/devices/system/node/node0/cpulist\t0-31,64-95
sys=/sys/devices/system/node/node1/cpulist\t32-63,96-127
sys=/sys/devices/system/cpu/vulnerabilities/l1tf\tNot affected
sys=/sys/devices/system/cpu/vulnerabilities/retbleed\tVulnerable
sys=/sys/devices/system/cpu/vulnerabilities/spectre_v2\tVulnerable, IBPB: disabled
"""


def two(first: int, second: int, cpus: str = "8-15") -> Processor:
    return Processor(nodes=(Node(0, first * GIB, "0-7"), Node(1, second * GIB, cpus)))


def test_what_a_server_says_is_read_and_told_in_few_words() -> None:
    seen = read_processor(read_answer(SAID))
    assert seen.nodes[0] == Node(0, 1056521216 * 1024, "0-31,64-95")
    assert seen.off == ("retbleed", "spectre_v2")
    assert seen.render() == "with AVX2, AVX-512, AMX; 2 sockets, 64 cores, 128 threads; governor performance"
    assert read_processor(read_answer("")) == Processor()
    assert Processor().render() == ""


def test_a_node_with_processors_and_without_memory_is_a_problem() -> None:
    (found,) = judge_numa("gpu1", read_processor(read_answer(SAID)))
    assert found.status is Status.PROBLEM
    assert "node 1 has processors and no memory (node 0: 1008 GiB, node 1: 0 GiB)" in found.what
    assert "DIMM" in found.mend


def test_uneven_nodes_are_a_warning_and_a_little_is_the_firmwares() -> None:
    assert judge_numa("gpu1", two(64, 32))[0].status is Status.WARNING
    assert judge_numa("gpu1", two(64, 63))[0].status is Status.OK


def test_a_node_of_memory_only_or_of_none_at_all_is_nobodys_fault() -> None:
    assert judge_numa("gpu1", two(64, 0, cpus=""))[0].status is Status.OK
    assert judge_numa("gpu1", Processor()) == []


def test_mitigations_are_told_when_somebody_turned_them_off() -> None:
    seen = read_processor(read_answer(SAID))
    (found,) = judge_mitigations("gpu1", seen, command_line="ro mitigations=off quiet")
    assert (found.status, "retbleed, spectre_v2" in found.what) == (Status.WARNING, True)
    assert judge_mitigations("gpu1", seen, command_line="ro mitigations=auto") == []
