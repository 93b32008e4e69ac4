"""`dsops epoch`: this control host's place in line, and how to mend it after a restore."""

import json
from pathlib import Path

import click

from dsops.control.fleet.epoch import read_epoch, take_epoch
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, state_option, who
from dsops.control.fleet.releases import choose_servers
from dsops.control.fleet.ssh import run_node
from dsops.control.rollout.backup import RAISE
from dsops.control.rollout.notes import noting
from dsops.core.decode import decode
from dsops.core.state import Epoch


@click.group()
def epoch() -> None:
    """Show or mend this control host's place in line.

    Every command that moves releases takes the next number, and nodes refuse one that is older than the last they
    saw. So two control hosts cannot undo each other's work unseen.
    """


@epoch.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@state_option
@inventory_option
def show(as_json: bool, state: Path, inventory: Path) -> None:
    """Print the last number that was taken here, and this control host's name."""
    last = read_epoch(state, inventory=inventory)
    if as_json:
        click.echo(json.dumps({"number": last.number, "holder": last.holder, "inventory": str(inventory.resolve())}))
    else:
        click.echo(f"{last.number} of {last.holder}, for {inventory.resolve()}\n  kept in {state}")


@epoch.command()
@click.argument("nodes", nargs=-1, required=True, type=NodeName())
@click.option("--reason", required=True, help='Why, such as "control host restored from Monday".')
@state_option
@inventory_option
def adopt(nodes: tuple[str, ...], reason: str, state: Path, inventory: Path) -> None:
    """Make NODES believe this control host again, after it was restored or replaced. Ends the other one's say.

    Name all of them: a node that is not named goes on believing the other one.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    with noting(fleet.path, "epoch adopt", why=reason) as note:
        note.nodes = ", ".join(server.name for server in servers)
        mine = note.epoch = take_epoch(state, inventory=fleet.path)
        highest = 0
        for server in servers:
            highest = max(highest, tell(fleet, server, mine, reason=reason).number)
            note.add(f"{server.name} believes it")
        if highest >= mine.number:
            # Whoever had that number counts on from there (another control host, or this one under an inventory that
            # lay elsewhere), and nodes believe the higher number; all get one, since none believes too far a jump.
            mine = note.epoch = take_epoch(state, inventory=fleet.path, above=highest + RAISE)
            for server in servers:
                tell(fleet, server, mine, reason=reason)
        for server in servers:
            click.echo(f"{server.name}: believes {mine.holder} from epoch {mine.number} on")


def tell(fleet: Fleet, server: Server, mine: Epoch, *, reason: str) -> Epoch:
    """One node believes this number from now on; the one that it believed, none where an older node does not say."""
    words = ["adopt", "--epoch", str(mine.number), "--holder", mine.holder, "--who", who(), "--reason", reason]
    said = json.loads(run_node(fleet, server, [*words, "--json"], timeout=30))
    return decode(Epoch, said["was"], where=server.name) if "was" in said else Epoch()
