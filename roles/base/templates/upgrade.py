"""Turns a server to another build of dsops, proves it, and turns back when it cannot.

`python3 -I - LINK TARGET`, as root, on the server: roles/ops/upgrade.py sends this file as its standard input.
It needs nobody while it is at work, so a control host that dies leaves no server half way. It uses the standard library
alone, and asks systemd, the agent and the gateway from outside: no build is the judge of itself.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Left in an environment that was proven on this server.
PROVEN = ".dsops-proven"
AGENT, BALANCER, GATEWAY = "dsops-agent.service", "dsops-balancer.service", "dsops-gateway.service"
# Unit -> configuration, key and default of the address at which it answers /metrics. In this order they are restarted:
# the agent carries no traffic, the gateway does. What is not named comes between.
DOORS = {
    AGENT: ("agent.toml", "listen", "0.0.0.0:9410"),
    BALANCER: ("balancer.toml", "listen", "0.0.0.0:9412"),
    GATEWAY: ("gateway.toml", "admin_listen", "0.0.0.0:9411"),
}
ORDER = {AGENT: 0, BALANCER: 2, GATEWAY: 3}
LOCAL = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - where to ask, not where to listen
WORDS = 500  # of a journal, in a message


class UnprovenError(Exception):
    """What the new build did not do."""


@dataclass(frozen=True)
class Pace:
    """Seconds: for a restart; until what was restarted answers; with nothing amiss at the end; between two looks."""

    restart: float = 90.0
    answer: float = 10.0
    steady: float = 2.5
    look: float = 0.2


@dataclass(frozen=True)
class Place:
    """The link, absolute, and the root of the server's other files."""

    link: Path
    root: Path = Path("/")
    pace: Pace = field(default_factory=Pace)

    @property
    def environments(self) -> Path:
        return self.link.with_name(f"{self.link.name}s")

    def read(self, name: str) -> dict[str, Any]:
        """A configuration of ours; empty where there is none."""
        try:
            return tomllib.loads((self.root / "etc/dsops" / name).read_text())
        except (OSError, ValueError):
            return {}

    def find_memory(self) -> Path | None:
        """Where the gateway keeps an operator's drain; None on a server without a gateway."""
        name = self.read("gateway.toml").get("state_file")
        return self.root / str(name).lstrip("/") if name else None


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit. waked: a socket of its own starts it, and it may end when nobody asks it."""

    name: str
    state: str
    pid: int = 0
    restarts: int = 0
    waked: bool = False

    @property
    def runs(self) -> bool:
        return self.state in {"active", "reloading"}

    @property
    def is_well(self) -> bool:
        """Also when it rests. One that waits for its next start is `activating`."""
        return self.runs or (self.waked and self.state in {"inactive", "deactivating"})


@dataclass(frozen=True)
class Health:
    """What a gateway says of itself; status 0: nothing."""

    status: int = 0
    phase: str = ""
    reason: str = ""

    @property
    def drained(self) -> bool:
        return self.phase == "drained"


@dataclass
class Work:
    """One turn of a server: what was there before, and what was restarted so far."""

    place: Place
    units: tuple[Unit, ...]
    health: Health
    memory: bytes | None
    done: list[Unit] = field(default_factory=list)


def upgrade(place: Place, target: Path) -> None:
    """Turns the link to `target`, restarts what runs from it, and proves it. Raises UnprovenError: all was put back."""
    old, turned = place.link.readlink(), place.link.lstat().st_mtime_ns
    if old == target and (target / PROVEN).exists():
        return  # by an earlier one, which was waited for
    work = look(place)
    try:
        turn(place.link, target)
        renew(work, target)
    except (UnprovenError, OSError) as error:
        back = old if old != target else find_proven(place, target)
        raise UnprovenError(f"{error}\n{put_back(work, back, turned=turned)}") from error
    (target / PROVEN).touch()


def look(place: Place) -> Work:
    """The server as it is."""
    units = [unit for unit in read_units() if unit.state != "inactive" or unit.waked]
    memory = place.find_memory()
    kept = memory.read_bytes() if memory and memory.is_file() else None
    return Work(place, tuple(units), read_health(place), kept)


def renew(work: Work, target: Path) -> None:
    """Restarts the services, each proven before the next; then nothing may be amiss for a while."""
    services = [unit for unit in work.units if unit.name.endswith(".service")]
    for unit in sorted(services, key=lambda unit: ORDER.get(unit.name, 1)):
        work.done.append(unit)
        restart(work.place, unit)
        prove(work, target)
    if work.done:
        watch(work)
        prove(work, target)


def watch(work: Work) -> None:
    """A while in which nothing that was restarted may stop."""
    end = time.monotonic() + work.place.pace.steady
    while time.monotonic() < end:
        time.sleep(work.place.pace.look)
        check_units(work)


def restart(place: Place, unit: Unit) -> None:
    """Restarts a service; one that was not well before may stay down."""
    run(["systemctl", "reset-failed", unit.name])  # also counts its restarts from 0
    if run(["systemctl", "restart", unit.name], seconds=place.pace.restart) and unit.is_well:
        raise UnprovenError(f"{unit.name} does not start{tell_journal(unit.name)}")


def prove(work: Work, target: Path) -> None:
    """Waits until what was restarted last does its work from `target`."""
    last = work.done[-1]
    if last.waked:
        watch(work)  # it has no door to ask, and is no use to the gateway if it dies
    if last.runs and last.name in DOORS:
        wait(work, lambda: find_silence(work.place, last.name))
    if last.runs and last.name == AGENT:
        wait(work, Ticks(work.place, find_version(target)).find_problem)
    if last.runs and last.name == GATEWAY:
        wait(work, lambda: find_ill(work.health, read_health(work.place)))
    wait(work, lambda: find_foreign(work, target))


def wait(work: Work, find_problem: Callable[[], str]) -> None:
    """Until there is no problem. Raises UnprovenError with it: in time, or at once when a unit died of it."""
    end = time.monotonic() + work.place.pace.answer
    while problem := find_problem():
        check_units(work)
        if time.monotonic() > end:
            raise UnprovenError(f"{problem} ({work.place.pace.answer:g} s){tell_journal(work.done[-1].name)}")
        time.sleep(work.place.pace.look)


def check_units(work: Work) -> list[Unit]:
    """The restarted services that run. Raises UnprovenError when one that was well before is not.

    A socket counts too: systemd gives it up when its service dies again and again.
    """
    now = {unit.name: unit for unit in read_units()}
    for unit in work.units:
        found = now.get(unit.name, unit)
        is_touched = unit in work.done or unit.name.endswith(".socket")
        # Restarts are counted from ours; before it, a service may have had some in its life.
        if is_touched and unit.is_well and not (found.is_well and found.restarts == 0):
            raise UnprovenError(f"{unit.name} does not stay up{tell_journal(unit.name)}")
    return [now[unit.name] for unit in work.done if unit.name in now and now[unit.name].runs]


def find_silence(place: Place, unit: str) -> str:
    """Whether a daemon does not answer."""
    return "" if fetch(f"http://{find_door(place, unit)}/metrics")[0] == 200 else f"{unit} does not answer"


@dataclass
class Ticks:
    """Whether the agent is of this version, and goes on observing: one look may be at what it saw first."""

    place: Place
    version: str
    first: object = None

    def find_problem(self) -> str:
        status, body = fetch(f"http://{find_door(self.place, AGENT)}/v1/status")
        said = parse_json(body) if status == 200 else {}
        if not said:
            return "the agent shows no status"
        if self.version and said.get("dsops_version", self.version) != self.version:
            return f"the agent says that it is dsops {said['dsops_version']}, not {self.version}"
        self.first = self.first or said.get("observed_at")
        return "" if said.get("observed_at") != self.first else "the agent answers, but observes nothing new"


def find_ill(before: Health, now: Health) -> str:
    """What a gateway does worse than before."""
    if now.drained != before.drained:
        return f"the gateway is {'drained now' if now.drained else 'not drained any more'}: {now.reason or now.phase}"
    if before.status == 200 and now.status != 200:
        return f"the gateway was well, and is not: {now.phase} {now.reason}"
    return ""


def find_foreign(work: Work, target: Path) -> str:
    """Which restarted process has files of another environment than `target` open."""
    for unit in check_units(work):
        try:
            maps = (work.place.root / f"proc/{unit.pid}/maps").read_text()
        except OSError:
            return f"{unit.name} has no process"
        ours = [line.split(None, 5)[-1] for line in maps.splitlines() if f" {work.place.environments}/" in line]
        if not all(path.startswith(f"{target}/") for path in ours):
            return f"{unit.name} still runs another build"
    return ""


def put_back(work: Work, back: Path | None, *, turned: int) -> str:
    """Leads the link to `back` and restarts what was restarted; what came of it, in words."""
    if back is None:
        return "nothing was put back: there is no older build here that was proven"
    place, done = work.place, list(work.done)
    turn(place.link, back)
    # It leads where it led: for whoever compares times (roles/ops/units.py) nothing is new.
    os.utime(place.link, ns=(turned, turned), follow_symlinks=False)
    memory = place.find_memory()
    if memory and work.memory is not None and memory.read_bytes() != work.memory:
        memory.write_bytes(work.memory)
    # Traffic first, and each for itself: one that stays down must not keep the others down.
    problems = [problem for unit in reversed(done) if (problem := try_again(work, unit, back))]
    for unit in work.units:
        if unit.name.endswith(".socket") and unit.runs:
            run(["systemctl", "start", unit.name])
    if problems:
        return f"put back to {back.name}, but that does not run as before: {'; '.join(problems)}"
    return f"put back to {back.name}: {' '.join(unit.name for unit in done) or 'all'} as before"


def try_again(work: Work, unit: Unit, back: Path) -> str:
    """Restarts one service from the older build; what it does not do then."""
    alone = Work(work.place, (unit,), work.health, work.memory, done=[unit])
    try:
        restart(work.place, unit)
        prove(alone, back)
        watch(alone)
    except UnprovenError as error:
        return str(error)
    return ""


def find_proven(place: Place, target: Path) -> Path | None:
    """The build to go back to, where an upgrade to `target` was cut off: the newest other one that was proven."""
    others = [folder for folder in place.environments.glob("*") if folder != target and (folder / PROVEN).exists()]
    return max(others, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def turn(link: Path, target: Path) -> None:
    """Makes the link lead to `target`, at once and for good."""
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
    folder = os.open(link.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def find_version(target: Path) -> str:
    """The version of dsops in an environment; empty where it does not say."""
    found = next(target.glob("lib/python3*/site-packages/dsops-*.dist-info"), None)
    return found.name.removesuffix(".dist-info").removeprefix("dsops-") if found else ""


def read_units() -> list[Unit]:
    """All of ours that systemd has loaded and that run on: one that does something once at boot has no process."""
    keys = "Id,Type,ActiveState,MainPID,NRestarts,TriggeredBy"
    words = ["systemctl", "show", "-p", keys, "dsops-*.service", "dsops-*.socket"]
    return parse_units(subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout)


def parse_units(said: str) -> list[Unit]:
    """From what `systemctl show` prints of several units."""
    tables = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n")]
    return [parse_unit(table) for table in tables if table.get("Id") and table.get("Type") != "oneshot"]


def parse_unit(table: dict[str, str]) -> Unit:
    """From systemd's properties."""
    return Unit(
        name=table["Id"],
        state=table.get("ActiveState", ""),
        pid=int(table.get("MainPID") or 0),
        restarts=int(table.get("NRestarts") or 0),
        waked=".socket" in table.get("TriggeredBy", ""),
    )


