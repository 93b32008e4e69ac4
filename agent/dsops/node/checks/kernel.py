"""The kernel's log: the GPUs' Xids, the switches' SXids, and what else it says of hardware, disks and memory."""

import re
from collections.abc import Callable, Iterator
from functools import cache

from dsops.core.checks import Sight
from dsops.core.status import Measure, Verdict
from dsops.node.checks.rules import Pattern, Rules
from dsops.node.sources.kernel_log import Record

XID = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)\)[^:]*:\s*(?P<number>\d+),?\s*(?P<says>.*)")
SXID = re.compile(
    r"nvidia-nvswitch(?P<switch>\d+): SXid \((?:PCI:)?[^)]*\): (?P<number>\d+), (?P<kind>Fatal|Non-fatal), (?P<says>.*)"
)
# The driver's own verdict, as Xid 154 tells it: the last parenthesis.
VERDICTS = {
    "gpu reset required": Measure.RESET,
    "drain and reset": Measure.RESET,
    "drain p2p": Measure.ALERT,
    "node reboot required": Measure.REBOOT,
    "none": Measure.NONE,
}
FATAL_LINK = re.compile(r"\bFatal\b")
NVLINK5 = range(144, 151)
WORDS = ("NVRM", "nvidia-nvswitch")

Locate = Callable[[str], str]


def get_hints(rules: Rules) -> Callable[[bytes], object]:
    """Whether a line is worth a closer look: quick, since a kernel can write thousands in a second."""
    words = (*WORDS, *(pattern.hint for pattern in rules.patterns))
    return re.compile("|".join(words).encode()).search


def look_at(record: Record, rules: Rules, locate: Locate) -> Iterator[Sight]:
    """What one line says; nothing mostly. locate: the GPU's name of a PCI address."""
    if found := XID.search(record.text):
        yield _see_xid(record, found, rules, locate)
    elif found := SXID.search(record.text):
        yield _see_sxid(record, found, rules)
    else:
        yield from _see_pattern(record, rules, locate)


def _see_xid(record: Record, found: re.Match[str], rules: Rules, locate: Locate) -> Sight:
    number, says = int(found["number"]), found["says"].strip()
    reason = f"Xid {number}: {says}" if says else f"Xid {number}"
    return Sight(
        rules.find_code("xid", number),
        locate(found["pci"]),
        Verdict.BAD,
        sample=str(record.seq),
        reason=reason,
        value=float(number),
        measure=_find_verdict(number, says),
    )


def _find_verdict(number: int, says: str) -> Measure | None:
    """What the line itself asks for; None: the table knows."""
    if number == 154:
        last = re.findall(r"\(([^()]*)\)", says)
        return VERDICTS.get(last[-1].strip().lower(), Measure.ALERT) if last else Measure.ALERT
    return Measure.RESET if number in NVLINK5 and FATAL_LINK.search(says) else None


def _see_sxid(record: Record, found: re.Match[str], rules: Rules) -> Sight:
    number, is_fatal = int(found["number"]), found["kind"] == "Fatal"
    code = rules.numbers.get(("sxid", number), "sxid.fatal" if is_fatal else "sxid.nonfatal")
    if not is_fatal:
        code = "sxid.nonfatal"
    reason = f"SXid {number}, {found['kind']}: {found['says'].strip()}"
    entity = f"switch{found['switch']}"
    return Sight(code, entity, Verdict.BAD, sample=str(record.seq), reason=reason, value=float(number))


def _see_pattern(record: Record, rules: Rules, locate: Locate) -> Iterator[Sight]:
    for pattern in rules.patterns:
        if found := _compile(pattern.pattern).search(record.text):
            entity = _find_entity(pattern, found, locate)
            yield Sight(pattern.code, entity, Verdict.BAD, sample=str(record.seq), reason=record.text[:200])
            return


def _find_entity(pattern: Pattern, found: re.Match[str], locate: Locate) -> str:
    """A group of the pattern's name, or of it with a 2 behind, where two forms of the line name it; else its word."""
    groups = found.groupdict()
    if pattern.entity not in groups:
        return pattern.entity
    name = groups[pattern.entity] or groups.get(f"{pattern.entity}2")
    if not name:
        return pattern.entity
    return locate(name) if pattern.entity == "pci" else name


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
