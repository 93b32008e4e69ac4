"""How far a card is from a GPU, counted on the PCI tree as the kernel shows it. Pure."""

from dsops.core.topology.model import Device, Gpu, Level, Port


def find_level(gpu: Gpu, port: Port) -> Level:
    """A port without a card (soft-RoCE) is as far as can be: its data goes through the kernel."""
    return measure(gpu.device, port.device) if port.device else Level.SYS


def measure(one: Device, other: Device) -> Level:
    """What lies between two functions."""
    if one.root == other.root and (shared := _count_shared(one, other)):
        # A switch is a bridge up and a bridge down for each of its ports: one below the shared ones is the same switch.
        beyond = max(len(one.bridges), len(other.bridges)) - shared
        return Level.PIX if beyond <= 1 else Level.PXB
    if one.root == other.root and one.root:
        return Level.PHB
    return Level.NODE if one.node == other.node else Level.SYS


def _count_shared(one: Device, other: Device) -> int:
    count = 0
    for left, right in zip(one.bridges, other.bridges, strict=False):
        if left != right:
            break
        count += 1
    return count


def find_best(gpus: tuple[Gpu, ...], port: Port) -> Level:
    """How near a port is to the nearest GPU."""
    return min((find_level(gpu, port) for gpu in gpus), default=Level.SYS)
