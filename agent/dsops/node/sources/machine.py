"""Reads what the machine below an agent says of itself, out of /proc and /sys, every few seconds."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from dsops.node.sources.boots import read_crash, read_panics
from dsops.node.sources.cgroups import Use, read_use
from dsops.node.sources.counters import Counters
from dsops.node.sources.disks import Disk, count_disks, read_disks
from dsops.node.sources.driver import Driver, read_driver
from dsops.node.sources.kernel_state import Quota, count_throttles, read_connections, read_files_open, read_stuck
from dsops.node.sources.links import ACTIVE, UP, Link, Port, count_links, count_ports, read_links, read_ports
from dsops.node.sources.memory import Memory, count_memory, read_memory, read_pressure
from dsops.node.sources.pci import count_pci
from dsops.node.sources.storage import Array, Place, Statvfs, read_arrays, read_places
from dsops.node.sources.timekeeping import Clock, ask_chrony, read_clock
from dsops.node.sources.units import Unit
from dsops.node.sources.unread import Unread, attempt, is_there

BEAT_SECONDS = 5.0
NOT_YET = Unread("not read yet", is_missing=True)
# systemd and the usual container managers leave one of these inside.
CONTAINER = ("run/systemd/container", "run/host/container-manager", ".dockerenv", "run/.containerenv")


@dataclass(frozen=True)
class Machine:
    """One reading. sample: its name, "" before the first. reason: why there is no newer one, "" when there is.

    seen_up: links (`net eth0`) and ports (`ib mlx5_0/1`) that were up at some time since the agent began: what never
    was is nobody's fault. boots: when this boot and those before it began, Unix seconds, the latest last. panics:
    records that the boot before this one left. crashed: whether it ended without a shutdown. stuck: names of what hangs
    in the GPUs' driver. busy_cpu: percent of the last minute in which something waited for a CPU. disks: below the
    paths that a node needs. uses: unit -> what memory its processes have. driver: the set of the GPUs' driver.
    """

    sample: str = ""
    reason: str = ""
    is_container: bool = False
    memory: Memory = field(default_factory=Memory)
    counters: Counters = field(default_factory=Counters)
    links: tuple[Link, ...] | Unread = ()
    ports: tuple[Port, ...] | Unread = ()
    seen_up: frozenset[str] = frozenset()
    open_files: Quota | Unread = NOT_YET
    connections: Quota | Unread = NOT_YET
    stuck: tuple[str, ...] | Unread = NOT_YET
    clock: Clock | Unread = NOT_YET
    panics: int | Unread = NOT_YET
    crashed: bool | Unread = NOT_YET
    boots: tuple[float, ...] = ()
    busy_cpu: float | Unread = NOT_YET
    disks: Mapping[str, Disk | Unread] = field(default_factory=dict)
    uses: Mapping[str, Use | Unread] = field(default_factory=dict)
    driver: Driver | Unread = NOT_YET


@dataclass(frozen=True)
class Storage:
    """Likewise, of what may hang: its disks."""

    sample: str = ""
    reason: str = ""
    places: tuple[Place, ...] = ()
    arrays: tuple[Array, ...] | Unread = NOT_YET


Read = TypeVar("Read", Machine, Storage)


class Paced(Generic[Read]):
    """What is read again only when the last reading is old enough; blocking."""

    def __init__(self, nothing: Read, *, ticks: Callable[[], float]) -> None:
        self.last: Read = nothing
        self._ticks = ticks
        self._at = float("-inf")

    def read(self) -> Read:
        """The last reading, or a new one."""
        now = self._ticks()
        if now - self._at >= BEAT_SECONDS:
            self._at = now
            found = attempt(lambda: self._read(now))
            self.last = self.otherwise(found.reason) if isinstance(found, Unread) else found
        return self.last

    def otherwise(self, reason: str) -> Read:
        """What was read last, and why it is old."""
        return replace(self.last, reason=reason)

    def _read(self, now: float) -> Read:
        raise NotImplementedError


class MachineReader(Paced[Machine]):
    """One machine; blocking. paths: those whose disks are looked at.

    boots: as in Machine; whoever keeps a history sets them. cgroups: unit -> its control group; whoever asks systemd
    sets them.
    """

    def __init__(
        self,
        root: Path,
        *,
        paths: Iterable[str] = (),
        ticks: Callable[[], float] = time.monotonic,
        ask_clock: Callable[[], Clock] = ask_chrony,
    ) -> None:
        super().__init__(Machine(), ticks=ticks)
        self.boots: tuple[float, ...] = ()
        self.cgroups: Mapping[str, str] = {}
        self._root = root
        self._paths = tuple(paths)
        self._ask_clock = ask_clock

    def _read(self, now: float) -> Machine:
        root, before = self._root, self.last
        in_container = is_container(root)
        links, ports = read_links(root, in_container=in_container), read_ports(root)
        disks = read_disks(root, self._paths)
        began = self.boots[-1] if self.boots else time.time()
        return Machine(
            sample=f"{now:.3f}",
            is_container=in_container,
            memory=read_memory(root),
            counters=before.counters.add(now, {**count_all(root, links, ports), **count_disks(disks)}),
            links=links,
            ports=ports,
            seen_up=before.seen_up | find_up(links, ports),
            open_files=read_files_open(root),
            connections=read_connections(root),
            stuck=read_stuck(root),
            clock=read_clock(root, ask=self._ask_clock),
            panics=read_panics(root, began=began, before=self.boots[-2] if len(self.boots) > 1 else None),
            crashed=read_crash(root, began=began),
            boots=self.boots,
            busy_cpu=read_pressure(root, "cpu", "some"),
            disks=disks,
            uses={unit: read_use(root, cgroup) for unit, cgroup in self.cgroups.items()},
            driver=read_driver(root),
        )


class StorageReader(Paced[Storage]):
    """The file systems in which these paths lie; blocking. paths: each with whether it wants one of its own."""

    def __init__(
        self,
        root: Path,
        paths: Mapping[str, bool],
        *,
        ticks: Callable[[], float] = time.monotonic,
        statvfs: Statvfs = os.statvfs,
    ) -> None:
        super().__init__(Storage(), ticks=ticks)
        self._root = root
        self._paths = paths
        self._statvfs = statvfs

    def _read(self, now: float) -> Storage:
        places = read_places(self._root, self._paths, statvfs=self._statvfs)
        return Storage(f"{now:.3f}", places=places, arrays=read_arrays(self._root))


def is_container(root: Path) -> bool:
    """Whether its kernel, and so most of /proc, is somebody else's."""
    return any(is_there(root / name) for name in CONTAINER)


def count_all(
    root: Path, links: tuple[Link, ...] | Unread, ports: tuple[Port, ...] | Unread
) -> Mapping[str, int | Unread]:
    return (
        count_memory(root)
        | count_links(root, links)
        | count_ports(root, ports)
        | count_pci(root)
        | count_throttles(root)
    )


def find_up(links: tuple[Link, ...] | Unread, ports: tuple[Port, ...] | Unread) -> frozenset[str]:
    """Those that are up now."""
    cards = () if isinstance(links, Unread) else [f"net {link.name}" for link in links if link.state == UP]
    others = () if isinstance(ports, Unread) else [f"ib {port.name}" for port in ports if port.state == ACTIVE]
    return frozenset((*cards, *others))


@dataclass(frozen=True)
class HostSeen:
    """All that a tick knows of the host. units: those of the slots. restarts: how often systemd started them again."""

    machine: Machine = field(default_factory=Machine)
    storage: Storage = field(default_factory=Storage)
    units: Mapping[str, Unit] = field(default_factory=dict)
    restarts: Counters = field(default_factory=Counters)
