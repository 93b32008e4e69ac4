"""The kernel's files, as the probe printed them, parsed: PCI devices, RDMA ports, interfaces. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Interface, IPv6Address

from dsops.core.topology.model import Device, Gid, Interface, Port

PCI, RDMA, NET = "/sys/bus/pci/devices", "/sys/class/infiniband", "/sys/class/net"
NODES = "/sys/devices/system/node"
ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
INET = re.compile(r"^\d+: (\S+?)(?:@\S+)?\s+inet (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """path -> text of a file, or where a link leads. Several lines of one file keep their breaks."""

    texts: Mapping[str, str]

    def leaf(self, path: str) -> str:
        return self.texts.get(path, "")

    def number(self, path: str, default: int = 0) -> int:
        """A whole number, decimal; the default for anything else."""
        text = self.leaf(path)
        return int(text) if re.fullmatch(r"-?\d+", text) else default

    def names(self, folder: str) -> list[str]:
        """The children of a folder of which anything is known; numbers in their own order."""
        start = folder + "/"
        found = {path.removeprefix(start).partition("/")[0] for path in self.texts if path.startswith(start)}
        return sorted(found, key=lambda name: [int(one) if one.isdigit() else one for one in re.split(r"(\d+)", name)])


def read_tree(text: str) -> Tree:
    """Lines PATH<tab>TEXT; one that begins with no path goes on the one before; one without a text says nothing."""
    texts: dict[str, str] = {}
    path = ""
    for line in text.splitlines():
        if "\t" in line and line.startswith("/"):
            path, _, said = line.partition("\t")
            texts[path] = said.strip()
        elif path and not line.startswith("/"):
            texts[path] += "\n" + line.strip()
    return Tree(texts)


def read_devices(tree: Tree) -> dict[str, Device]:
    """address -> every function that the probe told of: GPUs, network cards, and the bridges above them."""
    # By their text: the digits are hexadecimal, so that their order is not that of decimal numbers.
    return {address: _read_device(tree, address) for address in sorted(tree.names(PCI)) if ADDRESS.fullmatch(address)}


def _read_device(tree: Tree, address: str) -> Device:
    def leaf(name: str) -> str:
        return tree.leaf(f"{PCI}/{address}/{name}")

    parts = tree.leaf(f"{PCI}/{address}").split("/")
    return Device(
        address=address,
        root=next((part for part in parts if part.startswith("pci")), ""),
        bridges=tuple(part for part in parts[:-1] if ADDRESS.fullmatch(part)),
        kind=leaf("class"),
        vendor=leaf("vendor"),
        device=leaf("device"),
        subsystem_vendor=leaf("subsystem_vendor"),
        subsystem_device=leaf("subsystem_device"),
        node=tree.number(f"{PCI}/{address}/numa_node", -1),
        speed=leaf("max_link_speed"),
        width=tree.number(f"{PCI}/{address}/max_link_width"),
    )


def read_ports(tree: Tree, devices: Mapping[str, Device]) -> tuple[Port, ...]:
    """Every port of every RDMA device."""
    return tuple(
        _read_port(tree, devices, hca, number)
        for hca in tree.names(RDMA)
        for number in tree.names(f"{RDMA}/{hca}/ports")
        if number.isdigit()
    )


def _read_port(tree: Tree, devices: Mapping[str, Device], hca: str, number: str) -> Port:
    at = f"{RDMA}/{hca}/ports/{number}"
    rate = re.match(r"[\d.]+", tree.leaf(f"{at}/rate"))
    return Port(
        hca=hca,
        number=int(number),
        device=devices.get(find_address(tree.leaf(f"{RDMA}/{hca}/device"))),
        state=tree.leaf(f"{at}/state").partition(":")[2].strip(),
        layer=tree.leaf(f"{at}/link_layer"),
        rate=float(rate[0]) if rate else 0.0,
        guid=tree.leaf(f"{RDMA}/{hca}/node_guid"),
        gids=tuple(_read_gids(tree, at)),
        parent=tree.leaf(f"{RDMA}/{hca}/parent"),
    )


def _read_gids(tree: Tree, at: str) -> list[Gid]:
    found = []
    for index in tree.names(f"{at}/gids"):
        try:
            value = IPv6Address(tree.leaf(f"{at}/gids/{index}"))
        except AddressValueError:
            continue
        version = 2 if tree.leaf(f"{at}/gid_attrs/types/{index}") == "RoCE v2" else 1
        found.append(Gid(int(index), value, version, tree.leaf(f"{at}/gid_attrs/ndevs/{index}")))
    return [gid for gid in found if int(gid.value)]


def read_interfaces(tree: Tree, addresses: str) -> tuple[Interface, ...]:
    """All but the loopback. addresses: the lines of `ip -o addr`."""
    held: dict[str, list[IPv4Interface]] = {}
    for name, address in INET.findall(addresses):
        held.setdefault(name, []).append(IPv4Interface(address))
    return tuple(
        Interface(
            name=name,
            state=tree.leaf(f"{NET}/{name}/operstate"),
            speed=max(0, tree.number(f"{NET}/{name}/speed")),
            device=find_address(tree.leaf(f"{NET}/{name}/device")),
            master=tree.leaf(f"{NET}/{name}/master").rpartition("/")[2],
            slaves=tuple(tree.leaf(f"{NET}/{name}/bonding/slaves").split()),
            addresses=tuple(held.get(name, ())),
        )
        for name in tree.names(NET)
        if name != "lo"
    )


def read_cpumaps(tree: Tree) -> dict[int, str]:
    """NUMA node -> its processors as the kernel's mask."""
    found = {name: tree.leaf(f"{NODES}/{name}/cpumap") for name in tree.names(NODES)}
    return {int(name.removeprefix("node")): mask for name, mask in found.items() if mask}


def find_address(path: str) -> str:
    """The last PCI address of a path: a virtio card's interface hangs below its function. "" when there is none."""
    return next((part for part in reversed(path.split("/")) if ADDRESS.fullmatch(part)), "")
