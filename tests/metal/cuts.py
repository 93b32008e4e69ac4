"""Cutting a deploy at a chosen moment: the machine's power, or its cable."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dsops.lab.metal import links
from dsops.lab.place import LAB
from dsops.lab.run import run

from tests.live.site import ROOT
from tests.metal.machine import Machine


def deploy_until(machine: Machine, operation: str, cut: Callable[[], object], *, after: float, patience: float) -> str:
    """Starts a deploy, and cuts `after` seconds into an operation. What it said; it must end, and not well.

    patience: seconds that it may take from the cut to its end
    """
    said: list[str] = []
    pipe = subprocess.PIPE
    argv = machine.first_roles()
    with subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as deploy:
        try:
            for line in deploy.stdout or ():
                said.append(line)
                if line.startswith("--> Starting") and line.rstrip().endswith(operation):
                    break
            assert said, "the deploy said nothing"
            assert said[-1].rstrip().endswith(operation), f"{operation} never began:\n{''.join(said)}"
            time.sleep(after)
            cut()
            rest, _ = deploy.communicate(timeout=patience)
        finally:
            deploy.kill()
    text = "".join(said) + rest
    assert deploy.returncode not in (0, -9), text
    assert "Traceback" not in text, text
    return text


@contextmanager
def plugged_in_again(machine: Machine) -> Iterator[Callable[[], object]]:
    """Gives what pulls the management cable; the machine runs on, and has its cable again afterwards."""
    name = links.front(LAB, machine.server)
    try:
        yield lambda: run(["ip", "link", "set", name, "down"])
    finally:
        run(["ip", "link", "set", name, "up"])
