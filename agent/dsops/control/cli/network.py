"""`dsops network plan`: which network card each GPU is to use, what NCCL and UCX are told, and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dsops.control.cli.status import make_console
from dsops.control.fleet.inventory import Fleet, Server, find_inventory, get_fleet
from dsops.control.fleet.options import NodeName
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.topology import SECONDS, ask_server, read_asked, read_recording, write_recording
from dsops.core.errors import DsopsError
from dsops.core.topology.asked import Asked, parse_map
from dsops.core.topology.compile import Compiled, compile_network
from dsops.core.topology.fleet import check_fleet, render_hostfile
from dsops.core.topology.lines import render_env
from dsops.core.topology.model import Problem
from dsops.core.topology.read import read_topology

REFUSED, UNSEEN = 1, 2
HEAD = "# What NCCL and UCX are told on this server; written by `dsops network plan`.\n"
Parts = Mapping[str, str]


@click.group()
def network() -> None:
    """Which network card each GPU is to use, and what follows from it."""


@network.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("--from", "folders", multiple=True, type=click.Path(path_type=Path), help="A recording, not the server.")
@click.option(
    "--record", type=click.Path(path_type=Path), help="Keep what the server says in this folder, by its name."
)
@click.option("--write", type=click.Path(path_type=Path), help="Write the files of sound maps below this folder.")
@click.option(
    "--map", "pairs", multiple=True, metavar="GPU=CARD", help="A map made by hand, to be judged; see rdma_map."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("--inventory", "-i", type=click.Path(path_type=Path), envvar="DSOPS_INVENTORY", show_envvar=True)
def plan(
    nodes: tuple[str, ...],
    *,
    folders: tuple[Path, ...],
    record: Path | None,
    write: Path | None,
    pairs: tuple[str, ...],
    as_json: bool,
    inventory: Path | None,
) -> None:
    """Say which card each GPU of NODES is to use, and each line that NCCL and UCX are told, with its reason.

    Changes nothing. With --from nothing is asked: a folder was recorded earlier (--record), or made by hand.
    NODES beside it, in the same order, say whose settings of the inventory count for it.

    \b
    Exit status: 0 every map is sound
                 1 one is refused, or the servers do not fit together
                 2 not every server could be looked at
    """
    check_words(nodes, folders=folders, record=record)
    fleet = get_fleet(inventory or find_inventory(Path.cwd())) if nodes else None
    servers = [fleet.get_server(name) for name in nodes] if fleet else []
    asked = [read_asked(server) for server in servers] or [Asked() for _ in folders]
    if pairs:
        asked = [replace(one, by_hand=parse_map(pairs, where="--map")) for one in asked]
    names = list(nodes) or [folder.resolve().name for folder in folders]
    seen, lost = look(fleet, servers, folders)
    if record:
        for name, parts in seen.items():
            write_recording(parts, record / name if len(nodes) > 1 else record)
    made = [compile_one(name, seen[name], one) for name, one in zip(names, asked, strict=True) if name in seen]
    shared = check_fleet(made)
    if write:
        write_files(made, write, {server.name: server.address for server in servers})
    if as_json:
        click.echo(json.dumps(to_data(made, shared, lost), ensure_ascii=False))
    else:
        show(made, shared, lost)
    raise SystemExit(UNSEEN if lost else REFUSED if shared or any(one.problems for one in made) else 0)


def check_words(nodes: Sequence[str], *, folders: Sequence[Path], record: Path | None) -> None:
    """Raises DsopsError when they do not go together."""
    if not nodes and not folders:
        raise DsopsError("nobody is named", where="NODES", mend="`dsops network plan NODE`, or --from FOLDER")
    if folders and nodes and len(folders) != len(nodes):
        mend = "a folder for each node, in the same order"
        raise DsopsError(f"{len(nodes)} nodes and {len(folders)} folders", where="--from", mend=mend)
    if folders and record:
        raise DsopsError("what is recorded already is not recorded again", where="--record", mend="leave one out")
    if twice := [name for name in {*nodes} if nodes.count(name) > 1]:
        raise DsopsError(f"{twice[0]} is named twice", where="NODES", mend="once is enough")


def look(
    fleet: Fleet | None, servers: Sequence[Server], folders: Sequence[Path]
) -> tuple[dict[str, Parts], list[Outcome[Parts]]]:
    """(name -> what it says, those that could not be asked)."""
    if folders or fleet is None:
        names = [server.name for server in servers] or [folder.resolve().name for folder in folders]
        return {name: read_recording(folder) for name, folder in zip(names, folders, strict=True)}, []
    told = ask_all(servers, lambda server: ask_server(fleet, server), deadline=SECONDS + 10)
    return {one.server.name: one.value for one in told if one.value}, [one for one in told if one.error]


def compile_one(name: str, parts: Parts, asked: Asked) -> Compiled:
    """One server's map."""
    return compile_network(read_topology(parts, node=name), asked)


