"""How metal tests reach a guest: its power switch, its console and its boots."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.control.narrate import Narrator, Tally
from dsops.lab.metal import guest
from dsops.lab.mounts import remove_tree
from dsops.lab.place import LAB, Server
from dsops.lab.run import run

from tests.live.site import LAB as FOLDER
from tests.live.site import ROOT, dsops, ssh_to

DISKS = ("root", "nvme", "sata")
# The roles that change a machine most; all that come after them want them done.
FIRST = ("base", "storage", "swap")
BIN = Path(sys.executable).parent
SECONDS: dict[str, float] = {}
INVENTORY = Path(__file__).parents[2] / "inventory/metal.py"
__all__ = ["FOLDER", "INVENTORY", "SECONDS", "Machine", "dsops", "timed"]


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Notes how long something took, for the table at the end of the run."""
    since = time.monotonic()
    yield
    SECONDS[what] = time.monotonic() - since


@dataclass(frozen=True)
class Machine:
    """One guest of the lab."""

    name: str

    @property
    def server(self) -> Server:
        found = LAB.find_server(self.name)
        assert found
        return found

    def renew(self) -> None:
        """As if it came out of its box: fresh disks, booted."""
        self.cut_power()
        remove_tree(LAB.home(self.server).path)
        self.start()

    def start(self) -> None:
        # On a machine that only runs this, a lab left by another checkout is nobody's any more.
        take = ("--take-over",) if os.environ.get("CI") else ()
        done = dsops("lab", "up", "--metal", self.name, *take, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr

    def cut_power(self) -> None:
        """At once; what its disks had not got is lost."""
        guest.stop(LAB, self.server)

    def save(self, folder: Path) -> None:
        """Powers it off cleanly and keeps its disks as they are now."""
        done = dsops("lab", "fault", self.name, "poweroff")
        assert done.returncode == 0, done.stderr
        folder.mkdir(parents=True, exist_ok=True)
        for disk in DISKS:
            run(["cp", "--sparse=always", LAB.home(self.server).disk(disk), folder], timeout=300)

    def restore(self, folder: Path) -> None:
        """Its disks as they were saved, and booted."""
        self.cut_power()
        for disk in DISKS:
            run(["cp", "--sparse=always", folder / f"{disk}.img", LAB.home(self.server).path], timeout=300)
        self.start()

    def on(self, command: str, *, timeout: float = 120) -> str:
        """A command's output, as root. Fails the test when the command fails."""
        done = ssh_to(str(LAB.address(self.server)), command, timeout=timeout)
        assert done.returncode == 0, f"{self.name}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def boot_id(self) -> str:
        return self.on("cat /proc/sys/kernel/random/boot_id")

    def reboot(self, *, seconds: float = 300) -> None:
        """Reboots it and waits for another boot that is complete."""
        before, since = self.boot_id(), time.monotonic()
        ssh_to(str(LAB.address(self.server)), "systemctl reboot", timeout=30)
        while True:
            said = ssh_to(str(LAB.address(self.server)), "cat /proc/sys/kernel/random/boot_id", timeout=30)
            if said.returncode == 0 and said.stdout.strip() not in ("", before):
                break
            assert time.monotonic() - since < seconds, f"{self.name} did not come back within {seconds:g} s"
            time.sleep(1)
        self.on(f"timeout {seconds:g} systemctl is-system-running --wait || true", timeout=seconds + 10)

    def deploy(self, *, timeout: float = 900) -> str:
        """Runs the site on this machine. Fails the test unless it ends well; what it said."""
        done = dsops("deploy", "-i", INVENTORY, "--limit", self.name, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy_first(self, *roles: str, timeout: float = 900) -> Tally:
        """Only the first roles of the site. Fails the test unless it ends well; what was changed."""
        argv, pipe = self.first_roles(*roles), subprocess.PIPE
        done = subprocess.run(
            argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, timeout=timeout, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stdout
        narrator = Narrator()
        for line in done.stdout.splitlines():
            list(narrator.feed(line))
        list(narrator.end())
        assert narrator.tally.servers, done.stdout + done.stderr
        return narrator.tally

    def first_roles(self, *roles: str) -> list[str]:
        """The command line for it. roles: those of `FIRST` that are wanted; all of them when none is named."""
        argv = [BIN / "pyinfra", "--chdir", ROOT, "-y", "--limit", self.name]
        env = ["env", f"DSOPS_FIRST_ROLES={' '.join(roles or FIRST)}"]
        return [*env, *map(str, argv), str(INVENTORY), "tests/metal/first_roles.py"]

    def verify_first(self) -> None:
        """What these roles promise. Fails the test where one promise does not hold.

        What the inventory lets listen belongs to roles that come later, and is not there yet.
        """
        argv = [BIN / "python", "-m", "pytest", *(f"roles/{role}" for role in FIRST), "-o", "python_files=verify.py"]
        argv += ["-q", "-p", "no:cacheprovider", "--inventory", INVENTORY, "--limit", self.name]
        argv += ["-k", "not listens_for_other_machines"]
        words = list(map(str, argv))
        done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
