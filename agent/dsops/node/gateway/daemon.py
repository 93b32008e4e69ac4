"""Puts the gateway's parts together, starts them, and stops them without losing an answer."""

import asyncio
import logging
import signal
from datetime import datetime
from functools import partial

from dsops.node.gateway.config import Config
from dsops.node.gateway.door import Door, Health
from dsops.node.gateway.doors import AdminApp, ControlApp
from dsops.node.gateway.engine import Engine
from dsops.node.gateway.keyring import Keyring
from dsops.node.gateway.listener import Listener, bind_tcp, bind_unix
from dsops.node.gateway.metrics import Metrics
from dsops.node.gateway.notify import sd_notify
from dsops.node.gateway.release import Releases
from dsops.node.gateway.traffic import TrafficApp
from dsops.node.gateway.triton import Slot
from dsops.node.gateway.window import Window

_log = logging.getLogger(__name__)


async def serve(config: Config, *, notify_door: str | None) -> None:
    """Runs until SIGTERM or SIGINT; raises DsopsError when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(config)
    await gateway.start()
    sd_notify("READY=1", door=notify_door)
    await stop.wait()
    sd_notify("STOPPING=1", door=notify_door)
    await gateway.stop()


class Gateway:
    """All the parts of one gateway; must be made inside a running loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tasks: list[asyncio.Task[None]] = []
        self._slots = {
            name: Slot(name, str(address), stream_idle=config.stream_idle) for name, address in config.slots.items()
        }
        keyring = Keyring(config.keys_file) if config.auth and config.keys_file else None
        releases = Releases(lanes=config.lanes_dir, slots=config.slots_dir, now=datetime.now)
        metrics, window = Metrics(), Window()
        self._door = Door(
            state_file=config.state_file,
            linger=config.drain_linger,
            bind=lambda: bind_tcp(config.listen, key="listen"),
        )
        health = Health(door=self._door, releases=releases, slots=self._slots)
        engine = Engine(config, slots=self._slots, metrics=metrics, window=window)
        make_app = partial(
            TrafficApp, config, door=self._door, engine=engine, health=health, metrics=metrics, releases=releases
        )
        traffic = make_app(keyring=keyring)
        control = ControlApp(
            door=self._door,
            engine=engine,
            health=health,
            releases=releases,
            slots=self._slots,
            window=window,
            keyring=keyring,
            metrics=metrics,
            probes=make_app(keyring=None, probing=True),
        )
        admin = AdminApp(health=health, metrics=metrics, door=self._door, keyring=keyring)
        self._traffic = Listener(traffic, keep_alive=config.keep_alive)
        self._admin = Listener(admin, keep_alive=config.keep_alive)
        self._control = Listener(control, keep_alive=config.keep_alive)

    async def start(self) -> None:
        """Control and admin first: they answer even when the traffic door stays closed."""
        await self._control.open(bind_unix(self._config.control_socket))
        await self._admin.open(bind_tcp(self._config.admin_listen, key="admin_listen"))
        await self._door.start(self._traffic)
        self._tasks = [asyncio.create_task(work) for work in (self._tidy(), *(s.watch() for s in self._slots.values()))]
        drained = self._door.drained
        _log.info("traffic door %s", f"closed: {drained.reason}" if drained else f"open on {self._config.listen}")

    async def _tidy(self) -> None:
        """Closes streams that lie unused, for as long as the gateway runs."""
        while True:
            await asyncio.sleep(0.25)
            for slot in self._slots.values():
                slot.close_idle_streams()

    async def stop(self) -> None:
        left = await self._door.stop(grace=self._config.shutdown_grace)
        for task in self._tasks:
            task.cancel()
        if left:
            _log.warning("%d answers did not end within %g s", left, self._config.shutdown_grace)
        for listener in (self._admin, self._control):
            listener.close()
            listener.end_connections()
        self._config.control_socket.unlink(missing_ok=True)
        for slot in self._slots.values():
            await slot.close()
