"""By which interface the servers find each other: NCCL's bootstrap and TCP go there. Pure."""

from ipaddress import IPv4Address

from dsops.core.topology.asked import Asked
from dsops.core.topology.model import Interface, Problem, Topology

# What containers and guests bring along.
VIRTUAL = ("docker", "virbr", "veth", "cni", "podman", "br-")


def find_front(seen: Topology, asked: Asked) -> tuple[str, str] | Problem:
    """(interface, why): the one with the inventory's address, else the default route's, else the only one."""
    held = [one for one in seen.interfaces if one.addresses and not one.name.startswith(VIRTUAL)]
    for address in (asked.address, asked.reached):
        named = [one for one in held if any(str(own.ip) == address for own in one.addresses)]
        if named:
            return named[0].name, f"has {address}, at which the other servers reach this one"
    if _is_address(asked.address) and held:
        mend = "mend dsops_address: it must be one of the server's own"
        return Problem(seen.node, f"no interface has {asked.address} ({_list(held)})", mend)
    # A small system has no `ip` to tell addresses with; the kernel's route is enough then.
    if seen.route and (not held or any(one.name == seen.route for one in held)):
        return seen.route, "the default route goes through it"
    if len(held) == 1:
        return held[0].name, "the only one with an address"
    mend = "give dsops_address: the address at which the other servers reach this one"
    what = f"nothing says by which interface servers find each other: {_list(held)}"
    return Problem(seen.node, what if held else "has no interface with an IPv4 address", mend)


def _is_address(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except ValueError:
        return False  # a name: the server itself cannot say whether it is its own


def _list(held: list[Interface]) -> str:
    return ", ".join(f"{one.name} {one.addresses[0].ip}" for one in held)
