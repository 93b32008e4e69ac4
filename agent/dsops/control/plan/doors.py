"""What an apply does to servers, each by the door that an operator would use: a failure is a sentence."""

import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click

from dsops.control.cli.deploy import render_command, run_told
from dsops.control.fleet.inventory import Fleet
from dsops.control.fleet.options import who
from dsops.control.fleet.ssh import run_node
from dsops.control.fleet.view import read_fleet, takes_traffic
from dsops.control.plan.reboot import Pace, ask_as_root, read_asked, reboot
from dsops.core.errors import DsopsError
from dsops.core.status import Condition, NodeStatus

ANSWER = 3.0  # seconds for an agent
DRAIN = 120.0  # for requests in flight
VERIFY = 1800.0
LOOK = 1.0
WELL = {Condition.OK, Condition.DEGRADED}


class Doors(Protocol):
    """Each returns why it failed, or nothing."""

    def see(self) -> frozenset[str]:
        """The servers that serve now."""

    def drain(self, name: str) -> str: ...

    def undrain(self, name: str) -> str: ...

    def run(self, wave: Sequence[str]) -> str: ...

    def find_reboots(self, name: str) -> dict[str, str]:
        """role -> why it asks for one. Raises DsopsError when the server cannot be asked."""

    def reboot(self, name: str) -> str: ...

    def verify(self, wave: Sequence[str]) -> str: ...

    def wait_well(self, wave: Sequence[str]) -> str: ...

    def wait_serving(self, names: Collection[str]) -> str: ...


@dataclass(frozen=True)
class RealDoors:
    """wait: seconds until a server serves again after its wave."""

    root: Path
    fleet: Fleet
    reason: str
    pace: Pace
    wait: float = 300.0

    def see(self) -> frozenset[str]:
        """gpu servers that take traffic; of the others, those whose agent says that they are well."""
        seen = read_fleet(self.fleet, timeout=ANSWER)
        return frozenset(one.server.name for one in seen if one.value and serves(one.value, role=one.server.role))

    def drain(self, name: str) -> str:
        words = ["drain", "--reason", self.reason, "--who", who(), "--wait", f"{DRAIN:g}"]
        return self._ask_node(name, words, timeout=DRAIN + 15)

    def undrain(self, name: str) -> str:
        return self._ask_node(name, ["undrain", "--who", who()], timeout=15)

    def run(self, wave: Sequence[str]) -> str:
        """The very line that `dsops deploy` runs, and its words."""
        argv = render_command(self.root, self.fleet.path, limit=tuple(wave), dry=False, verbose=0)
        click.echo(f"  [$ {shlex.join(argv)}]")
        code = run_told(argv)
        return f"pyinfra ended with {code}, its words are above" if code else ""

    def find_reboots(self, name: str) -> dict[str, str]:
        return read_asked(ask_as_root(self.fleet, self.fleet.get_server(name)))

    def reboot(self, name: str) -> str:
        try:
            seconds = reboot(name, ask_as_root(self.fleet, self.fleet.get_server(name)), pace=self.pace)
        except DsopsError as error:
            return f"{error}; {error.mend}"
        click.echo(f"  {name}: came back after {seconds:.0f} s")
        return ""

    def verify(self, wave: Sequence[str]) -> str:
        """`dsops verify` of these servers; what it says is shown when it is not content."""
        words = ["verify", "--inventory", str(self.fleet.path), "--root", str(self.root)]
        words += [word for name in wave for word in ("--limit", name)]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "dsops", *words],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=VERIFY,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end after {VERIFY:g} s: dsops {' '.join(words)}"
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        click.echo(f"  verify: {lines[-1] if lines else done.stderr.strip()[-300:]}")
        if done.returncode:
            click.echo(done.stdout[-6000:] + done.stderr[-2000:])
        return f"`dsops {' '.join(words)}` is not content, its words are above" if done.returncode else ""

    def wait_well(self, wave: Sequence[str]) -> str:
        """Until the agents say so; one whose node is drained says maintenance."""
        end = time.monotonic() + self.wait
        while ill := self._find_ill(wave):
            if time.monotonic() > end:
                return f"after {self.wait:g} s {'; '.join(f'{name} is {said}' for name, said in ill.items())}"
            time.sleep(LOOK)
        return ""

    def _find_ill(self, wave: Sequence[str]) -> dict[str, str]:
        seen = {one.server.name: one for one in read_fleet(self.fleet, timeout=ANSWER) if one.server.name in wave}
        words = {name: one.value.condition.value if one.value else one.reason for name, one in seen.items()}
        return {name: said for name, said in words.items() if said not in {*WELL, Condition.MAINTENANCE}}

    def wait_serving(self, names: Collection[str]) -> str:
        end = time.monotonic() + self.wait
        while missing := sorted(set(names) - self.see()):
            if time.monotonic() > end:
                return f"{', '.join(missing)} served before, and does not after {self.wait:g} s; see `dsops status`"
            time.sleep(LOOK)
        return ""

    def _ask_node(self, name: str, words: Sequence[str], *, timeout: float) -> str:
        try:
            run_node(self.fleet, self.fleet.get_server(name), words, timeout=timeout)
        except DsopsError as error:
            return str(error)
        return ""


def serves(status: NodeStatus, *, role: str) -> bool:
    """Whether a server does what it is for."""
    return takes_traffic(status) if role == "gpu" else status.condition in WELL
