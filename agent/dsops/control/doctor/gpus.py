"""GPUs as PCI shows them, with or without a driver: how many of which kind, their window, their link, their driver."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dsops.catalog.gpus import GpuKind, find_kind
from dsops.control.doctor.answer import Answer, to_int
from dsops.control.doctor.finding import Finding, count, ok, problem, skipped, unknown, warning

PCI = "/sys/bus/pci/devices"
DISPLAY, COMPUTE, BRIDGE = "0x0300", "0x0302", "0x0680"
MIB, GIB = 1 << 20, 1 << 30
# Registers have up to 32 MiB; the window on the card's memory is larger on every card of the catalog.
WINDOW = 33 * MIB
# All bits set: the card does not answer on PCI any more.
GONE = 63
# What the probe says of a driver that nothing on the server can ask.
UNASKED = "unasked"
# Drivers that take a card away from the server, for a guest of it.
FOR_GUESTS = ("vfio-pci", "pci-stub")
BIOS = "`Above 4G Decoding` on in the BIOS"


@dataclass(frozen=True)
class Gpu:
    """One card. device: PCI id, such as `2330`. node: -1 when the BIOS does not say. window: bytes. Widths in lanes.

    parents: the bridges above it, the nearest last. iommu: type of its group, empty without an IOMMU.
    """

    address: str
    device: str
    node: int = -1
    width: int = 0
    max_width: int = 0
    speed: str = ""
    max_speed: str = ""
    window: int = 0
    driver: str = ""
    iommu: str = ""
    parents: tuple[str, ...] = ()

    @property
    def kind(self) -> GpuKind | None:
        return find_kind(self.device)

    @property
    def name(self) -> str:
        return self.kind.name if self.kind else f"10de:{self.device}"


def read_gpus(answer: Answer) -> tuple[Gpu, ...]:
    """All GPUs of NVIDIA, in the order of their addresses."""
    classes = {address: answer.leaf(f"{PCI}/{address}/class") for address in answer.names(PCI)}
    return tuple(_read_gpu(answer, one) for one, kind in classes.items() if kind.startswith((DISPLAY, COMPUTE)))


def read_switches(answer: Answer) -> tuple[str, ...]:
    """Device ids of NVIDIA's bridges that are none of PCI: the NVLink switches."""
    listed = [one for one in answer.names(PCI) if answer.leaf(f"{PCI}/{one}/class").startswith(BRIDGE)]
    return tuple(answer.leaf(f"{PCI}/{one}/device").removeprefix("0x") for one in listed)


def _read_gpu(answer: Answer, address: str) -> Gpu:
    def leaf(name: str) -> str:
        return answer.leaf(f"{PCI}/{address}/{name}")

    return Gpu(
        address=address,
        device=leaf("device").removeprefix("0x"),
        node=to_int(leaf("numa_node"), -1),
        width=to_int(leaf("current_link_width")),
        max_width=to_int(leaf("max_link_width")),
        speed=leaf("current_link_speed").removesuffix(" PCIe"),
        max_speed=leaf("max_link_speed").removesuffix(" PCIe"),
        window=find_window(leaf("resource")),
        driver=leaf("driver").rpartition("/")[2],
        iommu=leaf("iommu_group/type"),
        parents=find_parents(answer.leaf(f"{PCI}/{address}")),
    )


def find_window(resource: str) -> int:
    """Bytes of the largest region that has an address; 0 when none has. resource: the kernel's file of that name."""
    sizes = [0]
    for line in resource.splitlines():
        start, end, *_ = (int(word, 16) for word in line.split())
        sizes += [end - start + 1] if start else []
    return max(sizes)


def find_parents(link: str) -> tuple[str, ...]:
    """`../../../devices/pci0000:15/0000:15:01.0/0000:16:00.0` -> the bridges, without the device itself."""
    return tuple(part for part in link.split("/")[:-1] if part.count(":") == 2)


def count_names(gpus: Sequence[Gpu]) -> str:
    """`8 x H100 SXM5 80GB`."""
    return ", ".join(f"{number} x {name}" for name, number in Counter(gpu.name for gpu in gpus).items())


def judge_count(where: str, gpus: Sequence[Gpu], *, by_driver: str, wanted: object) -> list[Finding]:
    """As many as the inventory promises: by the driver where there is one, else on PCI.

    by_driver: a number, what the driver said instead, `unasked`, or empty without a driver. wanted: `agent_gpus`.
    """
    if by_driver == UNASKED and not gpus:
        return [unknown("gpus", where, "its driver could not be asked: it has neither python3 nor nvidia-smi yet")]
    by_driver = by_driver.replace(UNASKED, "")
    driver = f"{by_driver} by the driver" if by_driver else "no driver"
    seen = f"{driver}, {count_names(gpus) or 'none'} on PCI"
    if by_driver and not by_driver.isdigit():
        return [
            problem("gpus", where, f"the NVIDIA driver is there and does not answer ({seen})", mend=_mend(by_driver))
        ]
    if not isinstance(wanted, int) or wanted < 0:
        return [skipped("gpus", where, f"agent_gpus is not given, so any number is right ({seen})")]
    found = int(by_driver) if by_driver else len(gpus)
    if found != wanted:
        mend = f"mend agent_gpus for {where}, or find the missing one (`lspci -d 10de:`, BMC)"
        return [problem("gpus", where, f"has {count(found, 'GPU')}, should have {wanted} ({seen})", mend=mend)]
    return [ok("gpus", where, f"{wanted} ({seen})")]