def write_files(made: Sequence[Compiled], folder: Path, addresses: dict[str, str]) -> None:
    """For each sound node `NODE/network.env` and `NODE/nccl-topology.xml`; one `hostfile` for them all."""
    sound = [one for one in made if not one.problems]
    for one in sound:
        place = folder / one.seen.node
        place.mkdir(parents=True, exist_ok=True)
        (place / "network.env").write_text(render_env(one.lines, head=HEAD))
        (place / "nccl-topology.xml").write_text(one.xml)
    if sound:
        (folder / "hostfile").write_text(render_hostfile(sound, addresses))


def show(made: Sequence[Compiled], shared: Sequence[Problem], lost: Sequence[Outcome[Parts]]) -> None:
    """The page for people."""
    console = make_console()
    for one in made:
        console.print(render(one))
    for outcome in lost:
        console.print(Text(f"{outcome.server.name}: could not be asked: {outcome.reason}"))
    if shared:
        console.print(Text("Between the servers:"), render_problems(shared), sep="\n")


def render(made: Compiled) -> Group:
    """One server: its map, what is left aside, and the lines, or why it is refused."""
    parts: list[Table | Text] = [
        Text(f"{made.seen.node}: {len(made.seen.gpus)} GPUs, {len(made.ports)} ports for them")
    ]
    if made.pairs:
        table = Table(box=None, pad_edge=False)
        for name in ("GPU", "PCI", "NUMA", "card", "way", "Gb/s", "why"):
            table.add_column(name, justify="right" if name in ("NUMA", "Gb/s") else "left")
        for pair in made.pairs:
            cards = ",".join(port.name for port in pair.ports)
            device = pair.gpu.device
            row = (pair.gpu.label, device.address, str(device.node), cards, pair.level.name, f"{pair.rate:g}", pair.why)
            table.add_row(*row)
        parts.append(table)
    parts += [Text(f"not for GPUs: {one.port.name}: {one.why}") for one in made.asides]
    if made.problems:
        return Group(*parts, Text("REFUSED:", style="red"), render_problems(made.problems), Text(""))
    return Group(*parts, *(Text(f"{line.key}={line.value}\n    {line.why}") for line in made.lines), Text(""))


def render_problems(problems: Sequence[Problem]) -> Text:
    return Text("\n".join(f"  {one.where}: {one.what}\n    mend: {one.mend}" for one in problems))


def to_data(made: Sequence[Compiled], shared: Sequence[Problem], lost: Sequence[Outcome[Parts]]) -> dict[str, Any]:
    """For machines: the same as on the page."""
    return {
        "ok": not shared and not lost and not any(one.problems for one in made),
        "nodes": [_node_to_data(one) for one in made],
        "between": [asdict(one) for one in shared],
        "unseen": [{"node": one.server.name, "reason": one.reason} for one in lost],
    }


def _node_to_data(made: Compiled) -> dict[str, Any]:
    return {
        "node": made.seen.node,
        "map": [
            {
                "gpu": pair.gpu.index,
                "pci": pair.gpu.device.address,
                "ports": [port.name for port in pair.ports],
                "level": pair.level.name,
                "gbits": pair.rate,
                "why": pair.why,
            }
            for pair in made.pairs
        ],
        "aside": [{"port": one.port.name, "why": one.why} for one in made.asides],
        "lines": [asdict(line) for line in made.lines],
        "problems": [asdict(one) for one in made.problems],
    }
