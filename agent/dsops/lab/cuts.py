"""Cuts in the lab's network: a server without its cable, and servers that cannot reach each other."""

from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.metal import links
from dsops.lab.place import Lab, Server
from dsops.lab.run import run, succeeds


def find_port(lab: Lab, one: Server) -> str:
    """The end of its cable on this machine."""
    return links.front(lab, one) if one.is_metal else f"vb-{lab.machine(one)}"


def pull_cable(lab: Lab, one: Server) -> None:
    run(["ip", "link", "set", find_port(lab, one), "down"], where=one.name)


def plug_cable(lab: Lab, one: Server) -> bool:
    """Whether it was out."""
    port = find_port(lab, one)
    flags = Path("/sys/class/net", port, "flags")
    if not flags.exists() or int(flags.read_text(), 0) & 1:  # IFF_UP
        return False
    run(["ip", "link", "set", port, "up"], where=one.name)
    return True


def table(lab: Lab, one: Server) -> str:
    return f"dsops_lab_{lab.bridge}_cut_{one.name}"


def render_cut(lab: Lab, one: Server, others: list[Server]) -> str:
    """nftables, on the bridge itself: this machine and its operator still reach all of them."""
    name, mine, mine6 = table(lab, one), lab.address(one), lab.address6(one)
    theirs = ", ".join(str(lab.address(other)) for other in others)
    theirs6 = ", ".join(str(lab.address6(other)) for other in others)
    return f"""table bridge {name}
delete table bridge {name}
table bridge {name} {{
  chain forward {{
    type filter hook forward priority -300; policy accept;
    ip saddr {mine} ip daddr {{ {theirs} }} drop
    ip daddr {mine} ip saddr {{ {theirs} }} drop
    ip6 saddr {mine6} ip6 daddr {{ {theirs6} }} drop
    ip6 daddr {mine6} ip6 saddr {{ {theirs6} }} drop
  }}
}}
"""


def part(lab: Lab, one: Server, names: list[str]) -> list[Server]:
    """Cut it off from these servers, or from all others; from whom it is cut off now."""
    known = {other.name: other for other in lab.everyone if other != one}
    if strange := [name for name in names if name not in known]:
        raise DsopsError(f"{strange[0]!r} is no other server", where=one.name, mend=f"one of: {', '.join(known)}")
    others = [known[name] for name in dict.fromkeys(names)] or list(known.values())
    run(["nft", "-f", "-"], text=render_cut(lab, one, others), where=one.name)
    return others


def join(lab: Lab, one: Server) -> bool:
    """Whether it was cut off."""
    return succeeds(["nft", "delete", "table", "bridge", table(lab, one)])


def find_cuts(lab: Lab) -> list[str]:
    """The tables of the cuts that are there."""
    names = [table(lab, one) for one in lab.everyone]
    return [name for name in names if succeeds(["nft", "list", "table", "bridge", name])]
