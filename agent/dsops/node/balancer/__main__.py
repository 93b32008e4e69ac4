"""`python -m dsops.node.balancer --config /etc/dsops/balancer.toml [--check]`."""

import asyncio
from pathlib import Path

import click

from dsops.node.agent.serve import bind, get_notify_address, main_of, notify, serve
from dsops.node.balancer.app import build_app
from dsops.node.balancer.config import BalancerConfig, get_config
from dsops.node.balancer.links import Links
from dsops.node.balancer.loop import Loop


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default="/etc/dsops/balancer.toml", show_default=True
)
@click.option("--check", is_flag=True, help="Only read the configuration.")
def command(path: Path, check: bool) -> None:
    """Takes dead and drained nodes out of nginx, and brings them back."""
    config = get_config(path)
    if check:
        click.echo(f"{path}: ok")
    else:
        asyncio.run(balance(config, where=f"{path}: listen"))


async def balance(config: BalancerConfig, *, where: str) -> None:
    """One task a node, so that a slow node delays no other."""
    address = get_notify_address()
    listen = bind(config.listen, where=where)
    loop = Loop(config, Links(Path(config.run_dir)))
    await serve(
        build_app(loop),
        listen=listen,
        loops=[loop.run_polls(node) for node in config.nodes],
        ready=lambda: notify("READY=1", address=address),
    )


main_of(lambda: command(standalone_mode=True))
