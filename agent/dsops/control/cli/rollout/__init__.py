"""`dsops rollout`: brings a release over the fleet, step by step. One file for each verb, or for those that are one."""

import click

from dsops.control.cli.rollout.reset import reset
from dsops.control.cli.rollout.show import list_rollouts, status
from dsops.control.cli.rollout.start import start
from dsops.control.cli.rollout.steer import abort, pause, resume

__all__ = ["rollout"]


@click.group()
def rollout() -> None:
    """Bring a release over the fleet: one node with 1 % first, then more, as long as nothing speaks against it.

    A rollout is run from here and is safe without here: every node watches its own canary and takes it back by
    itself. When this machine dies nothing goes further, that is all; `dsops rollout resume` goes on.
    """


for _verb in (start, status, list_rollouts, pause, resume, abort, reset):
    rollout.add_command(_verb)
