"""`python -m dsops.lab`: the lab's verbs without the rest of dsops."""

import sys

import click

from dsops.core.errors import DsopsError
from dsops.lab.cli import lab


def main() -> None:
    try:
        lab(prog_name="dsops lab")
    except DsopsError as error:
        click.echo(f"error: {error}", err=True)
        if error.mend:
            click.echo(f"  mend: {error.mend}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
