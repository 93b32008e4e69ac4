"""Applies a plan: each wave through its gates, written down at every step, stopped at the first that fails."""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dsops.control.plan.doors import Doors
from dsops.control.plan.keep import Notes
from dsops.core.dry import Change, find_differences
from dsops.core.errors import DsopsError
from dsops.core.gates import ORDER, Gate, Progress, begin, step
from dsops.core.plan import Plan, find_out, find_reboots
from dsops.core.waves import Live, Wave, find_obstacle, make_waves

LOCK = Path("/run/lock/dsops-apply.lock")
AGAIN = "`dsops plan` makes a new one"


@dataclass(frozen=True)
class Orders:
    """What the operator said. asked: servers of a pool at once. outage: the last one of a pool may go too.

    quick: it is enough that the agents say that all is well.
    """

    asked: int | None = None
    reboots: bool = False
    outage: bool = False
    quick: bool = False


@dataclass
class Run:
    """One apply. waiting: server -> the roles that still ask for a reboot there."""

    plan: Plan
    orders: Orders
    doors: Doors
    notes: Notes
    tell: Callable[[str], None]
    served: frozenset[str] = frozenset()
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def go(self, done: frozenset[str]) -> Progress:
        """Through all the waves. done: servers that are as planned already."""
        waves = self.make_waves()
        self.served = self.doors.see() | set(self.notes.noted.drained)
        progress, since = begin(waves, done), time.monotonic()
        while not progress.is_over:
            if progress.gate is Gate.ROOM:
                self.tell(f"wave {progress.number + 1} of {len(waves)}: {', '.join(progress.wave)}")
            why = self.pass_gate(progress)
            if progress.gate is ORDER[-1] and not why:
                self.tell(f"  {', '.join(progress.wave)}: as planned ({time.monotonic() - since:.0f} s so far)")
            progress = step(progress, why=why)
            if why:
                self.notes.add(f"stopped at {progress.gate} of {', '.join(progress.wave)}: {why}")
        return progress

    def make_waves(self) -> tuple[Wave, ...]:
        """The plan's, or others where the operator wants more or fewer servers at once."""
        changed = {server.name for server in self.plan.changed}
        return make_waves(self.plan.fleet, changed, asked=self.orders.asked or self.plan.asked)

    def pass_gate(self, progress: Progress) -> str:
        """Does what the gate at hand asks for; why it failed."""
        gates: Mapping[Gate, Callable[[tuple[str, ...]], str]] = {
            Gate.ROOM: self.find_room,
            Gate.DRAIN: self.drain,
            Gate.RUN: self.run,
            Gate.REBOOT: self.reboot,
            Gate.WELL: self.doors.wait_well,
            Gate.ADMIT: self.admit,
            Gate.VERIFY: lambda wave: self.verify(wave, progress),
        }
        return gates[progress.gate](progress.wave)

    def find_room(self, wave: tuple[str, ...]) -> str:
        """Whether enough others serve."""
        return self._find_obstacle([name for name in wave if self.is_out(name)])

    def _find_obstacle(self, out: list[str]) -> str:
        live = Live(self.served, self.doors.see())
        asked = self.orders.asked or self.plan.asked
        return find_obstacle(self.plan.fleet, out, live, asked=asked, outage=self.orders.outage)

    def is_out(self, name: str) -> bool:
        """Whether a server serves nothing in its wave."""
        reboots = self.orders.reboots and bool(find_reboots(self.plan, self.plan.get_server(name)))
        return reboots or bool(find_out(self.plan, name))

    def drain(self, wave: tuple[str, ...]) -> str:
        """The gpu servers that will be out. One that does not serve, or that a person has drained, is left alone."""
        serving = self.doors.see()
        gpu = {member.name for member in self.plan.fleet if member.role == "gpu"}
        drained: list[str] = []
        for name in [one for one in wave if one in gpu & serving and self.is_out(one)]:
            if why := self._drain(name):
                self._undrain(tuple(drained))
                return why
            drained.append(name)
        return ""

    def _drain(self, name: str) -> str:
        """Noted before it is done, so that a killed apply's drain is known to be ours."""
        self.notes.set_drained(tuple(dict.fromkeys([*self.notes.noted.drained, name])))
        self.tell(f"  {name}: drain")
        if why := self.doors.drain(name):
            self._undrain((name,))
            return why
        return ""

    def _undrain(self, names: tuple[str, ...]) -> str:
        for name in names:
            self.tell(f"  {name}: undrain")
            if why := self.doors.undrain(name):
                return why
            self.notes.set_drained(tuple(one for one in self.notes.noted.drained if one != name))
        return ""

    def run(self, wave: tuple[str, ...]) -> str:
        self.notes.add(f"begins with {', '.join(wave)}", begun=wave)
        return self.doors.run(wave)

    def reboot(self, wave: tuple[str, ...]) -> str:
        """One server after the other, if that is wanted; else they are only noted."""
        for name in wave:
            try:
                asked = self.doors.find_reboots(name)
            except DsopsError as error:
                return f"{name} does not say whether it wants a reboot: {error.what}"
            if not asked:
                continue
            words = ", ".join(f"{role} ({why})" if why else role for role, why in asked.items())
            if not self.orders.reboots:
                self.waiting[name] = tuple(asked)
                self.tell(f"  {name}: waits for a reboot: {words}")
            elif why := self._reboot(name, words):
                return why
        return ""

    def _reboot(self, name: str, words: str) -> str:
        """Also of a server of which the plan did not say so: an earlier deploy may have asked."""
        is_gpu = any(member.name == name and member.role == "gpu" for member in self.plan.fleet)
        if name in self.doors.see() and (why := self._find_obstacle([name]) or (self._drain(name) if is_gpu else "")):
            return why
        self.tell(f"  {name}: reboots: {words}")
        self.notes.add(f"reboots {name}: {words}")
        return self.doors.reboot(name)

    def verify(self, wave: tuple[str, ...], progress: Progress) -> str:
        """The roles' own checks. They look at other servers too, so on a fresh site they wait for its last server."""
        fresh = {server.name for server in self.plan.changed if not server.dsops}
        is_left_out = self.orders.quick or bool(fresh & set(progress.left) - set(wave))
        why = "" if is_left_out else self.doors.verify([*sorted(progress.done & fresh), *wave])
        if not why:
            self.notes.add(f"done with {', '.join(wave)}", done=wave)
        return why

    def admit(self, wave: tuple[str, ...]) -> str:
        """Lets traffic in again where we took it away, and waits until those serve that did."""
        ours = tuple(name for name in wave if name in self.notes.noted.drained)
        return self._undrain(ours) or self.doors.wait_serving({*ours, *(set(wave) & self.served)})


