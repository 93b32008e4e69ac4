"""A recording, part by part, becomes a topology. Pure."""

from collections.abc import Mapping

from dsops.core.errors import DsopsError
from dsops.core.topology.model import Cpu, Device, Gpu, Software, Topology
from dsops.core.topology.smi import Listed, read_listed, read_matrix
from dsops.core.topology.sysfs import read_cpumaps, read_devices, read_interfaces, read_ports, read_tree

GPUS = ("0x0300", "0x0302")
NVIDIA = "0x10de"


def read_topology(parts: Mapping[str, str], *, node: str) -> Topology:
    """parts: see probe.PARTS; only `sys` must be there. Raises DsopsError on what cannot be read."""
    if not parts.get("sys", "").strip():
        mend = "record it anew: `dsops network plan NODE --record FOLDER`"
        raise DsopsError("has no part `sys`, the kernel's files", where=node, mend=mend)
    tree = read_tree(parts["sys"])
    devices = read_devices(tree)
    return Topology(
        node=node,
        gpus=read_gpus(devices, read_listed(parts.get("gpus", ""), where=node), where=node),
        ports=read_ports(tree, devices),
        interfaces=read_interfaces(tree, parts.get("addresses", "")),
        devices=devices,
        cpu=read_cpu(parts.get("cpu", "")),
        cpumaps=read_cpumaps(tree),
        route=parts.get("route", "").partition("\n")[0].strip(),
        software=read_software(parts.get("kernel", "")),
        printed=read_matrix(parts.get("topo", "")),
    )


def read_gpus(devices: Mapping[str, Device], listed: tuple[Listed, ...], *, where: str) -> tuple[Gpu, ...]:
    """In the driver's order; in PCI's where no driver was asked. Raises DsopsError when the two do not agree."""
    on_pci = [one for one in devices.values() if one.kind.startswith(GPUS) and one.vendor == NVIDIA]
    if not listed:
        return tuple(Gpu(index, device) for index, device in enumerate(on_pci))
    known = {device.address: device for device in on_pci}
    strangers = [one.address for one in listed if one.address not in known]
    lost = sorted(known.keys() - {one.address for one in listed})
    if strangers or lost:
        only = [f"{one} only the driver has" for one in strangers] + [f"{one} only PCI has" for one in lost]
        mend = "a card fell off the bus, or the parts are of two servers; `nvidia-smi`, `lspci -d 10de:`, record anew"
        raise DsopsError(f"driver and PCI do not have the same GPUs: {', '.join(only)}", where=where, mend=mend)
    return tuple(Gpu(one.index, known[one.address], one.uuid, one.name, one.sm) for one in listed)


def read_cpu(text: str) -> Cpu:
    """First the architecture, then /proc/cpuinfo's lines of one processor."""
    arch, _, rest = text.partition("\n")
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in rest.splitlines())}
    return Cpu(arch.strip(), said.get("vendor_id", ""), said.get("cpu family", ""), said.get("model", ""))


def read_software(text: str) -> Software:
    """First the kernel's release, then the driver's line, then words."""
    lines = [line.strip() for line in text.splitlines()]
    return Software(
        kernel=lines[0] if lines else "",
        driver=next((line for line in lines if line.startswith("NVRM")), ""),
        has_peer_memory="peer-memory" in lines,
        has_ofed="ofed" in lines,
    )
