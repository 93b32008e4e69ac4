"""Which driver set a server shall have: out of the bundle, and fit for its cards, system and engines."""

from pathlib import Path

from dsops.catalog.locksets import count_cards, read_rules
from dsops.core.decode import suggest
from dsops.core.drivers.fit import Cards, Finding, check_combination
from dsops.core.drivers.lockset import GPU_CLASSES, SWITCH_CLASSES, VENDOR, Carried, parse_carried
from dsops.core.errors import DsopsError
from pyinfra.api import FactBase


def read_carried(bundle: Path, name: str) -> Carried:
    """Raises DsopsError, naming what there is, when the bundle does not carry it."""
    file = bundle / "drivers" / name / "set.json"
    if not file.is_file():
        known = sorted(path.parent.name for path in bundle.glob("drivers/*/set.json"))
        mend = f"dsops bundle build --lockset {name}" if not known else suggest(name, known)
        raise DsopsError(f"the bundle carries no driver set {name!r}", where="driver_lockset", mend=mend)
    return parse_carried(file.read_text(), where=str(file))


class CardsFact(FactBase[Cards]):
    """NVIDIA's GPUs and NVLink switches on PCI, also where no driver is."""

    default = Cards

    def command(self) -> str:
        look = f'[ "$(cat $d/vendor 2>/dev/null)" != {VENDOR} ] || echo "$(cat $d/class) $(cat $d/device)"'
        return f"for d in /sys/bus/pci/devices/*; do {look}; done; true"

    def process(self, output: list[str]) -> Cards:
        rows = [line.split() for line in output if len(line.split()) == 2]
        ids = [id.removeprefix("0x") for kind, id in rows if kind.startswith(GPU_CLASSES)]
        return count_cards(ids, switches=sum(1 for kind, _ in rows if kind.startswith(SWITCH_CLASSES)))


def find_problems(carried: Carried, *, system: str, cards: Cards, engines: tuple[str, ...]) -> tuple[Finding, ...]:
    """What cannot work, and what nobody knows."""
    return check_combination(carried.lockset, read_rules(), system=system, cards=cards, engines=engines)


def render_refusal(findings: tuple[Finding, ...]) -> str:
    """Of those that refuse; empty when none does."""
    lines = [f"{one.says}\n    mend: {one.mend}" for one in findings if one.refuses]
    return "\n  ".join(lines)
