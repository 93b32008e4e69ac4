"""The PCI tree of GPUs and cards as NCCL's topology file (XML, version 1). Pure.

NCCL reads it before it looks by itself, and fills in what is not there (`gpu`, `nic`, NVLinks): so the tree alone is
written. As NCCL does it, a switch is one `pci` element (of its two bridges the one above counts) and what hangs
on a processor's own port stands right below `cpu`. Source: NVIDIA/nccl src/graph/xml.cc, NCCL_TOPO_XML_VERSION 1.
Needed only where the tree is hidden from NCCL, in a guest or a container; else it is for reading and comparing.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from dsops.core.topology.model import Device, Topology
from dsops.core.topology.pair import Pair


def render_topology(seen: Topology, pairs: Iterable[Pair]) -> str:
    """Of the GPUs and the ports that they use; without either an empty system."""
    used = {gpu.device.address: gpu.device for gpu in seen.gpus}
    used |= {port.device.address: port.device for pair in pairs for port in pair.ports if port.device}
    system = ET.Element("system", version="1")
    places: dict[str, ET.Element] = {}
    for device in sorted(used.values(), key=lambda one: (one.node, one.address)):
        parent = _find_cpu(system, places, seen, device.node)
        for address in find_switches(device):
            bridge = seen.devices.get(address)
            parent = _find_child(parent, places, address, bridge)
        _find_child(parent, places, device.address, device)
    ET.indent(system)
    return ET.tostring(system, encoding="unicode") + "\n"


def find_switches(device: Device) -> tuple[str, ...]:
    """Of the bridges above it those that NCCL keeps: every second one, from the device up; the topmost first."""
    return device.bridges[::-1][1::2][::-1]


def _find_cpu(system: ET.Element, places: dict[str, ET.Element], seen: Topology, node: int) -> ET.Element:
    key = f"cpu{node}"
    if key not in places:
        said = {"numaid": str(node), "affinity": seen.cpumaps.get(node, ""), "arch": seen.cpu.arch}
        said |= {"vendor": seen.cpu.vendor, "familyid": seen.cpu.family, "modelid": seen.cpu.model}
        places[key] = ET.SubElement(system, "cpu", {name: text for name, text in said.items() if text})
    return places[key]


def _find_child(parent: ET.Element, places: dict[str, ET.Element], address: str, device: Device | None) -> ET.Element:
    if address not in places:
        places[address] = ET.SubElement(parent, "pci", {"busid": address, **_tell(device)})
    return places[address]


def _tell(device: Device | None) -> dict[str, str]:
    if device is None:
        return {"class": "0x060400", "link_speed": "", "link_width": "0"}
    speed = device.speed if re.match(r"\d", device.speed) else ""
    said = {"vendor": device.vendor, "device": device.device}
    said |= {"subsystem_vendor": device.subsystem_vendor, "subsystem_device": device.subsystem_device}
    return {
        "class": device.kind,
        **{key: text for key, text in said.items() if text},
        "link_speed": speed,
        "link_width": str(device.width),
    }
