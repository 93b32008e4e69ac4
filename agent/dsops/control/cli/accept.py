"""`dsops accept`: measures gpu servers, judges them, and gives those that are sound their birth certificate."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from dsops.control.accept import shelf
from dsops.control.accept.page import render_page
from dsops.control.accept.report import local_time, render_certificate, render_changes, render_outcomes, to_data
from dsops.control.accept.run import Accepted, Wish, accept_all
from dsops.control.bundle.sign import SITE_NAMESPACE, Signer, get_signer
from dsops.control.cli.release.options import FOLDER, NODES
from dsops.control.cli.release.passport import choose_folder
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.fleet.parallel import Outcome
from dsops.control.fleet.releases import choose_servers
from dsops.control.progress import Steps
from dsops.core.accept.certificate import Certificate
from dsops.core.accept.compare import compare, find_swapped
from dsops.core.accept.judge import Verdict
from dsops.core.errors import DsopsError

FAILED, NOBODY_KNOWS = 1, 2


@click.command()
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write the page, one offline file.")
@click.option("--json", "as_json", is_flag=True, help="The certificates as one JSON object, for machines.")
@click.option("--force", is_flag=True, help="Keep what did not pass as well, and let it count; with --reason.")
@click.option("--reason", default="", help="Why it is forced; stands in the certificate and in the node's audit.")
@click.option("--while-serving", is_flag=True, help="Only look at what disturbs nobody; makes no certificate.")
@click.option("--compare", "compares", is_flag=True, help="Put two certificates side by side: NODE, NODE~1 or a file.")
@click.option("--show", is_flag=True, help="Show the certificates that are kept here, and measure nothing.")
@click.option("--signer", type=FOLDER, help="The folder with the signing key. Default: build/signer, or the lab's.")
@state_option
@inventory_option
def accept(
    nodes: tuple[str, ...],
    *,
    html: Path | None,
    as_json: bool,
    force: bool,
    reason: str,
    while_serving: bool,
    compares: bool,
    show: bool,
    signer: Path | None,
    state: Path,
    inventory: Path,
) -> None:
    """Measure NODES, or all gpu servers, all at once, and give each one that is sound its signed certificate.

    Memory, copies, products, peers, host, sums over all GPUs, counters before and after, the store's disk, the network:
    each figure against its floor and against the fleet's median. Takes a minute or two and the whole of the GPUs, so
    the nodes must not serve. Where the inventory says store_certificate = "required", no release comes in without one.

    Exit status: 0 all are accepted, 1 a node failed, 2 a node could not be measured or judged.
    """
    check_words(force=force, reason=reason, light=while_serving, compares=compares, show=show)
    fleet = get_fleet(inventory)
    folder = shelf.find_folder(state, fleet)
    if compares:
        echo_compared(fleet, nodes, folder=folder)
        return
    if show:
        servers = choose_servers(fleet, nodes)
        held = [shelf.get_certificate(fleet, server.name, folder=folder) for server in servers]
        echo_held(held, as_json=as_json)
        write_page(html, held, fleet)
        return
    servers = choose_servers(fleet, nodes)
    wish = Wish(who(), force=reason if force else "", is_light=while_serving)

    def find_signer(server: Server) -> Signer:
        namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
        return get_signer(signer or choose_folder(fleet, namespace), namespace=namespace)

    with Steps(Console(stderr=True)) as steps:
        steps.start(f"measuring {', '.join(server.name for server in servers)} (a minute or two)")
        outcomes = accept_all(fleet, servers, wish, folder=folder, find_signer=find_signer)
    made = [outcome.value.certificate for outcome in outcomes if outcome.value]
    click.echo(json.dumps(to_data(outcomes)) if as_json else render_outcomes(outcomes, is_light=while_serving))
    write_page(html, made, fleet)
    raise SystemExit(find_code(outcomes))


def check_words(*, force: bool, reason: str, light: bool, compares: bool, show: bool) -> None:
    """Raises DsopsError when they do not go together."""
    if force and not reason.strip():
        raise DsopsError("--force wants a reason", where="--reason", mend='--force --reason "a GPU is on order"')
    if reason and not force:
        raise DsopsError("--reason says why something is forced", where="--reason", mend="add --force, or leave it out")
    if sum((force, light, compares, show)) > 1:
        raise DsopsError("only one of --force, --while-serving, --compare and --show", mend="one after the other")


def find_code(outcomes: Sequence[Outcome[Accepted]]) -> int:
    """1 when a node failed, else 2 when one could not be judged or did not take its certificate, else 0."""
    made = [outcome.value.certificate for outcome in outcomes if outcome.value]
    if any(one.verdict is Verdict.FAIL and not one.forced for one in made):
        return FAILED
    lost = any(outcome.value is None or outcome.value.why for outcome in outcomes)
    return NOBODY_KNOWS if lost or not all(one.is_good for one in made) else 0


def echo_compared(fleet: Fleet, words: Sequence[str], *, folder: Path) -> None:
    """Two certificates side by side."""
    if len(words) != 2:
        mend = "`dsops accept --compare gpu1 gpu2`; gpu1~1 is the one before gpu1's last"
        raise DsopsError(f"--compare wants two certificates, not {len(words)}", mend=mend)
    first, second = (shelf.get_certificate(fleet, word, folder=folder) for word in words)
    swapped = find_swapped(first, second)
    click.echo(render_changes(compare(first, second), names=(words[0], words[1]), swapped=swapped))


def echo_held(held: Sequence[Certificate], *, as_json: bool) -> None:
    """What is kept here."""
    if as_json:
        click.echo(json.dumps([json.loads(one.render()) for one in held]))
        return
    click.echo("\n\n".join(render_certificate(one, local=local_time) for one in held))


def write_page(html: Path | None, made: Sequence[Certificate], fleet: Fleet) -> None:
    """Whole or not at all."""
    if html is None:
        return
    if not made:
        raise DsopsError("no node was measured, so there is nothing to show", where=str(html))
    title = made[0].node if len(made) == 1 else f"{fleet.path.stem}: {len(made)} nodes"
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        new = html.with_name(f".{html.name}.new")
        new.write_text(render_page(made, title=title, local=local_time))
        new.replace(html)
    except OSError as error:
        mend = "another --html; `dsops accept --show --html FILE` writes it without measuring again"
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(html), mend=mend) from error
    click.echo(f"page: {html}", err=True)