def find_door(place: Place, unit: str) -> str:
    """host:port at which a daemon answers on this server."""
    name, key, default = DOORS[unit]
    host, _, port = str(place.read(name).get(key, default)).rpartition(":")
    return f"{LOCAL.get(host, host)}:{port}"


def read_health(place: Place) -> Health:
    """From the gateway's admin port, which answers while the node is drained, and says so."""
    status, body = fetch(f"http://{find_door(place, GATEWAY)}/healthz")
    said = parse_json(body)
    return Health(status, str(said.get("phase", "")), str(said.get("reason", "")))


def fetch(url: str) -> tuple[int, bytes]:
    """(status, body); status 0 when nobody answers. No proxy of this account is asked."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, ValueError):
        return 0, b""


def parse_json(body: bytes) -> dict[str, Any]:
    """An object, or an empty one."""
    with suppress(ValueError):
        said = json.loads(body)
        return said if isinstance(said, dict) else {}
    return {}


def run(words: list[str], *, seconds: float = 20) -> int:
    """A program's exit status; 124 when it did not end."""
    try:
        return subprocess.run(words, capture_output=True, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        return 124


def tell_journal(unit: str) -> str:
    """The last words of a unit, each line behind a bar."""
    run(["journalctl", "--sync"])  # it may just have died: what it said is on its way still
    words = ["journalctl", "-u", unit, "-n", "8", "-o", "cat", "--no-pager"]
    said = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=20, check=False).stdout
    return "".join(f"\n  | {line[:160]}" for line in said.strip()[-WORDS:].splitlines())


@contextmanager
def hold(lock: Path) -> Iterator[None]:
    """One at a time: what a killed deploy started goes on by itself, and is waited for."""
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Exit 0: the new build runs. Exit 1: it does not, and standard error says why and what was put back."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    link, target = map(Path, sys.argv[1:3])
    try:
        with hold(Path("/run/lock/dsops-upgrade.lock")):
            upgrade(Place(link), target)
    except UnprovenError as error:
        sys.exit(f"the new dsops ({target.name}) was not proven: {error}")


# Last, so that half a file, of a connection that broke off, does nothing.
if __name__ == "__main__":
    main()
