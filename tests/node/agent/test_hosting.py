"""The loop reads the machine beside itself: what it finds is in the status, and what hangs costs no tick."""

import asyncio
import threading
from pathlib import Path

import pytest
from dsops.core.status import Condition, Measure
from dsops.node.agent.config import AgentConfig, GpuConfig
from dsops.node.agent.history import History
from dsops.node.agent.hosting import Hosting, find_places
from dsops.node.agent.loop import Clock, Loop
from dsops.node.run import Done
from dsops.node.sources.cgroups import Use
from dsops.node.sources.disks import Disk
from dsops.node.sources.machine import Machine, MachineReader
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

from tests.node.checks.bare_metal import MOUNTS, WALL, Server

SLOTS = (Ports("a", 8100, 8102),)


def make_config(root: Path, **words: object) -> AgentConfig:
    return AgentConfig("gpu1", "gpu", root=str(root), gpus=GpuConfig(expected=0), **words)  # type: ignore[arg-type]


def make_hosting(config: AgentConfig, now: list[float]) -> Hosting:
    return Hosting(config, ticks=lambda: now[0], wall=lambda: WALL + now[0])


def boot(root: Path, name: str, *, uptime: float) -> None:
    (root / "proc/sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/random/boot_id").write_text(f"{name}\n")
    (root / "proc/uptime").write_text(f"{uptime} 5.0\n")


def test_a_file_system_that_turns_read_only_is_in_the_status_and_asks_for_a_drain(tmp_path: Path) -> None:
    server, now = Server(tmp_path), [1000.0]
    clock = Clock(wall=lambda: WALL + now[0], ticks=lambda: now[0])

    async def story() -> None:
        loop = Loop(make_config(tmp_path), run=lambda argv: Done(0, "", ""), clock=clock)
        for _ in range(10):
            await loop.tick()
            now[0] += 2
        assert loop.status
        assert loop.status.condition is Condition.OK
        server.swap(MOUNTS, "rw,errors", "ro,errors")
        for _ in range(12):
            await loop.tick()
            now[0] += 2
        [finding] = loop.status.findings
        assert (finding.code, finding.measure) == ("storage.readonly", Measure.DRAIN)
        assert loop.status.condition is Condition.FAILED
        await loop.close()

    asyncio.run(story())


def test_what_hangs_is_said_and_what_was_read_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Server(tmp_path)
    now, released = [1000.0], threading.Event()

    async def story() -> None:
        hosting = make_hosting(make_config(tmp_path), now)
        await hosting.read()
        monkeypatch.setattr(MachineReader, "read", lambda self: released.wait(20) and self.last)
        await hosting.read()
        await hosting.read()
        seen = hosting.see({}, ticks=now[0])
        assert seen.machine.reason == "/proc or /sys still hangs"
        assert seen.machine.memory.total == 1000000 * 1024
        assert seen.storage.reason == ""
        released.set()
        hosting.close()

    asyncio.run(story())


def test_boots_of_earlier_days_come_out_of_the_history(tmp_path: Path) -> None:
    Server(tmp_path)
    now = [1000.0]
    for name, uptime in (("b1", 100.0), ("b1", 400.0), ("b2", 10.0)):
        boot(tmp_path, name, uptime=uptime)
        history = History(tmp_path / "history.db")
        hosting = make_hosting(make_config(tmp_path), now)
        hosting.begin(history)
        history.close()
        asyncio.run(hosting.read())
        machine = hosting.see({}, ticks=now[0]).machine
        hosting.close()
        now[0] += 300
    assert machine.boots == (WALL + 900, WALL + 1590)


def test_units_that_systemd_does_not_tell_of_do_not_count(tmp_path: Path) -> None:
    Server(tmp_path)
    hosting, name = make_hosting(make_config(tmp_path, slots=SLOTS), [1000.0]), SLOTS[0].unit
    for ticks, unit in ((0.0, Unit(name, "active", restarts=3)), (60.0, Unit(name, "unknown"))):
        seen = hosting.see({name: unit, "nginx.service": Unit("nginx.service", "active")}, ticks=ticks)
    assert list(seen.units) == [name]
    assert seen.restarts.grown(name, 600) is None
    seen = hosting.see({name: Unit(name, "active", restarts=5)}, ticks=120.0)
    assert seen.restarts.grown(name, 600) == 2
    hosting.close()


def test_the_memory_of_a_slot_is_read_where_systemd_says_and_the_disk_of_the_store_too(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.write("sys/fs/cgroup/system.slice/x/memory.stat", "anon 7\nshmem 5\n")
    server.write("sys/fs/cgroup/system.slice/x/memory.max", "max\n")
    now, name = [1000.0], SLOTS[0].unit
    hosting = make_hosting(make_config(tmp_path, slots=SLOTS), now)
    units = {name: Unit(name, "active", cgroup="/system.slice/x")}

    async def story() -> Machine:
        hosting.see(units, ticks=now[0])
        await hosting.read()
        return hosting.see(units, ticks=now[0]).machine

    machine = asyncio.run(story())
    hosting.close()
    assert machine.uses == {name: Use(12)}
    disk = machine.disks["/var/lib/dsops"]
    assert isinstance(disk, Disk)
    assert (disk.name, disk.is_rotational) == ("nvme0n1", False)


def test_which_file_systems_a_node_needs(tmp_path: Path) -> None:
    assert find_places(make_config(tmp_path)) == {"/": False}
    store = tmp_path / "store.toml"
    config = make_config(tmp_path, slots=SLOTS, state="/srv/hot", store=str(store))
    assert find_places(config) == {"/": False, "/srv/hot": False}
    store.write_text('namespace = "dsops-release@v1"\ncold = "/srv/cold"\n')
    assert find_places(config) == {"/": False, "/srv/hot": False, "/srv/cold": True}
