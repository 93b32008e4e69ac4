"""`python -m dsops.node.gateway --config F [--check]`."""

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

import click
import uvloop

from dsops.core.errors import DsopsError
from dsops.node.gateway.config import load_config
from dsops.node.gateway.daemon import serve
from dsops.node.gateway.keyring import Keyring


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default="/etc/dsops/gateway.toml")
@click.option("--check", is_flag=True, help="Say whether configuration and keys are good, and end.")
def main(path: Path, check: bool) -> None:
    """The OpenAI-compatible gateway in front of Triton's slots."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        run(path, check=check)
    except DsopsError as error:
        click.echo(f"error: {error}", err=True)
        if error.mend:
            click.echo(f"  mend: {error.mend}", err=True)
        sys.exit(1)


def run(path: Path, *, check: bool) -> None:
    config = load_config(path)
    if check:
        if config.auth and config.keys_file:
            Keyring(config.keys_file)
        click.echo(f"{path}: good")
        return
    # What was imported lives forever: without this, every full collection walks through it again.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, notify_door=os.environ.get("NOTIFY_SOCKET")))


if __name__ == "__main__":
    main()
