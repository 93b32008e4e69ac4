"""Options that several verbs of the local door share."""

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dsops.core.lanes import SHARES

F = TypeVar("F", bound=Callable[..., Any])
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
epoch = click.option("--epoch", type=click.IntRange(0), default=None, help="The fleet command's number.")
holder = click.option("--holder", default="", help="Who gave that number.")
share = click.option(
    "--share",
    type=click.Choice([str(one) for one in SHARES]),
    default=str(max(SHARES)),
    show_default=True,
    callback=lambda _context, _option, value: int(value),
    help="Percent of the traffic; below 100 it is a canary beside the release that serves.",
)
lines = click.option("-n", "--number", type=click.IntRange(1, 5000), default=20, show_default=True)


def person(command: F) -> F:
    """--who and --reason."""
    who = click.option("--who", default=getpass.getuser, help="Who asks; the default is this account.")
    reason = click.option("--reason", required=True, help="Why; kept and shown to whoever looks.")
    return who(reason(command))


def fleet_words(*, who: str, reason: str, epoch: int | None, holder: str) -> dict[str, Any]:
    """What goes to the helper; without a number there is no fleet command."""
    return {"who": who, "reason": reason} | ({} if epoch is None else {"epoch": epoch, "holder": holder})


def wait(default: float) -> Callable[[F], F]:
    """--wait."""
    words = "Seconds to wait until the release has its traffic."
    return click.option("--wait", type=click.FloatRange(min=0), default=default, show_default=True, help=words)
