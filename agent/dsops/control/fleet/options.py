"""What the verbs of the fleet share on the command line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from dsops.control.audit import keeping, who
from dsops.control.fleet.epoch import find_state_folder
from dsops.control.fleet.inventory import find_inventory, get_fleet
from dsops.core.errors import DsopsError

__all__ = ["NodeName", "get_fleet", "inventory_option", "state_option", "who"]

F = TypeVar("F", bound=Callable[..., Any])


def inventory_option(function: F) -> F:
    """`--inventory/-i`, as the parameter `inventory`, a Path to an inventory."""
    return click.option(
        "--inventory",
        "-i",
        type=click.Path(path_type=Path),
        envvar="DSOPS_INVENTORY",
        show_envvar=True,
        is_eager=True,
        callback=_fill,
        help="The inventory; without it the site's own, found from here upwards, else inventory/lab.py.",
    )(function)


def _fill(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    return value if value or ctx.resilient_parsing else find_inventory(Path.cwd())


def _keep(ctx: click.Context, _: click.Parameter, value: Path) -> Path:
    """The audit of what goes to nodes is kept there as well."""
    if not ctx.resilient_parsing:
        ctx.with_resource(keeping(value))
    return value


def state_option(function: F) -> F:
    """`--state`, as the parameter `state`: the folder where this control host keeps its place in line."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="DSOPS_STATE",
        show_envvar=True,
        default=lambda: find_state_folder(os.environ, is_root=os.geteuid() == 0),
        callback=_keep,
        show_default="/var/lib/dsops-control for root",
        help="Where this control host keeps its epochs.",
    )(function)


class NodeName(click.ParamType[str]):
    """A server's name; completes from the inventory."""

    name = "node"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002  # click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Names that begin so; none when there is no inventory: completing must never fail."""
        try:
            path = ctx.params.get("inventory") or find_inventory(Path.cwd())
            names = get_fleet(path).names
        except DsopsError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
