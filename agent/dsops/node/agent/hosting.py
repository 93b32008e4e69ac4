"""Reads the machine beside the loop: what hangs there costs no tick."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.agent.config import AgentConfig
from dsops.node.agent.history import History
from dsops.node.sources.boots import add_boot
from dsops.node.sources.counters import Counters
from dsops.node.sources.host import read_host
from dsops.node.sources.machine import HostSeen, Machine, MachineReader, Storage, StorageReader
from dsops.node.sources.patience import Patient
from dsops.node.sources.units import Unit
from dsops.node.store.config import read_store_config

SECONDS = 1.0
# What the history keeps: boot id -> when it began.
BOOTS = "boots"
UNKNOWN = "unknown"


class Hosting:
    """One machine, read by the loop once a tick. boots of earlier days come out of the history."""

    def __init__(self, config: AgentConfig, *, ticks: Callable[[], float], wall: Callable[[], float]) -> None:
        self._config = config
        self._wall = wall
        places = find_places(config)
        self._machine = MachineReader(Path(config.root), paths=places, ticks=ticks)
        self._storage = StorageReader(Path(config.root), places, ticks=ticks)
        self._patient: Patient[Machine] = Patient("/proc or /sys", seconds=SECONDS)
        self._disks: Patient[Storage] = Patient("a file system", seconds=SECONDS)
        self._now: tuple[Machine, Storage] = (Machine(), Storage())
        self._restarts = Counters()

    def begin(self, history: History) -> None:
        """This boot is remembered. Blocking."""
        host = read_host(Path(self._config.root))
        kept = history.find_kept(BOOTS) if history.path else None
        boots = add_boot(kept, host.boot_id, began=self._wall() - (host.uptime_seconds or 0.0))
        if boots != kept:
            history.keep(BOOTS, boots)
        self._machine.boots = tuple(boots.values())

    async def read(self) -> None:
        """Reads it all, or says why not."""
        machine, storage = self._machine, self._storage
        self._now = await asyncio.gather(
            self._patient.read(machine.read, otherwise=machine.otherwise),
            self._disks.read(storage.read, otherwise=storage.otherwise),
        )

    def see(self, units: Mapping[str, Unit], *, ticks: float) -> HostSeen:
        """With the units of the slots, as of this tick."""
        slots = {ports.unit: units[ports.unit] for ports in self._config.slots if ports.unit in units}
        self._machine.cgroups = {name: unit.cgroup for name, unit in slots.items()}
        counts = {name: unit.restarts for name, unit in slots.items() if unit.active != UNKNOWN}
        self._restarts = self._restarts.add(ticks, counts)
        return HostSeen(*self._now, slots, self._restarts)

    def close(self) -> None:
        self._patient.close()
        self._disks.close()


def find_places(config: AgentConfig) -> dict[str, bool]:
    """The paths whose file systems a node needs, and whether each wants one of its own: root, store, cold tier."""
    if not config.slots:
        return {"/": False}
    cold = ""
    with suppress(DsopsError):
        cold = read_store_config(Path(config.store)).cold
    return {"/": False, config.state: False} | ({cold: True} if cold else {})
