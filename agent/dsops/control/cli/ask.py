"""`dsops ask "question"`: one answer from the fleet, as any client gets it."""

import json
from collections.abc import Iterable
from pathlib import Path

import click

from dsops.control.fleet import chat
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.core.errors import DsopsError


@click.command()
@click.argument("question")
@click.option("--model", help="Which model; without it the first that is served.")
@click.option("--no-stream", is_flag=True, help="Wait for the whole answer.")
@click.option("--json", "as_json", is_flag=True, help="The answer's whole object, for machines.")
@click.option("--timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, help="Seconds of silence.")
@inventory_option
def ask(question: str, model: str | None, no_stream: bool, as_json: bool, timeout: float, inventory: Path) -> None:
    """Asks QUESTION through the balancer: the reasoning dimmed, then the answer."""
    endpoint = chat.get_endpoint(get_fleet(inventory))
    model = model or get_model(endpoint, timeout=timeout)
    if as_json:
        click.echo(json.dumps(chat.ask(endpoint, question, model=model, timeout=timeout), ensure_ascii=False))
    elif no_stream:
        message = chat.ask(endpoint, question, model=model, timeout=timeout)["choices"][0]["message"]
        echo_pieces([chat.Piece(message.get("reasoning_content") or "", message.get("content") or "")])
    else:
        echo_pieces(chat.stream(endpoint, question, model=model, timeout=timeout))


def get_model(endpoint: chat.Endpoint, *, timeout: float) -> str:
    """The first one. Raises DsopsError when none is served."""
    models = chat.find_models(endpoint, timeout=timeout)
    if not models:
        raise DsopsError("no model is served", where=endpoint.where, mend="`dsops status` says why")
    return models[0]


def echo_pieces(pieces: Iterable[chat.Piece]) -> None:
    """As they come. Reasoning is dimmed and ends with an empty line: told apart without colour too."""
    is_reasoning = False
    for piece in pieces:
        if piece.reasoning:
            click.secho(piece.reasoning, dim=True, nl=False)
            is_reasoning = True
        if piece.content:
            click.echo("\n\n" + piece.content.lstrip("\n") if is_reasoning else piece.content, nl=False)
            is_reasoning = False
    click.echo()
