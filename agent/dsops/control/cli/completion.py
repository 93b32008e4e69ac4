"""`dsops completion`: the shell's completion script."""

import click
from click.shell_completion import get_completion_class

from dsops.core.errors import DsopsError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script; for bash: dsops completion bash > /etc/bash_completion.d/dsops"""
    kind = get_completion_class(shell)
    if kind is None:
        raise DsopsError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "dsops", "_DSOPS_COMPLETE").source())
