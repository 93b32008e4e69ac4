"""Lines of the kernel's log as drivers write them, and what is seen in them."""

import pytest
from dsops.core.status import Measure, Verdict
from dsops.node.checks.kernel import get_hints, look_at
from dsops.node.checks.rules import get_shipped
from dsops.node.sources.kernel_log import Record

RULES = get_shipped()


def see(text: str) -> list[tuple[str, str]]:
    record = Record(7, 3, 100.0, text)
    if not get_hints(RULES)(text.encode()):
        return []
    return [(sight.code, sight.entity) for sight in look_at(record, RULES, lambda pci: f"gpu at {pci}")]


@pytest.mark.parametrize(
    ("text", "code", "entity"),
    [
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            "xid.79",
            "gpu at 0000:3b:00",
        ),
        ("NVRM: Xid (PCI:0000:c1:00): 48, pid=2345, An uncorrectable double bit error", "xid.48", "gpu at 0000:c1:00"),
        ("NVRM: Xid (0000:3b:00): 13, Graphics SM Warp Exception on (GPC 0, TPC 1)", "xid.13", "gpu at 0000:3b:00"),
        ("NVRM: Xid (PCI:0000:3b:00): 777, something that nobody knows", "xid.other", "gpu at 0000:3b:00"),
        (
            "NVRM: Xid (PCI:0000:3b:00): 145, RLW_REMAP Nonfatal XC0 i0 Link 03 (0x00000004)",
            "xid.144-150",
            "gpu at 0000:3b:00",
        ),
        (
            "NVRM: The NVIDIA GPU 0000:3b:00.0 has fallen off the bus and is not responding",
            "km.offbus",
            "gpu at 0000:3b:00.0",
        ),
        ("NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.", "km.offbus", "gpu at 0000:3b:00.0"),
        ("nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 20034, Fatal, Link 30 LTSSM Fault Up", "sxid.fatal", "switch3"),
        ("nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 22003, Fatal, Link 30 x", "sxid.fabric", "switch3"),
        ("nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 22013, Non-fatal, Link 30 x", "sxid.nonfatal", "switch3"),
        ("oom-kill:constraint=x Killed process 123 (tritonserver) total-vm:1", "km.oom", "host"),
        ("INFO: task tritonserver:88 blocked for more than 120 seconds.", "km.hung_task", "host"),
        ("EXT4-fs error (device nvme0n1p1): ext4_find_entry:1455: inode #2", "km.filesystem", "nvme0n1p1"),
        ("XFS (sdb): Corruption of in-memory data detected. Shutting down filesystem", "km.filesystem", "sdb"),
        ("Buffer I/O error on dev sdb, logical block 0, async page read", "km.buffer", "sdb"),
        ("blk_update_request: I/O error, dev sdb, sector 0 op 0x0", "km.buffer", "sdb"),
        ("nvme nvme0: I/O 12 QID 3 timeout, reset controller", "km.nvme", "nvme0"),
        ("md/raid0:md0: Disk failure on nvme1n1, disabling device.", "km.raid", "nvme1n1"),
        ("nfs: server 192.0.2.5 not responding, still trying", "km.nfs", "host"),
        ("python[77]: segfault at 10 ip 00007f error 4 in libnccl.so.2.20.5[7f+1]", "km.nccl", "host"),
    ],
)
def test_it_is_seen_for_what_it_is(text: str, code: str, entity: str) -> None:
    assert see(text) == [(code, entity)]


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.86.15",
        "nvidia-nvswitch: Probing device 0000:86:00.0",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "XFS (sdb): Mounting V5 Filesystem",
        "nvme nvme0: 15/0/0 default/read/poll queues",
        "usb 1-1: new high-speed USB device",
        "",
    ],
)
def test_what_a_healthy_machine_says_is_nothing(text: str) -> None:
    assert see(text) == []


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", Measure.RESET),
        ("154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", Measure.REBOOT),
        ("154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)", Measure.RESET),
        ("154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", Measure.NONE),
        ("154, GPU recovery action changed from 0x0 (None) to 0x9 (Something New)", Measure.ALERT),
        ("147, NETIR_LINK_EVT Fatal XC0 i0 Link 02 (0x4)", Measure.RESET),
        ("147, NETIR_LINK_EVT Nonfatal XC0 i0 Link 02 (0x4)", None),
    ],
)
def test_the_drivers_own_verdict_goes_first(text: str, measure: Measure | None) -> None:
    [sight] = look_at(Record(1, 3, 1.0, f"NVRM: Xid (PCI:0000:3b:00): {text}"), RULES, lambda pci: "gpu0")
    assert (sight.measure, sight.verdict) == (measure, Verdict.BAD)