def check_now(
    plan: Plan, now: Mapping[str, tuple[Change, ...]], unseen: Mapping[str, str], notes: Notes
) -> frozenset[str]:
    """The servers that are done already. Raises DsopsError that names what is not as it was when the plan was made."""
    noted = notes.noted
    begun, problems, done = set(noted.begun) - set(noted.done), [], set(noted.done)
    for server in plan.servers:
        if server.name in unseen and not server.changes:
            continue
        if server.name in unseen:
            problems.append(f"{server.name}: could not be looked at: {unseen[server.name]}")
            continue
        left = now[server.name]
        if not left and server.changes and server.name not in begun:
            done.add(server.name)
        planned = () if server.name in noted.done else server.changes
        if left or server.name in begun:
            differences = find_differences(planned, left, is_begun=server.name in begun)
            problems += [f"{server.name}: {text}" for text in differences]
    if problems:
        what = "\n  ".join([f"the servers are not as they were when {plan.id} was made", *problems])
        raise DsopsError(what, mend=f"nothing was changed; {AGAIN}")
    return frozenset(done)


@contextmanager
def one_at_a_time(path: Path = LOCK) -> Iterator[None]:
    """Each wave is a deploy with the deploy's own lock; this one is held over all of them."""
    try:
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise DsopsError("another apply is running", where=str(path), mend="wait for it to end") from error
    except PermissionError as error:
        raise DsopsError("the lock cannot be opened", where=str(path), mend="apply as the user who owns it") from error
