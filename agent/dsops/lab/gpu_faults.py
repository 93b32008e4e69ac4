"""Faults of simulated GPUs by name: what their files say then, what events are told, what the kernel's log says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import gpus
from dsops.lab.cards import find_absent, get_calls

Values = Mapping[str, gpus.Value]
# The driver's words behind the number, as far as they are the same each time; of others it says more or nothing.
XIDS = {
    13: "Graphics Exception: ESR 0x404490=0x80000001",
    31: "MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f_00000000",
    43: "Ch 00000008, Reset Channel Verification Error",
    45: "Ch 00000008",
    48: "An uncorrectable double bit error (DBE) has been detected on GPU",
    63: "Row Remapper: New row marked for remapping, reset gpu to activate.",
    64: "Row Remapper: Error recording row for remapping",
    74: "NVLink: fatal error detected on link 0(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)",
    79: "GPU has fallen off the bus.",
    92: "High single-bit ECC error rate",
    94: "Contained: SM (0x1). RST: No, D-RST: No",
    95: "Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No",
    119: "Timeout after 6s of waiting for RPC response from GPU0 GSP! Expected function 76 (GSP_RM_CONTROL)",
    154: "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
}
SECOND = 1e9  # of a violation, which counts nanoseconds


@dataclass(frozen=True)
class Change:
    """What a fault makes of one GPU, of the driver, and what is told about it."""

    gpu: Values = field(default_factory=dict)
    driver: Values = field(default_factory=dict)
    xids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Card:
    """One GPU, and the words behind the fault's name."""

    folder: Path
    index: int
    words: Sequence[str]

    def read(self, key: str) -> int:
        return gpus.read_number(self.folder, self.index, key)

    def get_number(self, otherwise: float, what: str, *, least: float = 0) -> float:
        """The first word."""
        return _number(self.words[0] if self.words else str(otherwise), what, least=least)

    def get_call(self) -> str:
        """The second word as ".FUNCTION", for that call alone; "" for all."""
        call = self.words[1] if self.words[1:] else ""
        if call and call not in get_calls():
            raise DsopsError(f"the library has no {call}", mend="a function such as nvmlDeviceGetPowerUsage")
        return f".{call}" if call else ""


@dataclass(frozen=True)
class GpuFault:
    """says: in the list of faults. words: what may stand behind its name."""

    says: str
    change: Change | Callable[[Card], Change]
    words: str = ""


def _number(word: str, what: str, *, least: float = 0) -> float:
    try:
        number = float(word)
    except ValueError:
        number = least - 1
    if number < least:
        raise DsopsError(f"{word!r} is no {what}", mend=f"a number from {least:g} on")
    return number


def _xid(card: Card) -> Change:
    return Change(xids=tuple(int(_number(word, "Xid", least=1)) for word in card.words))


def _ecc(card: Card) -> Change:
    more = int(card.get_number(1, "count of errors", least=1))
    return Change(gpu={"ecc_uncorrected": card.read("ecc_uncorrected") + more}, xids=(48,))


def _ecc_storm(card: Card) -> Change:
    rate = card.get_number(5000, "rate a second")
    return Change(gpu={"ecc_corrected": gpus.grow(card.read("ecc_corrected"), rate)}, xids=(92,))


def _throttle(card: Card, reasons: int, violation: str) -> dict[str, gpus.Value]:
    """Half the clock, and time that passes below the wanted one."""
    half = card.read("clock_sm_max") // 2
    found = gpus.read_gpu(card.folder, card.index)
    counted = violation if violation in found else "violation.thermal"  # an older card's only one
    return {
        "clock_sm": half,
        "clock_graphics": half,
        "clocks_event_reasons": hex(reasons),
        counted: gpus.grow(card.read(counted), SECOND),
    }


def _thermal(card: Card) -> Change:
    hot = {"temperature": card.read("temperature_slowdown") + 2}
    return Change(gpu={**_throttle(card, 0x48, "violation.hw_thermal"), **hot})


def _power_brake(card: Card) -> Change:
    return Change(gpu=_throttle(card, 0x88, "violation.power_brake"))


def _power_cap(card: Card) -> Change:
    return Change(gpu={**_throttle(card, 0x4, "violation.power"), "power": card.read("power_limit")})


def _link_down(card: Card) -> Change:
    link, there = int(card.get_number(0, "link")), card.read("nvlinks")
    if link >= there:
        raise DsopsError(f"GPU {card.index} has no link {link}", mend=f"it has {there} NVLinks")
    return Change(gpu={f"nvlink.{link}": 0}, xids=(74,))


def _link_errors(card: Card) -> Change:
    rate = card.get_number(10, "rate a second")
    if not card.read("nvlinks"):
        raise DsopsError(f"GPU {card.index} has no NVLinks", mend="`dsops lab fault NODE cards h100`")
    return Change(gpu={key: gpus.grow(0, rate) for key in ("nvlink.0.replay", "nvlink.0.crc_flit")})


def _count(card: Card) -> Change:
    there = len(list(card.folder.glob("gpu*.conf")))
    many = int(card.get_number(there - 1, "count of GPUs"))
    if many > there:
        raise DsopsError(f"there are {there} GPUs", mend="fewer; more of them: `dsops lab fault NODE cards`")
    return Change(driver={"count": many})


