"""The guests' two cables: one to the lab's bridge, one to a rail of their own."""

from pathlib import Path

from dsops.lab.place import Lab, Server
from dsops.lab.run import run


def front(lab: Lab, guest: Server) -> str:
    """The tap device of the guest's management network; at most 15 characters, as the kernel wants."""
    return f"{lab.bridge}t{guest.number}"


def rail(lab: Lab, guest: Server) -> str:
    return f"{lab.bridge}u{guest.number}"


def front_mac(lab: Lab, guest: Server) -> str:
    return "02:" + ":".join(f"{byte:02x}" for byte in (0x64, *lab.address(guest).packed))


def rail_mac(lab: Lab, guest: Server) -> str:
    return "02:" + ":".join(f"{byte:02x}" for byte in (0x65, *lab.rail_address(guest).packed))


def ensure_rail(lab: Lab) -> bool:
    """The bridge between the guests. It has no address: this machine is not on it."""
    if _exists(lab.rail_bridge):
        return False
    run(["ip", "link", "add", lab.rail_bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{lab.rail_bridge}/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1")
    run(["ip", "link", "set", lab.rail_bridge, "up"])
    return True


def ensure_taps(lab: Lab, guest: Server) -> None:
    for name, bridge in ((front(lab, guest), lab.bridge), (rail(lab, guest), lab.rail_bridge)):
        if not _exists(name):
            run(["ip", "tuntap", "add", "dev", name, "mode", "tap"])
        run(["ip", "link", "set", name, "master", bridge, "up"])


def remove(lab: Lab, guest: Server) -> None:
    for name in (front(lab, guest), rail(lab, guest)):
        if _exists(name):
            run(["ip", "link", "delete", name], check=False)


def remove_rail(lab: Lab) -> int:
    """Taps and bridge; how many there were."""
    found = find(lab)
    for name in found:
        run(["ip", "link", "delete", name], check=False)
    return len(found)


def find(lab: Lab) -> list[str]:
    """The links of all guests that are there, the rail last."""
    taps = [name for guest in lab.guests for name in (front(lab, guest), rail(lab, guest))]
    return [name for name in (*taps, lab.rail_bridge) if _exists(name)]


def _exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()
