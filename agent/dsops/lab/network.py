"""The lab's bridge, and the rules that keep every packet of a server on it."""

import json
from ipaddress import IPv4Network
from pathlib import Path

from dsops.lab import cuts
from dsops.lab.place import Lab, Server
from dsops.lab.run import run, succeeds


def table(lab: Lab) -> str:
    return f"dsops_lab_{lab.bridge}"


def render_rules(lab: Lab) -> str:
    """nftables: nothing is forwarded, and this machine itself offers the servers only the sink's DNS.

    A refused packet was seen by the sink before: packet sockets look before the filter does.
    """
    name, dev = table(lab), lab.bridge
    return f"""table inet {name}
delete table inet {name}
table inet {name} {{
  chain forward {{
    type filter hook forward priority -300; policy accept;
    iifname "{dev}" oifname "{dev}" accept
    iifname "{dev}" drop
    oifname "{dev}" drop
  }}
  chain input {{
    type filter hook input priority -300; policy accept;
    iifname != "{dev}" accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
    meta l4proto {{ tcp, udp }} th dport 53 ip daddr {lab.gateway} accept
    meta l4proto {{ tcp, udp }} th dport 53 ip6 daddr {lab.gateway6} accept
    tcp flags & (syn | ack) != syn ip daddr {lab.gateway} accept
    tcp flags & (syn | ack) != syn ip6 daddr {lab.gateway6} accept
    drop
  }}
}}
"""


def has_bridge(lab: Lab) -> bool:
    return Path("/sys/class/net", lab.bridge, "bridge").exists()


def has_ipv6() -> bool:
    disabled = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    return disabled.exists() and disabled.read_text().strip() == "0"


def ensure_network(lab: Lab) -> bool:
    """Bridge, addresses, rules; whether anything was missing. Rules come first: no moment without them."""
    missing_rules = not succeeds(["nft", "list", "chain", "inet", table(lab), "input"])
    if missing_rules:
        run(["nft", "-f", "-"], text=render_rules(lab))
    complete = has_bridge(lab) and _wanted_addresses(lab) <= _addresses(lab)
    if not complete:
        _make_bridge(lab)
    return missing_rules or not complete


def _wanted_addresses(lab: Lab) -> set[str]:
    return {str(lab.gateway), str(lab.gateway6)} if has_ipv6() else {str(lab.gateway)}


def _addresses(lab: Lab) -> set[str]:
    links = json.loads(run(["ip", "-json", "address", "show", "dev", lab.bridge]))
    up = any("UP" in link.get("flags", []) for link in links)
    return {info["local"] for link in links for info in link.get("addr_info", []) if up}


def _make_bridge(lab: Lab) -> None:
    if not has_bridge(lab):
        run(["ip", "link", "add", lab.bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
    mac = "02:" + ":".join(f"{byte:02x}" for byte in (0x64, *lab.gateway.packed))  # fixed: ports come and go
    run(["ip", "link", "set", lab.bridge, "address", mac, "up"])
    run(["ip", "address", "replace", f"{lab.gateway}/{lab.subnet.prefixlen}", "dev", lab.bridge])
    if has_ipv6():
        run(["ip", "address", "replace", f"{lab.gateway6}/64", "dev", lab.bridge, "nodad"])
    forwarding = Path(f"/proc/sys/net/ipv4/conf/{lab.bridge}/forwarding")
    forwarding.write_text("0")


def remove_network(lab: Lab) -> int:
    """Bridge, its left-over ports, rules; how many were there."""
    links = _links(lab)
    for link in links:
        run(["ip", "link", "delete", link], check=False)
    cut = [cuts.join(lab, one) for one in lab.everyone]
    return len(links) + sum(cut) + succeeds(["nft", "delete", "table", "inet", table(lab)])


def remove_port(lab: Lab, server: Server) -> None:
    """Take away a dead server's link at once; the kernel would do it later, in the way of its next start."""
    port = f"vb-{lab.machine(server)}"  # systemd-nspawn's name for it
    if Path("/sys/class/net", port).exists():
        run(["ip", "link", "delete", port], check=False)


def find_network(lab: Lab) -> list[str]:
    rules = [f"nftables table {table(lab)}"] if succeeds(["nft", "list", "table", "inet", table(lab)]) else []
    return [f"link {link}" for link in _links(lab)] + rules + [f"nftables table {cut}" for cut in cuts.find_cuts(lab)]


def _links(lab: Lab) -> list[str]:
    """The bridge and its ports; the kernel keeps a server's port for a moment after its last process."""
    ports = [path.name for path in Path("/sys/class/net", lab.bridge, "brif").glob("*")]
    return [*ports, *([lab.bridge] if has_bridge(lab) else [])]


def find_conflict(lab: Lab, routes: str) -> str:
    """Another route of this machine into the lab's addresses. routes: `ip -json route`'s text."""
    for route in json.loads(routes or "[]"):
        if route.get("dst", "default") != "default" and route.get("dev") != lab.bridge:
            network = IPv4Network(route["dst"], strict=False)
            if network.overlaps(lab.subnet):
                return f"{route['dst']} on {route.get('dev', '?')}"
    return ""
