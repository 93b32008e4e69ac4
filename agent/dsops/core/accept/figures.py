"""Every figure and every look at right results of an acceptance: what it is, and what to do when it fails. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SWAP = "put the GPU into another server: if it fails there too, return it to its vendor with this page"
COOL = "look at fans, dust, the air flow and the other servers of the rack"
SEAT = "reseat the card or its riser; look at the slot's settings in the BIOS"
RMA = "return the GPU to its vendor; keep this page"


class Sense(StrEnum):
    """Whether more is better, or less, or whether it is only told."""

    LEAST = "least"
    MOST = "most"
    TOLD = "told"


class Scope(StrEnum):
    """Of what it is said: each GPU, each pair of them, all of them together, or the node."""

    GPU = "gpu"
    PAIR = "pair"
    GPUS = "gpus"
    NODE = "node"


@dataclass(frozen=True)
class About:
    """One figure. bound: for every GPU, where the catalog has none. by_fleet: whether the fleet's median counts.

    is_look: no number, but a look whether results are right. is_load: it takes the GPU's whole work for a while.
    """

    name: str
    title: str
    unit: str
    sense: Sense
    mend: str
    scope: Scope = Scope.GPU
    bound: float | None = None
    by_fleet: bool = False
    is_look: bool = False
    is_load: bool = False


def _look(name: str, title: str, mend: str, scope: Scope = Scope.GPU) -> About:
    return About(name, title, "", Sense.TOLD, mend, scope, is_look=True, is_load=True)


def _rate(name: str, title: str, unit: str, mend: str, scope: Scope = Scope.GPU) -> About:
    return About(name, title, unit, Sense.LEAST, mend, scope, by_fleet=True, is_load=True)


def _none(name: str, title: str, unit: str, mend: str, *, is_load: bool = False) -> About:
    return About(name, title, unit, Sense.MOST, mend, bound=0, is_load=is_load)


ALL = (
    _look("memory", "memory keeps what is written", RMA),
    _look("copy", "copies are the same", RMA),
    _look("triad", "sums of vectors are right", RMA),
    _look("host", "bytes to and from the host arrive", SEAT),
    _look("product", "products in bf16 are right", RMA),
    _look("repeat", "products repeat to the bit", RMA),
    _look("fp8", "products in fp8 are right", RMA),
    _look("peer", "bytes from other GPUs arrive", "look at the NVLink bridges or switches: `nvidia-smi nvlink -s`"),
    _look("all-reduce", "sums over all GPUs are right", "`nvidia-smi nvlink -s`; then each pair by itself", Scope.GPUS),
    _none("xids", "errors of the driver (Xid) meanwhile", "", "`dsops logs NODE`; `dmesg | grep Xid`"),
    _none("ecc_uncorrected", "memory errors meanwhile, not corrected", "", RMA),
    _none("ecc_corrected", "memory errors meanwhile, corrected", "", SWAP),
    About("ecc_on", "error correction is on", "", Sense.LEAST, "`nvidia-smi -e 1`, then reboot", bound=1),
    _none("remap_pending", "rows wait to be remapped", "", "reset the GPU or reboot: `nvidia-smi -r`"),
    _none("remap_failed", "rows could not be remapped", "", RMA),
    _none(
        "slowdown",
        "slowed down by heat or power, of the time",
        "%",
        f"{COOL}; look at both power cables",
        is_load=True,
    ),
    _rate("memory_write", "memory, write", "GB/s", SWAP),
    _rate("memory_read", "memory, read", "GB/s", SWAP),
    _rate("copy_rate", "copy on the GPU", "GB/s", SWAP),
    _rate("triad_rate", "sum of vectors (triad)", "GB/s", SWAP),
    _rate("product_rate", "products in bf16", "TFLOP/s", f"{COOL}; compare power and clock with a GPU that passes"),
    _rate("fp8_rate", "products in fp8", "TFLOP/s", f"{COOL}; compare power and clock with a GPU that passes"),
    _rate("host_to_device", "from the host", "GB/s", SEAT),
    _rate("device_to_host", "to the host", "GB/s", SEAT),
    _rate("peer_rate", "from another GPU", "GB/s", "`nvidia-smi topo -m`, `nvidia-smi nvlink -s`", Scope.PAIR),
    _rate("all_reduce", "sum over all GPUs (bus)", "GB/s", "`nvidia-smi nvlink -s`; `NCCL_DEBUG=INFO`", Scope.GPUS),
    About(
        "power_share",
        "power under load, of its limit",
        "%",
        Sense.LEAST,
        "look at the power limit (`nvidia-smi -q -d POWER`) and both power cables",
        bound=75,
        is_load=True,
    ),
    About("clock", "clock under load", "MHz", Sense.LEAST, COOL, by_fleet=True, is_load=True),
    About("temperature", "hottest under load", "°C", Sense.MOST, COOL, bound=87, is_load=True),
    About("pcie_generation", "PCIe generation under load", "", Sense.LEAST, SEAT, is_load=True),
    About("pcie_width", "PCIe lanes", "", Sense.LEAST, SEAT),
    About("nvlinks", "NVLinks that are up", "", Sense.LEAST, "`nvidia-smi nvlink -s`; reseat the board"),
    About(
        "gpu_count",
        "GPUs that answer",
        "",
        Sense.LEAST,
        "`nvidia-smi -L`; a cold reboot; then the slot",
        Scope.NODE,
    ),
    About(
        "storage_read",
        "read of the store's disk",
        "MB/s",
        Sense.LEAST,
        "`lsblk -o NAME,ROTA,MODEL`; `smartctl -a`: is the hot tier on the disk that it should be on?",
        Scope.NODE,
        by_fleet=True,
        bound=1000,
    ),
    About(
        "nic",
        "network link",
        "Mb/s",
        Sense.LEAST,
        "`ethtool IFACE`; the cable, the switch's port",
        Scope.NODE,
        by_fleet=True,
    ),
)
ABOUT: Mapping[str, About] = {f"look:{one.name}" if one.is_look else one.name: one for one in ALL}


def get_about(name: str, *, is_look: bool = False) -> About:
    """What a figure is; one of a newer dsops is only told."""
    key = f"look:{name}" if is_look else name
    return ABOUT.get(key, About(name, name, "", Sense.TOLD, "", is_look=is_look))
