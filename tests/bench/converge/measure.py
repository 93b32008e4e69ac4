"""What one run costs: seconds on the wall, CPU seconds at the operator's and on the servers, SSH logins."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dsops.lab.cgroups import branch
from dsops.lab.place import Server

from tests.bench.converge.place import Place, enter
from tests.bench.converge.tools import CHECKOUT, Tool

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
LIMIT = 1800  # seconds for one run
PATIENCE = 600


@dataclass(frozen=True)
class Cost:
    """Of one run. control, servers: CPU seconds; changed: what the tool itself says it changed."""

    wall: float
    control: float
    servers: float
    logins: int
    changed: int


class Failed(Exception):
    """A tool that did not reach the state."""


def check_machine() -> None:
    """Raises Failed where CPU time could not be told apart."""
    if not (CPUACCT / "cpuacct.usage").exists():
        raise Failed(f"CPU time is read from {CPUACCT} (control groups v1), which this machine does not have")
    if os.geteuid():
        raise Failed("the servers of the bench need root")


def measure(place: Place, tool: Tool, servers: list[Server]) -> Cost:
    """Runs a tool once, from a cold start. Waits while somebody else deploys from this machine: one at a time."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return measure_once(place, tool, servers)
        except Failed as error:
            if "another deploy is running" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(5)


def measure_once(place: Place, tool: Tool, servers: list[Server]) -> Cost:
    """Raises Failed, with what the tool said, unless it ended well. No connection of an earlier run is left."""
    logins = sum(count_logins(place, server) for server in servers)
    before = sum(read_cpu(place, server) for server in servers)
    with Group(f"dsops-bench-{os.getpid()}") as group:
        start = time.monotonic()
        code, said = _run(tool, group)
        wall = time.monotonic() - start
        after = sum(read_cpu(place, server) for server in servers)
        control = group.read_cpu()
    (tool.folder / "last.log").write_text(said)
    if code:
        raise Failed(f"{tool.name} ended with {code}:\n{said[-6000:]}")
    logins = sum(count_logins(place, server) for server in servers) - logins
    return Cost(wall, control, after - before, logins, count_changes(said))


def _run(tool: Tool, group: "Group") -> tuple[int, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "SSH_"))} | tool.env
    log = tool.folder / "running.log"  # a file: what stays behind in the background would hold a pipe open
    with log.open("w") as out:
        done = subprocess.run(
            tool.argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=CHECKOUT,
            timeout=LIMIT, check=False, preexec_fn=group.enter,
        )  # fmt: skip
    return done.returncode, log.read_text(errors="replace")


def count_changes(said: str) -> int:
    """dsops: operations that changed something, over all servers; Ansible: its `changed=`."""
    if match := re.search(r"Grand total\s+(\S+)\s+(\S+)", said):
        return 0 if match[2] == "-" else int(match[2])
    return sum(int(number) for number in re.findall(r"changed=(\d+)", said))


def read_cpu(place: Place, server: Server) -> float:
    """CPU seconds of all that ever ran in a server since it started."""
    return _read_usage(CPUACCT / branch(place.lab) / server.name)


def _read_usage(group: Path) -> float:
    return int((group / "cpuacct.usage").read_text()) / 1e9


def count_logins(place: Place, server: Server) -> int:
    """Accepted keys in the server's own log."""
    script = "journalctl --sync; journalctl -q -o cat -t sshd --no-pager | grep -c '^Accepted ' || true"
    return int(enter(place, server, script).strip() or 0)


class Group:
    """A control group around one run: it also counts what goes on in the background (ssh's shared connections)."""

    def __init__(self, name: str) -> None:
        self.path = CPUACCT / name

    def __enter__(self) -> "Group":
        self.path.mkdir()
        return self

    def enter(self) -> None:
        """To be called in the child."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def read_cpu(self) -> float:
        """CPU seconds so far."""
        return _read_usage(self.path)

    def __exit__(self, *_: object) -> None:
        """Ends what is left of the run."""
        until = time.monotonic() + 10
        while pids := (self.path / "cgroup.procs").read_text().split():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            if time.monotonic() > until:
                raise Failed(f"processes stay: {pids}")
            time.sleep(0.05)
        self.path.rmdir()
