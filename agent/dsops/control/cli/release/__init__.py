"""`dsops release`: build, bring, activate and look at releases. One file for each verb."""

import click

from dsops.control.cli.release.activate import activate
from dsops.control.cli.release.build import build
from dsops.control.cli.release.compare import compare_releases
from dsops.control.cli.release.list import list_releases
from dsops.control.cli.release.mark import confirm_bad, unmark_bad
from dsops.control.cli.release.passport import passport
from dsops.control.cli.release.push import push
from dsops.control.cli.release.show import show
from dsops.control.cli.release.tier import cool, heat

__all__ = ["release"]


@click.group()
def release() -> None:
    """Build, bring, activate and look at releases."""


MOVES = (push, activate, cool, heat, unmark_bad, confirm_bad)
for _verb in (build, *MOVES, list_releases, show, passport, compare_releases):
    release.add_command(_verb)
