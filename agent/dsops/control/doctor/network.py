"""Network cards and RDMA ports: up, fast enough, and the one that we came by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsops.control.doctor.answer import Answer, to_int
from dsops.control.doctor.finding import Finding, count, ok, skipped, warning

NET, RDMA = "/sys/class/net", "/sys/class/infiniband"
# Mb/s. Below, a bundle of 100 GB takes hours.
SLOW = 1000
SHOWN = 4


@dataclass(frozen=True)
class Nic:
    """One interface. speed in Mb/s, 0 when unknown. driver is empty for what is no card (bridge, bond, VLAN)."""

    name: str
    state: str = ""
    has_carrier: bool = False
    speed: int = 0
    duplex: str = ""
    mtu: int = 0
    driver: str = ""
    addresses: tuple[str, ...] = ()

    def render(self) -> str:
        parts = [self.name, render_speed(self.speed), self.driver, f"MTU {self.mtu}"]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class RdmaPort:
    """One port of an RDMA device. state and rate as the kernel says them: `4: ACTIVE`, `400 Gb/sec (4X NDR)`."""

    name: str
    state: str
    rate: str
    layer: str

    @property
    def is_active(self) -> bool:
        return self.state.endswith("ACTIVE") and not self.state.endswith("INACTIVE")


def read_nics(answer: Answer) -> tuple[Nic, ...]:
    """All interfaces that the probe told of."""
    addresses: dict[str, list[str]] = {}
    for line in answer.all("address"):
        name, _, address = line.partition(" ")
        addresses.setdefault(name, []).append(address)
    return tuple(_read_nic(answer, name, addresses) for name in answer.names(NET))


def _read_nic(answer: Answer, name: str, addresses: Mapping[str, Sequence[str]]) -> Nic:
    def leaf(file: str) -> str:
        return answer.leaf(f"{NET}/{name}/{file}")

    return Nic(
        name=name,
        state=leaf("operstate"),
        has_carrier=leaf("carrier") == "1",
        speed=max(0, to_int(leaf("speed"))),
        duplex=leaf("duplex"),
        mtu=to_int(leaf("mtu")),
        driver=leaf("device/driver").rpartition("/")[2],
        addresses=tuple(addresses.get(name, ())),
    )


def read_rdma(answer: Answer) -> tuple[RdmaPort, ...]:
    """Every port of every RDMA device."""
    found = []
    for device in answer.names(RDMA):
        for port in answer.names(f"{RDMA}/{device}/ports"):
            at = f"{RDMA}/{device}/ports/{port}"
            leaves = (answer.leaf(f"{at}/{file}") for file in ("state", "rate", "link_layer"))
            found.append(RdmaPort(f"{device}/{port}", *leaves))
    return tuple(found)


def judge_nics(where: str, nics: Sequence[Nic], *, address: str) -> list[Finding]:
    """address: where we reached it; its interface must carry the bundle."""
    if not nics:
        return []
    found = []
    for nic in nics:
        is_ours = any(one.partition("/")[0] == address for one in nic.addresses)
        if nic.addresses and (nic.state == "down" or not nic.has_carrier):
            what = f"{nic.name} has an address ({', '.join(nic.addresses)}) and no link"
            mend = f"plug it in, or take its address away; `ip link show {nic.name}`, `ethtool {nic.name}`"
            found.append(warning("network", where, what, mend=mend))
        if nic.duplex == "half":
            mend = "autonegotiation on, on both ends"
            found.append(warning("network", where, f"{nic.name} runs at half duplex", mend=mend))
        if is_ours and 0 < nic.speed < SLOW:
            what = f"{nic.name}, by which we reach it, has {render_speed(nic.speed)}: bundles will take hours"
            found.append(warning("network", where, what, mend="look at its cable and the switch's port"))
    up = [nic.render() for nic in nics if nic.has_carrier and (nic.driver or nic.addresses)]
    return found or [ok("network", where, _shorten(up) or "no link is up that the kernel tells of")]


def judge_rdma(where: str, ports: Sequence[RdmaPort], *, is_wanted: bool) -> list[Finding]:
    """Ports that are down beside others that are up. is_wanted: where there are several GPUs, silence would mislead."""
    if not ports:
        silent = skipped("rdma", where, "no RDMA device: GPUs of several servers would talk over TCP")
        return [silent] if is_wanted else []
    down = [port for port in ports if not port.is_active]
    rates = sorted({port.rate for port in ports if port.is_active})
    if down and rates:
        said = ", ".join(f"{port.name} ({port.state.partition(': ')[2] or port.state})" for port in down[:SHOWN])
        what = f"{len(down)} of {count(len(ports), 'RDMA port')} are not active: {said}"
        mend = "look at cables and switch ports; on InfiniBand a subnet manager must run (`ibstat`)"
        return [warning("rdma", where, what, mend=mend)]
    if len(rates) > 1:
        mend = "look at the slower ones' cables and switch ports"
        return [warning("rdma", where, f"RDMA ports differ in rate: {', '.join(rates)}", mend=mend)]
    if down:
        return [skipped("rdma", where, f"{count(len(ports), 'RDMA port')}, none active")]
    return [ok("rdma", where, f"{count(len(ports), 'port')} active at {rates[0]} ({ports[0].layer})")]


def _shorten(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def render_speed(speed: int) -> str:
    """`100 Mb/s`, `2.5 Gb/s`, `400 Gb/s`; empty when it is not known."""
    if not speed:
        return ""
    return f"{speed} Mb/s" if speed < SLOW else f"{speed / SLOW:g} Gb/s"
