"""All parts of a helper, put together once; a test gives its own disk, programs and time."""

import os
import sys
import syslog
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dsops.node.helper.audit import Scribe
from dsops.node.helper.beside import Beside
from dsops.node.helper.effects import Hands
from dsops.node.helper.environment import read_environment
from dsops.node.helper.hurry import Hurry
from dsops.node.helper.memory import read_memory
from dsops.node.helper.moves import Moves
from dsops.node.run import Runner
from dsops.node.store.blobs import Blobs
from dsops.node.store.cold import Cold
from dsops.node.store.config import StoreConfig
from dsops.node.store.disk import Disk, on_disk
from dsops.node.store.ledger import Ledger
from dsops.node.store.pointers import Pointers
from dsops.node.store.rate import Rate
from dsops.node.store.releases import Releases
from dsops.node.store.tiers import Tiers
from dsops.node.store.turn import Turn

MEMINFO, MACHINE_ID = Path("/proc/meminfo"), Path("/etc/machine-id")
# A disk that slept needs so long until it turns; whoever lists releases waits no longer.
COLD_SECONDS = 10.0


def write_audit(line: str) -> None:
    """Into the system's audit log."""
    syslog.openlog("dsops-helper")
    syslog.syslog(syslog.LOG_NOTICE | syslog.LOG_AUTH, line)


def write_log(line: str) -> None:
    """Into the journal of the helper's unit."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Desk:
    """What the verbs work with. now: Unix seconds. tiers: None where there is no cold tier.

    cold_look: looks at the cold tier for whoever must not wait for a disk that hangs. beside: what nobody waits for.
    machine_id: the file that says which machine this is.
    """

    config: StoreConfig
    blobs: Blobs
    releases: Releases
    moves: Moves
    hands: Hands
    run: Runner
    audit: Callable[[str], None]
    now: Callable[[], float]
    meminfo: Path
    tiers: Tiers | None
    cold_look: Hurry
    beside: Beside
    disk: Disk
    machine_id: Path
    scribe: Scribe = field(default_factory=Scribe)

    @property
    def machine(self) -> str:
        """Which machine this is; "" where nobody can say."""
        try:
            return self.machine_id.read_text().strip()
        except OSError:
            return ""

    def keep(self, name: str, text: str) -> None:
        """A small file of the store's folder: whole or not at all, whatever happens meanwhile. Raises DsopsError."""
        path = self.config.root / name
        new = self.config.root / "staging" / f"{path.stem}.{os.urandom(3).hex()}"
        with on_disk(path):
            self.disk.write_file(new, text.encode())
            self.disk.rename(new, path)
            self.disk.sync_folder(path.parent)


def build_desk(
    config: StoreConfig,
    *,
    disk: Disk,
    run: Runner,
    seen: Path | None,
    meminfo: Path = MEMINFO,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    audit: Callable[[str], None] = write_audit,
    log: Callable[[str], None] = write_log,
    cold_disk: Disk | None = None,
    ledger: Ledger | None = None,
    machine_id: Path = MACHINE_ID,
) -> Desk:
    """seen: where it remembers until the next boot what it hashed. cold_disk: when it is another door than `disk`.

    ledger: the audit chain; without one only `audit` hears.
    """
    root = config.root
    hands = Hands(Pointers(root, disk), run, sleep=sleep, clock=clock, log=log)
    blobs = Blobs(root, disk, seen=seen)
    scribe = Scribe(ledger, now)
    moves = Moves(
        root=root,
        policy=config.policy,
        disk=disk,
        hands=hands,
        now=now,
        can_keep_warm=lambda: read_memory(meminfo).free_share >= config.memory_reserve,
        environment=read_environment,
        witness=scribe.tell_step,
    )
    releases = Releases(root, blobs, disk)

    def build_tiers() -> Tiers:
        rate = Rate(root / "state/cold-rate.json")
        cold_seen = seen.with_name("seen-cold.json") if seen else None
        cold = Cold(Path(config.cold), cold_disk or disk, seen=cold_seen, timed=rate.add)
        return Tiers(releases, blobs, cold, rate, Turn(), now=now, log=log)

    return Desk(
        config=config,
        blobs=blobs,
        releases=releases,
        moves=moves,
        hands=hands,
        run=run,
        audit=audit,
        now=now,
        meminfo=meminfo,
        tiers=build_tiers() if config.cold else None,
        cold_look=Hurry("the cold disk", seconds=COLD_SECONDS),
        beside=Beside(log=log),
        disk=disk,
        machine_id=machine_id,
        scribe=scribe,
    )