def _error(card: Card) -> Change:
    return Change(gpu={f"return{card.get_call()}": int(card.get_number(999, "code of NVML", least=1))})


def _slow(card: Card) -> Change:
    return Change(gpu={f"hang{card.get_call()}": f"{card.get_number(2, 'time in seconds'):g}"})


def _settings(card: Card) -> Change:
    if bad := [word for word in card.words if "=" not in word]:
        raise DsopsError(f"{bad[0]!r} is no KEY=VALUE", mend="for instance temperature=91")
    return Change(gpu=gpus.parse("\n".join(card.words)))


SRAM = Change(gpu={"ecc_uncorrected": 8, "ecc_uncorrected.sram": 8, "sram_threshold_exceeded": 1})
RECOVERY = Change(gpu={"recovery_action": 1, "reset_status": 1}, xids=(154,))
FAULTS: dict[str, GpuFault] = {
    "xid": GpuFault("these Xids, as events and in the kernel's log", _xid, "NUMBER..."),
    "ecc": GpuFault("uncorrectable memory errors, and Xid 48", _ecc, "[COUNT]"),
    "ecc-storm": GpuFault("corrected memory errors, more each second, and Xid 92", _ecc_storm, "[RATE]"),
    "sram": GpuFault("its SRAM is past the threshold", SRAM),
    "remap-pending": GpuFault(
        "a row waits for a reset to be remapped, and Xid 63",
        Change({"remap_uncorrected": 1, "remap_pending": 1}, xids=(63,)),
    ),
    "remap-failed": GpuFault("no spare row is left, and Xid 64", Change({"remap_failed": 1}, xids=(64,))),
    "recovery": GpuFault("the driver asks for a reset of it, and Xid 154", RECOVERY),
    "gpu-hang": GpuFault("no call about it ever returns", Change({"hang": -1})),
    "gpu-slow": GpuFault("calls about it take so long", _slow, "[SECONDS] [CALL]"),
    "gpu-lost": GpuFault("it is off the bus, without an Xid", Change({"return": 15})),
    "gpu-reset": GpuFault("calls say that it needs a reset", Change({"return": 16})),
    "gpu-error": GpuFault("calls about it return this code", _error, "[CODE] [CALL]"),
    "gpu-count": GpuFault("the driver lists fewer GPUs", _count, "[COUNT]"),
    "gpu-set": GpuFault("its file says this", _settings, "KEY=VALUE..."),
    "no-driver": GpuFault("the driver is not loaded", Change(driver={"return": 9})),
    "driver-mismatch": GpuFault("library and driver differ", Change(driver={"return.nvmlInit": 18})),
    "driver-hang": GpuFault("the driver answers nothing", Change(driver={"hang": -1})),
    "thermal": GpuFault("too hot: half the clock", _thermal),
    "power-brake": GpuFault("the server brakes it: half the clock", _power_brake),
    "power-cap": GpuFault("at its power limit: half the clock", _power_cap),
    "pcie-width": GpuFault("half its PCIe lanes are gone", Change({"pcie_width": 8})),
    "link-down": GpuFault("one NVLink is down, and Xid 74", _link_down, "[LINK]"),
    "link-errors": GpuFault("one NVLink counts errors", _link_errors, "[RATE]"),
    "fabric-down": GpuFault(
        "it is not on the fabric: its manager does not run", Change({"fabric_state": 1, "fabric_summary": 2})
    ),
    "inforom": GpuFault("its infoROM is corrupt", Change({"inforom_corrupt": 1})),
}


def apply(folder: Path, name: str, words: Sequence[str], *, gpu: int) -> str:
    """Do one fault to one GPU; what of it the node can see, in words."""
    gpus.check(folder)
    found, wanted = gpus.read_gpu(folder, gpu), FAULTS[name].change
    change = wanted if isinstance(wanted, Change) else wanted(Card(folder, gpu, words))
    if name != "gpu-set" and (absent := find_absent(change.gpu, found)):
        raise DsopsError(f"{found.get('name')} has no {', '.join(absent)}", mend="another fault, or other cards")
    if change.gpu:
        gpus.change(folder, gpu, change.gpu)
    if change.driver:
        gpus.change(folder, "driver", change.driver)
    for xid in change.xids:
        tell_xid(folder, gpu, xid)
    told = f"; told: Xid {', '.join(map(str, change.xids))}" if change.xids else ""
    return f"{'the driver' if change.driver else f'GPU {gpu}'}: {FAULTS[name].says}{told}"


def tell_xid(folder: Path, gpu: int, xid: int) -> None:
    """An event for who waits, and the driver's line."""
    gpus.raise_xid(folder, gpu, xid)
    gpus.log_line(folder, render_xid(gpus.get_pci(folder, gpu), xid))


def render_xid(pci: str, xid: int) -> str:
    """As the driver writes it. Source: NVIDIA's Xid documentation, and logs in public reports."""
    return f"NVRM: Xid (PCI:{pci}): {xid}, pid='<unknown>', name=<unknown>, {XIDS.get(xid, 'no more is known')}"
