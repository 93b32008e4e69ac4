"""`dsops node why` and `dsops node history`: what this server did and why, as it remembers it."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import click

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.story import Decision, render_story
from dsops.node.cli.main import Door, get_from_agent
from dsops.node.cli.options import as_json, lines
from dsops.node.store.config import read_store_config
from dsops.node.store.journal import journal_path, scan_journal

NOTHING = 404


@click.command()
@as_json
@click.pass_obj
def why(door: Door, as_json: bool) -> None:
    """The last decision as a short story."""
    answer = get_from_agent(door, "/v1/why", allowed=NOTHING)
    data = load(answer.body, where=door.agent)
    if as_json:
        click.echo(json.dumps(data))
    elif answer.status == NOTHING:
        click.echo(data.get("reason", "nothing was decided here yet"))
    else:
        click.echo("\n".join(render_story(decode(Decision, data, where=door.agent), now=time.time())))


@click.command()
@lines
@as_json
@click.pass_obj
def history(door: Door, number: int, as_json: bool) -> None:
    """What happened, newest first; from the store's journal where the agent is silent."""
    entries = find_entries(door, number)
    if as_json:
        click.echo(json.dumps({"entries": entries}))
        return
    for entry in entries:
        at = datetime.fromtimestamp(entry["at"], UTC).astimezone()
        click.echo(f"{at:%Y-%m-%d %H:%M:%S}  {entry['kind']:<10} {entry['says']} ({entry['who']})")


def find_entries(door: Door, number: int) -> list[dict[str, Any]]:
    """From the agent, which remembers for longer, else from the journal."""
    try:
        answer = get_from_agent(door, f"/v1/history?limit={number}")
        return list(load(answer.body, where=door.agent)["entries"])
    except (DsopsError, KeyError) as error:
        click.echo(f"the agent is silent ({error}); this is the store's own journal", err=True)
    return read_entries(door, number)


def read_entries(door: Door, number: int) -> list[dict[str, Any]]:
    """The journal's last transitions, newest first."""
    scan = scan_journal(journal_path(read_store_config(door.store).root))
    for sentence in scan.spoiled:
        click.echo(f"the journal is damaged: {sentence}", err=True)
    return [
        {"at": one.at, "kind": one.event, "release": one.release, "says": one.says, "who": one.who, "seq": one.seq}
        for one in reversed(scan.records[-number:])
    ]


def load(body: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object. Raises DsopsError."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise DsopsError(
            f"the answer is not JSON ({error})", where=where, mend="is this dsops-agent's port?"
        ) from error
    if not isinstance(data, dict):
        raise DsopsError("the answer is no object", where=where, mend="is this dsops-agent's port?")
    return data


COMMANDS = (why, history)
