"""`dsops node audit`: this server's audit chain, verified, shown, and given out for whoever keeps it elsewhere."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dsops.core.audit import Head, Report, parse_head, parse_line, render_entry, render_report
from dsops.core.errors import DsopsError
from dsops.node.cli.main import Door
from dsops.node.cli.options import as_json, lines
from dsops.node.cli.receipt import find_end
from dsops.node.store.audit import find_lag, read_head, read_lines, read_reach, read_tail, verify_chain
from dsops.node.store.config import read_store_config
from dsops.node.store.journal import journal_path, read_history

HARMED = 1
FOLLOW_SECONDS = 1.0
EVERYTHING = 1 << 40


def _parse_heads(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Head, ...]:
    try:
        return tuple(parse_head(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group()
def audit() -> None:
    """What was done on this server, by whom and why: append-only, each entry bound to the one before by its hash."""


@audit.command()
@click.option("--head", "heads", multiple=True, callback=_parse_heads, help="NUMBER:HASH that was seen before.")
@as_json
@click.pass_obj
def verify(door: Door, heads: tuple[Head, ...], as_json: bool) -> None:
    """Finds edits, cuts, other orders, copies and foreign lines; a cut end only against a --head that somebody kept.

    Exit status: 0 whole, 1 not whole, 2 it cannot be read.
    """
    root = get_root(door)
    try:
        report = verify_chain(root, anchors=heads)
    except DsopsError as error:
        click.echo(f"error: {error}\n  mend: {error.mend}", err=True)
        sys.exit(2)
    lag = find_lag(read_reach(root), read_history(journal_path(root)), at=datetime.now().timestamp())
    if as_json:
        click.echo(json.dumps(report_data(report) | {"lag": lag}))
    else:
        click.echo("\n".join([*render(report), *([lag] if lag else [])]))
    sys.exit(0 if report.is_whole else HARMED)


@audit.command()
@lines
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries above this number.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@as_json
@click.pass_obj
def tail(door: Door, number: int, after: int, follow: bool, as_json: bool) -> None:
    """The last entries, newest last; --json gives them as they are written, one a line."""
    root = get_root(door)
    for found in read_on(door, root, count=number, after=after, follow=follow):
        click.echo(found.decode() if as_json else render_entry(parse_line(found), local=render_time))


@audit.command()
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries above this number.")
@click.pass_obj
def export(door: Door, after: int) -> None:
    """All of the chain's files as they are, one after the other, or the entries above a number."""
    root = get_root(door)
    if after:
        for line in read_tail(root, count=EVERYTHING, after=after):
            click.echo(line.data)
        return
    for line in read_lines(root):
        click.echo(line.data, nl=not line.is_torn)


@audit.command()
@as_json
@click.pass_obj
def head(door: Door, as_json: bool) -> None:
    """The newest entry's number and hash, of what lasts on the disk, to be kept elsewhere."""
    found = find_end(door.helper) or read_head(get_root(door))
    click.echo(json.dumps(asdict(found)) if as_json else str(found))


def get_root(door: Door) -> Path:
    """The store's folder. Raises DsopsError."""
    return read_store_config(door.store).root


def read_on(door: Door, root: Path, *, count: int, after: int, follow: bool) -> Iterator[bytes]:
    """Lines as they lie there, oldest first; with `follow` without an end."""
    last = after
    while True:
        for line in read_tail(root, count=count, after=last):
            yield line.data
            last = parse_line(line.data).number
        if not follow:
            return
        count = EVERYTHING
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            door.sleep(FOLLOW_SECONDS)
            continue
        return


def render(report: Report) -> list[str]:
    """A line for the whole, and one for each place that is not as it was written."""
    since = f", since {render_time(report.since)}" if report.since is not None else ""
    first = f", from {report.first} on" if report.first > 1 else ""
    lines = [f"{render_report(report) if report.is_whole else 'NOT WHOLE'}: {report.entries} entries{first}{since}"]
    lines += [f"  {flaw.where}: {flaw.what}" for flaw in report.flaws]
    return [*lines, f"head: {report.head}"]


def render_time(at: float) -> str:
    """In this server's own time zone."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"


def report_data(report: Report) -> dict[str, Any]:
    """The same for machines."""
    return {"ok": report.is_whole} | asdict(report)


COMMANDS = (audit,)
