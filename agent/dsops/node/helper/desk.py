"""All parts of a helper, put together once; a test gives its own disk, programs and time."""

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
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger
from dsops.node.store.pointers import Pointers
from dsops.node.store.rate import Rate
from dsops.node.store.releases import Releases
from dsops.node.store.tiers import Tiers
from dsops.node.store.turn import Turn

MEMINFO = Path("/proc/meminfo")
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
    scribe: Scribe = field(default_factory=Scribe)


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
        scribe=scribe,
    )
