"""`python -m dsops.node.agent --config /etc/dsops/agent.toml [--check]`."""

import asyncio
from functools import partial
from pathlib import Path

import click

from dsops.node.agent.app import build_app
from dsops.node.agent.config import AgentConfig, get_config
from dsops.node.agent.history import History
from dsops.node.agent.loop import Loop
from dsops.node.agent.serve import bind, get_notify_address, main_of, notify, serve
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.kernel import get_hints
from dsops.node.checks.rules import get_rules
from dsops.node.helper.client import acall
from dsops.node.sources.kernel_log import KernelLog
from dsops.node.store.config import read_store_config


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default="/etc/dsops/agent.toml", show_default=True)
@click.option("--check", is_flag=True, help="Only read the configuration.")
def command(path: Path, check: bool) -> None:
    """Watches this server: shows what it does, takes traffic from a slot that fails, and goes back when it must."""
    config = get_config(path)
    if check:
        click.echo(f"{path}: ok")
    else:
        asyncio.run(watch(config, where=f"{path}: listen"))


async def watch(config: AgentConfig, *, where: str) -> None:
    """Binds first: an address that is taken is said before anything else starts."""
    address = get_notify_address()
    listen = bind(config.listen, where=where)
    loop = make_loop(config)
    await loop.tick()
    ticks = loop.run_ticks(after=lambda: notify("WATCHDOG=1", address=address))
    try:
        await serve(
            build_app(loop),
            listen=listen,
            loops=[ticks, loop.run_sweeps(), loop.run_kernel()],
            ready=lambda: notify("READY=1", address=address),
        )
    finally:
        await loop.close()


def make_loop(config: AgentConfig) -> Loop:
    """The real one. Raises DsopsError when the store's rules cannot be read: it must not act by others."""
    policy = read_store_config(Path(config.store)).policy if config.slots and Path(config.store).exists() else None
    history = History(Path(config.history) if config.history else None)
    rules = get_rules(Path(config.checks))
    kernel = KernelLog(Path(config.kernel_log), wants=get_hints(rules)) if config.kernel_log else None
    return Loop(
        config,
        policy=policy,
        ask_helper=partial(acall, Path(config.helper)),
        history=history,
        checkup=Checkup(rules, log=kernel),
    )


main_of(lambda: command(standalone_mode=True))
