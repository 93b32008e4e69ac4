"""Makes the brain's effects real: links by rename, slots by systemctl. Each may be done twice."""

from collections.abc import Callable
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.core.events import Effect, Lanes, Link, Start, Stop
from dsops.node.run import Done, Runner
from dsops.node.store.pointers import Pointers

# A slot that gets another release serves nobody; what does not end by itself in so many seconds is killed.
STOP_SECONDS = 5.0
# After a kill the kernel frees a GPU's memory, which takes a moment.
KILL_SECONDS = 20.0
# What is in flight at a restart may end in so many seconds; a wedged engine would take its minute to be killed.
RESTART_GRACE_SECONDS = 10.0


def unit_of(slot: str) -> str:
    """systemd's name of a slot."""
    return f"triton@{slot}.service"


@dataclass(frozen=True)
class Hands:
    """What effects act with. clock: monotonic seconds, as systemd counts them."""

    pointers: Pointers
    run: Runner
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    log: Callable[[str], None]

    def do(self, effect: Effect) -> str:
        """Does it; returns what was done in words. Raises DsopsError when it cannot be."""
        match effect:
            case Link(slot, release):
                self.pointers.set_slot(slot, release)
                return f"slot {slot} holds {release or 'nothing'}"
            case Lanes(slot, share, other):
                self.pointers.set_lanes(slot, share=share, other=other)
                rest = f", the others to slot {other}" if other else ""
                return f"lanes of {share} % lead to slot {slot}{rest}" if rest else f"lanes lead to slot {slot}"
            case Start(slot):
                self._start(unit_of(slot))
                return f"slot {slot} starts"
            case Stop(slot, wait):
                self._stop(unit_of(slot))
                if wait:
                    self._await_end(unit_of(slot))
                return f"slot {slot} stops"

    def find_warm(self, slots: tuple[str, ...], *, seconds: float) -> tuple[str, ...]:
        """Those whose Triton has run for so long without a new start."""
        return tuple(slot for slot in slots if self._read_uptime(slot) >= seconds)

    def ask_restart(self, unit: str) -> None:
        """Queues a restart; does not wait for it."""
        self._systemctl("reset-failed", unit)
        self._get("restart", "--no-block", unit)

    def wait_restart(self, unit: str, *, seconds: float) -> None:
        """Until systemd has done it. Raises DsopsError when it failed or takes longer."""
        began = self.clock()
        while (shown := self._show(unit, "ActiveState,Job")).get("Job", "0") not in ("", "0"):
            hangs = shown.get("ActiveState") == "deactivating" and self.clock() - began >= RESTART_GRACE_SECONDS
            if hangs:
                self._systemctl("kill", "--signal=KILL", unit)
            if self.clock() - began >= seconds:
                raise DsopsError(f"{unit} did not restart within {seconds:g} s", mend=f"`dsops node logs {unit}`")
            self.sleep(0.1)
        if shown.get("ActiveState") not in ("active", "activating", "reloading"):
            raise DsopsError(
                f"{unit} is {shown.get('ActiveState')} after its restart", mend=f"`dsops node logs {unit}`"
            )

    def _start(self, unit: str) -> None:
        enabled = self._systemctl("enable", "--no-reload", "--quiet", unit)
        if enabled.code:
            # It matters at the next boot only, and `dsops verify` sees it; the slot must start now.
            self.log(f"{unit} could not be enabled: {enabled.stderr.strip()}")
        self._await_stop(unit)
        self._systemctl("reset-failed", unit)
        self._get("restart", "--no-block", unit)

    def _stop(self, unit: str) -> None:
        disabled = self._systemctl("disable", "--no-reload", "--quiet", unit)
        if disabled.code:
            self.log(f"{unit} could not be disabled: {disabled.stderr.strip()}")
        self._get("stop", "--no-block", unit)

    def _await_end(self, unit: str) -> None:
        """Until nothing of it holds memory any more. Raises DsopsError when even the kill does not end it."""
        self._await_stop(unit)
        end = self.clock() + KILL_SECONDS
        while (state := self._show(unit, "ActiveState").get("ActiveState")) in ("active", "deactivating", "reloading"):
            if self.clock() >= end:
                mend = f"`dsops node logs {unit}`: a process that cannot be killed waits for its driver or disk"
                raise DsopsError(f"{unit} is still {state}, so its memory is not free", mend=mend)
            self.sleep(0.05)

    def _await_stop(self, unit: str) -> None:
        """So that the time for loading is not spent on the end of a Triton that hangs."""
        end = self.clock() + STOP_SECONDS
        while self._show(unit, "ActiveState").get("ActiveState") == "deactivating":
            if self.clock() >= end:
                self._systemctl("kill", "--signal=KILL", unit)
                return
            self.sleep(0.05)

    def _read_uptime(self, slot: str) -> float:
        """Seconds since the slot's Triton started; -1 when it does not run."""
        shown = self._show(unit_of(slot), "ActiveState,ActiveEnterTimestampMonotonic")
        since = shown.get("ActiveEnterTimestampMonotonic", "")
        if shown.get("ActiveState") != "active" or not since.isdecimal():
            return -1.0
        return self.clock() - int(since) / 1e6

    def _show(self, unit: str, keys: str) -> dict[str, str]:
        done = self._systemctl("show", "-p", keys, unit)
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def _get(self, *words: str) -> None:
        done = self._systemctl(*words)
        if done.code:
            what = f"systemd refuses `systemctl {' '.join(words)}`: {(done.stderr or done.stdout).strip()[-500:]}"
            raise DsopsError(what, mend="`systemctl status`; it is done again by the next `recover`")

    def _systemctl(self, *words: str) -> Done:
        return self.run(["systemctl", *words], timeout=20)
