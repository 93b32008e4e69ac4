"""Changes the driver of this server as one set, and judges each boot; every step is written down before it is done."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from dsops.core.drivers import lockset as names
from dsops.core.drivers.boots import LIMIT, Act, Outcome, Stage, State, begin, end_turn, fail_turn, judge_boot
from dsops.core.drivers.gate import Asked, Facts, Fault, judge, render
from dsops.core.errors import DsopsError
from dsops.node.driver.ask import ask_patiently
from dsops.node.driver.look import look, read_boot
from dsops.node.driver.modules import choose_kernel, install_modules
from dsops.node.driver.packages import install, prune
from dsops.node.driver.place import DriverSet, Place, write
from dsops.node.run import Runner, run

Say = Callable[[str], None]
SYNC = 600.0  # seconds


@dataclass
class Driver:
    """One server. limit: boots that may fail at the gate before it goes back."""

    place: Place = field(default_factory=Place)
    run: Runner = run
    ask: Callable[[], Asked] = ask_patiently
    say: Say = print
    limit: int = LIMIT

    def change(self, to: str) -> State:
        """To another set, at somebody's word. Raises DsopsError when it could not be, the way back then gone."""
        with self.place.locked():
            wanted = self.place.get_set(to)
            before = self.place.find_state()
            state = begin(before, to)
            old = before.current if before else ""
            self.place.keep_state(state)
            try:
                return self._turn(state, wanted, old=old)
            except DsopsError as error:
                self._recover(state, error)
                raise

    def judge_boot(self) -> Act:
        """At each boot. What must happen now: nothing, or a reboot."""
        with self.place.locked():
            state = self.place.find_state()
            if state is None:
                self.say("no driver set was ever installed here")
                return Act.NOTHING
            if state.stage is Stage.TURNING:
                return self._finish(state, "a change was cut; it is done to its end")
            outcome, faults, facts = self._look(state)
            why = render(outcome, faults)
            state, act = judge_boot(state, boot=facts.boot, outcome=outcome, why=why, limit=self.limit)
            # Counted before it is told, or acted upon: a cut from here on is a boot that has counted.
            self.place.keep_state(state)
            self._tell(state, outcome, faults, facts)
            return self._finish(state, state.says) if act is Act.TURN else act

    def _look(self, state: State) -> tuple[Outcome, tuple[Fault, ...], Facts]:
        try:
            wanted = self.place.get_set(state.current)
            facts = look(self.place, wanted, run=self.run, ask=self.ask)
        except DsopsError as error:
            boot = Facts(boot=read_boot(self.place), kernel="")
            return Outcome.UNKNOWN, (Fault("gate", f"the gate could not look: {error}", error.mend),), boot
        return *judge(wanted.lockset, facts), facts

    def _finish(self, state: State, why: str) -> Act:
        """Puts the wanted set on the disk, or the one before it; a reboot makes it live."""
        self.say(why)
        while state.stage is Stage.TURNING:
            try:
                state = self._turn(state, self.place.get_set(state.current), old="")
            except DsopsError as error:
                self.say(f"{error}")
                state = self.place.keep_state(fail_turn(state, str(error)))
        self._tell(state, Outcome.UNKNOWN, (), Facts(boot=read_boot(self.place), kernel=""))
        return Act.NOTHING if state.stage is Stage.HALTED else Act.REBOOT

    def _recover(self, state: State, error: DsopsError) -> None:
        """A change that failed at its start leaves the server with the set that it had."""
        state = self.place.keep_state(fail_turn(state, error.what))
        if state.stage is Stage.TURNING:
            self._finish(state, state.says)

    def _turn(self, state: State, wanted: DriverSet, *, old: str) -> State:
        """Idempotent: whatever was done of it before. old: the set that is being left, "" = whichever lie here."""
        self.say(f"installs {wanted.lockset.name}")
        write(self.place / names.TURNED, f"{wanted.lockset.name}\n")
        install(self.place, wanted, before=self._find_pins(old, but=wanted.lockset.name), run=self.run)
        install_modules(self.place, wanted, run=self.run)
        choose_kernel(self.place, wanted.lockset.kernel.release, run=self.run)
        # All of it, before it counts as there: half a file after a power cut would pass for a set that fails.
        self.run(["sync"], timeout=SYNC)
        state = self.place.keep_state(end_turn(state, read_boot(self.place)))
        prune(self.place, {state.current, state.previous, *state.bad})
        return state

    def _find_pins(self, old: str, *, but: str) -> dict[str, str]:
        """What other sets that lie here have pinned."""
        found: dict[str, str] = {}
        for path in sorted(self.place.sets.iterdir()):
            if path.name != but and (not old or path.name == old):
                try:
                    found |= self.place.get_set(path.name).carried.pins
                except DsopsError as error:
                    self.say(f"{error}")
        return found

    def _tell(self, state: State, outcome: Outcome, faults: tuple[Fault, ...], facts: Facts) -> None:
        """For the agent, doctor and people: what this boot showed, and what follows."""
        told = {
            "boot": facts.boot,
            "set": state.current,
            "stage": state.stage.value,
            "outcome": outcome.value,
            "says": state.says,
            "left": state.left,
            "gpus": facts.gpus,
            "faults": [asdict(fault) for fault in faults],
        }
        write(self.place / names.VERDICT, json.dumps(told, indent=1) + "\n")
        self.say(f"{outcome.value}: {state.says}")
        for fault in faults:
            self.say(f"  {fault.code}: {fault.says}" + (f"; {fault.mend}" if fault.mend else ""))
