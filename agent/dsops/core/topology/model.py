"""A server's topology as typed facts: cards and bridges on PCI, GPUs, RDMA ports, interfaces. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

INFINIBAND, ETHERNET = "InfiniBand", "Ethernet"
UP = "ACTIVE"


class Level(IntEnum):
    """What lies between a GPU and a card, the nearest first; the words are those of `nvidia-smi topo -m`."""

    PIX = 1  # one PCIe switch
    PXB = 2  # several PCIe switches, no processor
    PHB = 3  # a processor's host bridge
    NODE = 4  # two host bridges of one NUMA node
    SYS = 5  # the link between processors

    @property
    def is_near(self) -> bool:
        """Whether the card reaches the GPU's memory without a processor: NCCL's own limit for GPUDirect RDMA."""
        return self <= Level.PXB


@dataclass(frozen=True)
class Device:
    """One function on PCI. kind: class such as 0x020700. node: NUMA node, -1 when the BIOS does not say.

    root: its host bridge such as `pci0000:15`. bridges: those above it, the nearest last. width in lanes.
    """

    address: str
    root: str
    bridges: tuple[str, ...]
    kind: str = ""
    vendor: str = ""
    device: str = ""
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    node: int = -1
    speed: str = ""
    width: int = 0

    @property
    def card(self) -> str:
        """Its address without the function: the ports of one card share it."""
        return self.address.rpartition(".")[0]


@dataclass(frozen=True)
class Gpu:
    """index: the driver's, which CUDA counts by; by PCI address where no driver was asked. sm: such as 9.0."""

    index: int
    device: Device
    uuid: str = ""
    name: str = ""
    sm: str = ""

    @property
    def label(self) -> str:
        return f"GPU{self.index}"


@dataclass(frozen=True)
class Gid:
    """One address of an RDMA port. version: of RoCE, 1 or 2 (1 on InfiniBand). netdev: the interface it belongs to."""

    index: int
    value: IPv6Address
    version: int = 1
    netdev: str = ""

    @property
    def address(self) -> IPv4Address | None:
        return self.value.ipv4_mapped

    @property
    def prefix(self) -> str:
        """The subnet on InfiniBand: the upper half."""
        return self.value.exploded[:19]


@dataclass(frozen=True)
class Port:
    """One port of an RDMA device. device: None for soft-RoCE, whose `parent` is an interface. rate: Gbit/s."""

    hca: str
    number: int
    device: Device | None
    state: str = ""
    layer: str = ""
    rate: float = 0.0
    guid: str = ""
    gids: tuple[Gid, ...] = ()
    parent: str = ""

    @property
    def name(self) -> str:
        """As NCCL and UCX write it."""
        return f"{self.hca}:{self.number}"

    @property
    def is_up(self) -> bool:
        return self.state == UP

    @property
    def netdevs(self) -> frozenset[str]:
        return frozenset({gid.netdev for gid in self.gids} | {self.parent}) - {""}


@dataclass(frozen=True)
class Interface:
    """One network interface. speed in Mbit/s, 0 when unknown. device: its PCI address, "" for what is no card."""

    name: str
    state: str = ""
    speed: int = 0
    device: str = ""
    master: str = ""
    slaves: tuple[str, ...] = ()
    addresses: tuple[IPv4Interface, ...] = ()


@dataclass(frozen=True)
class Cpu:
    """The processors, as NCCL's file wants them: arch such as x86_64; family and model as /proc/cpuinfo counts."""

    arch: str = ""
    vendor: str = ""
    family: str = ""
    model: str = ""


@dataclass(frozen=True)
class Software:
    """What GPUDirect depends on. kernel: its release. driver: first line of the NVIDIA driver's version file.

    has_peer_memory: the kernel has what nvidia-peermem registers with. has_ofed: NVIDIA's own network drivers.
    """

    kernel: str = ""
    driver: str = ""
    has_peer_memory: bool = False
    has_ofed: bool = False


@dataclass(frozen=True)
class Topology:
    """One server. printed: (GPU's index, card) -> what the driver prints of them; empty without a driver."""

    node: str
    gpus: tuple[Gpu, ...] = ()
    ports: tuple[Port, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    devices: Mapping[str, Device] = field(default_factory=dict)
    cpu: Cpu = field(default_factory=Cpu)
    cpumaps: Mapping[int, str] = field(default_factory=dict)
    route: str = ""
    software: Software = field(default_factory=Software)
    printed: Mapping[tuple[int, str], str] = field(default_factory=dict)

    def find_interface(self, name: str) -> Interface | None:
        return next((one for one in self.interfaces if one.name == name), None)


@dataclass(frozen=True)
class Problem:
    """Why a map is refused: what, where and how to mend it."""

    where: str
    what: str
    mend: str
