"""Reads what PCIe itself counts as errors, of the cards that serving needs."""

import re
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, is_there, list_names, read_text

# GPUs, NVSwitches, network cards, NVMe disks: the first digits of PCI's classes.
CLASSES = ("0x0300", "0x0302", "0x0680", "0x0200", "0x0207", "0x0108")
KINDS = ("fatal", "nonfatal", "correctable")
_TOTAL = re.compile(r"^TOTAL_ERR_\w+ (\d+)$", re.MULTILINE)


def count_pci(root: Path) -> dict[str, int | Unread]:
    """Counters such as `pci/0000:3b:00.0/fatal`; none for a card whose path does not report errors."""
    folder = root / "sys/bus/pci/devices"
    names = attempt(lambda: list_names(folder))
    if isinstance(names, Unread):
        return {"pci/bus/fatal": names}
    found = {f"pci/{name}/{kind}": _read_total(folder / name, kind) for name in names for kind in KINDS}
    return {key: value for key, value in found.items() if value is not None}


def _read_total(device: Path, kind: str) -> int | Unread | None:
    path = device / f"aer_dev_{kind}"
    if not is_there(path) or not str(attempt((device / "class").read_text)).startswith(CLASSES):
        return None
    text = read_text(path)
    if isinstance(text, Unread):
        return None if text.is_missing else text
    found = _TOTAL.search(text)
    return int(found[1]) if found else Unread(f"{path}: no line of TOTAL_ERR")