def _mend(by_driver: str) -> str:
    # NVML_ERROR_LIB_RM_VERSION_MISMATCH
    if by_driver == "error 18":
        return "the driver was changed under the loaded module: reboot it, or unload and load the module"
    return "look at `dmesg` there for NVRM; a reboot or another driver mends it"


def judge_kinds(where: str, gpus: Sequence[Gpu], *, wanted: Sequence[str]) -> list[Finding]:
    """One kind a server, unless the inventory names several (preflight_gpu_kinds)."""
    have = sorted({gpu.name for gpu in gpus})
    if not have:
        return []
    if wanted and sorted(wanted) != have:
        what = f"has {count_names(gpus)}, and preflight_gpu_kinds says {', '.join(wanted)}"
        return [problem("gpu kind", where, what, mend=f"mend preflight_gpu_kinds for {where}, or the server")]
    if len(have) > 1 and not wanted:
        mend = f"write preflight_gpu_kinds = {have} for {where}, if that is meant"
        return [warning("gpu kind", where, f"has several kinds of GPUs ({count_names(gpus)})", mend=mend)]
    unknown = [gpu.device for gpu in gpus if not gpu.kind]
    more = "; not in the catalog, so nobody knows what to expect of it" if unknown else ""
    return [ok("gpu kind", where, count_names(gpus) + more)]


def judge_cards(where: str, gpus: Sequence[Gpu]) -> list[Finding]:
    """Each card answers, has its window, and belongs to the server."""
    gone = [gpu.address for gpu in gpus if gpu.width == GONE]
    windowless = [gpu.address for gpu in gpus if gpu.window < WINDOW and gpu.width != GONE]
    away = [gpu.address for gpu in gpus if gpu.driver in FOR_GUESTS]
    found = []
    if gone:
        what = f"{_name(gone)} answers no more on PCI (fallen off the bus)"
        found.append(problem("gpu card", where, what, mend="reboot it; when it comes again, reseat or return the card"))
    if windowless:
        what = f"{_name(windowless)} got no window on its memory from the firmware: no driver can use it"
        found.append(problem("gpu card", where, what, mend=f"{BIOS}, and the newest BIOS"))
    if away:
        what = f"{_name(away)} is bound to {FOR_GUESTS[0]}, for a guest: this server cannot use it"
        mend = "take its id out of vfio-pci.ids on the kernel's command line and in /etc/modprobe.d, and reboot"
        found.append(problem("gpu card", where, what, mend=mend))
    return found or ([ok("gpu card", where, _windows(gpus))] if gpus else [])


def _windows(gpus: Sequence[Gpu]) -> str:
    sizes = sorted({gpu.window for gpu in gpus})
    return f"each answers; window on its memory: {' and '.join(render_size(size) for size in sizes)}"


def judge_links(where: str, gpus: Sequence[Gpu]) -> list[Finding]:
    """Lanes only: power saving lowers a link's speed while it is idle, and never its lanes."""
    linked = [gpu for gpu in gpus if 0 < gpu.width < GONE and gpu.max_width]
    narrow = [f"{gpu.address} x{gpu.width} of x{gpu.max_width}" for gpu in linked if gpu.width < gpu.max_width]
    if narrow:
        mend = "reseat the card and its riser; is its slot wired for all lanes, and not bifurcated in the BIOS?"
        return [warning("gpu link", where, f"fewer lanes than the card has: {', '.join(narrow)}", mend=mend)]
    shapes = Counter((gpu.max_width, gpu.max_speed, gpu.speed) for gpu in linked)
    said = [f"{number} at x{width}, {speed} of {most}" for (width, most, speed), number in shapes.items()]
    return [ok("gpu link", where, f"{', '.join(said)} (idle links are slower)")] if said else []


def judge_fabric(where: str, gpus: Sequence[Gpu], switches: Sequence[str], *, manager: str) -> list[Finding]:
    """On boards with NVLink switches CUDA starts only with the Fabric Manager. manager: state of its unit."""
    kinds = [gpu.kind for gpu in gpus if gpu.kind]
    if not switches and not (len(gpus) >= 8 and kinds and kinds[0].has_fabric):
        return []
    board = f"{len(switches)} x NVSwitch" if switches else "eight GPUs on one board"
    if manager == "active":
        return [ok("fabric", where, f"{board}; the Fabric Manager runs")]
    if not any(gpu.driver == "nvidia" for gpu in gpus):
        return [skipped("fabric", where, f"{board}: the Fabric Manager of the driver's version will be needed")]
    what = f"{board}, and the Fabric Manager does not run ({manager or 'not installed'}): CUDA will not start"
    mend = "install nvidia-fabricmanager in exactly the driver's version; `systemctl enable --now nvidia-fabricmanager`"
    return [warning("fabric", where, what, mend=mend)]


def _name(addresses: Sequence[str]) -> str:
    return f"GPU {', '.join(addresses)}"


def render_size(size: int) -> str:
    """`256 MiB`, `128 GiB`."""
    return f"{size // MIB} MiB" if size < GIB else f"{size // GIB} GiB"
