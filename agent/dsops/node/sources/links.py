"""Reads this server's own network cards and InfiniBand or RoCE ports; virtual interfaces are none of its hardware.

A container's card is its end of a pair.
"""

import errno
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, is_there, list_names, parse_int, read_int, read_text

ACTIVE = "ACTIVE"
UP = "up"
ERRORS = ("rx_errors", "tx_errors")
DROPS = ("rx_dropped", "tx_dropped")
# Names of counters in `counters` and `hw_counters` of a port; a driver has some of them.
IB_COUNTERS = (
    "symbol_error",
    "link_error_recovery",
    "link_downed",
    "port_rcv_errors",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "port_xmit_discards",
    "rnr_nak_retry_err",
    "local_ack_timeout_err",
    "roce_slow_restart",
)


@dataclass(frozen=True)
class Link:
    """One network card. state: the kernel's word, such as `up`. speed: Mbit/s, None where the driver does not say."""

    name: str
    state: str | Unread
    speed: int | Unread | None = None


@dataclass(frozen=True)
class Port:
    """One InfiniBand or RoCE port, such as `mlx5_0/1`. state: such as ACTIVE. rate: Gbit/s."""

    name: str
    state: str | Unread
    physical: str | Unread
    rate: float | Unread


def read_links(root: Path, *, in_container: bool = False) -> tuple[Link, ...] | Unread:
    """Those with a device of their own; in a container also those whose other end is outside."""
    folder = root / "sys/class/net"
    return attempt(
        lambda: tuple(
            _read_link(folder / name)
            for name in list_names(folder)
            if is_there(folder / name / "device") or (in_container and _is_end(folder / name))
        )
    )


def count_links(root: Path, links: tuple[Link, ...] | Unread) -> dict[str, int | Unread]:
    """Counters such as `net/eth0/rx_errors`."""
    found: dict[str, int | Unread] = {}
    for link in links if isinstance(links, tuple) else ():
        folder = root / "sys/class/net" / link.name
        found[f"net/{link.name}/carrier_changes"] = read_int(folder / "carrier_changes")
        found |= {f"net/{link.name}/{key}": read_int(folder / "statistics" / key) for key in (*ERRORS, *DROPS)}
    return found


def read_ports(root: Path) -> tuple[Port, ...] | Unread:
    folder = root / "sys/class/infiniband"
    return attempt(
        lambda: tuple(
            _read_port(folder / device / "ports" / port, f"{device}/{port}")
            for device in list_names(folder)
            for port in list_names(folder / device / "ports")
        )
    )


def count_ports(root: Path, ports: tuple[Port, ...] | Unread) -> dict[str, int | Unread]:
    """Counters such as `ib/mlx5_0/1/link_downed`; those that a driver does not have are left out."""
    found: dict[str, int | Unread] = {}
    for port in ports if isinstance(ports, tuple) else ():
        device, number = port.name.split("/")
        folder = root / "sys/class/infiniband" / device / "ports" / number
        for kind in ("counters", "hw_counters"):
            values = {f"ib/{port.name}/{key}": _read_counter(folder / kind / key) for key in IB_COUNTERS}
            found |= {key: value for key, value in values.items() if value is not None}
    return found


def _is_end(folder: Path) -> bool:
    """Of a pair: what it is linked to has another number than itself."""
    own, other = read_int(folder / "ifindex"), read_int(folder / "iflink")
    return isinstance(own, int) and isinstance(other, int) and own != other


def _read_link(folder: Path) -> Link:
    state = read_text(folder / "operstate")
    if isinstance(state, Unread):
        return Link(folder.name, state)
    return Link(folder.name, state.strip(), _read_speed(folder / "speed") if state.strip() == UP else None)


def _read_speed(path: Path) -> int | Unread | None:
    """-1, and EINVAL, are how a driver says that it does not know."""
    try:
        speed = parse_int(path.read_text(), where=path)
    except OSError as error:
        is_untold = error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)
        return None if is_untold else Unread(f"{path}: {error.strerror}")
    return speed if isinstance(speed, Unread) or speed > 0 else None


def _read_port(folder: Path, name: str) -> Port:
    state, physical = (_find_word(read_text(folder / key)) for key in ("state", "phys_state"))
    text = read_text(folder / "rate")
    rate = text if isinstance(text, Unread) else attempt(lambda: float(text.split()[0]))
    return Port(name, state, physical, rate)


def _find_word(text: str | Unread) -> str | Unread:
    """`ACTIVE` of `4: ACTIVE`."""
    return text if isinstance(text, Unread) else text.partition(":")[2].strip() or text.strip()


def _read_counter(path: Path) -> int | Unread | None:
    value = read_int(path)
    return None if isinstance(value, Unread) and value.is_missing else value
