"""`dsops audit`: verifies the chains of this control host and of the nodes, and shows them as one list."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from dsops.control.audit import Chain, find_anchors, parse_entries, tell, who
from dsops.control.cli.status import make_console
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, state_option
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import choose_servers
from dsops.control.fleet.ssh import Session, open_session
from dsops.core.audit import (
    ACCEPT,
    Act,
    Entry,
    Head,
    Kind,
    Line,
    Report,
    parse_head,
    render_entry,
    render_report,
    split_lines,
    verify,
)
from dsops.core.errors import DsopsError

HERE = "this control host"
NO_HEAD = Head()
HARMED, SILENT = 1, 2
# A chain is 64 MB at most; a line that is slow needs a while for it.
SECONDS = 120.0
FOLLOW_SECONDS = 2.0
MANY = 5000


@dataclass(frozen=True)
class Judged:
    """One chain. end: what is kept of it, where it is whole. reason: why nobody could look at it."""

    name: str
    report: Report | None
    anchors: int = 0
    reason: str = ""
    end: Head = NO_HEAD

    @property
    def verdict(self) -> str:
        """In a word; the flaws stand below the table."""
        if self.report is None:
            return "cannot be asked"
        return render_report(self.report) if self.report.is_whole else "NOT WHOLE"


@click.group()
def audit() -> None:
    """Who did what, why, and from what to what: on this control host, and on each node by itself.

    Both are append-only, and each entry is bound to the one before by its hash. After each command this control host
    keeps where the node's chain ended, so that a node's end cannot be cut off unseen.
    """


@audit.command("verify")
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@state_option
@inventory_option
def verify_(nodes: tuple[str, ...], as_json: bool, state: Path, inventory: Path) -> None:
    """Look at every entry, of this control host's chain and of those of NODES, or of all gpu servers.

    A node's whole chain is fetched and verified here, against every end that was seen before; then its end of now is
    kept as well.

    Exit status: 0 all are whole, 1 one was altered, cut or mixed up, 2 one could not be looked at.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    own = Chain(state)
    own_lines = own.read()
    entries = parse_entries(own_lines)
    judged = [Judged(HERE, verify(own_lines))]
    asked = ask_all(servers, lambda server: fetch(fleet, server), deadline=SECONDS + 10)
    judged += [judge(fleet, outcome, entries) for outcome in asked]
    keep_heads(fleet, judged[1:], entries)
    if as_json:
        click.echo(json.dumps(to_data(judged), ensure_ascii=False))
    else:
        make_console().print(render(judged))
        for line in render_flaws(judged):
            click.echo(line)
    raise SystemExit(find_code(judged))


@audit.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("-n", "--number", type=click.IntRange(1, MANY), default=20, show_default=True, help="How many entries.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The entries as they are written, one JSON object a line.")
@state_option
@inventory_option
def tail(nodes: tuple[str, ...], number: int, follow: bool, as_json: bool, state: Path, inventory: Path) -> None:
    """The last entries of this control host and of NODES, or of all gpu servers, in one list, the newest last.

    Exit status: 0, or 2 when a node could not be asked.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    own = OwnReader(Chain(state), str(fleet.path.resolve()), frozenset(nodes))
    said: set[str] = set()
    for found, silent in read_rounds(fleet, servers, own, count=number, follow=follow):
        for name, entry in found:
            click.echo(render_one(name, entry, as_json=as_json))
        for name, reason in silent.items():
            if name not in said:
                said.add(name)
                click.echo(f"{name} cannot be asked: {reason}", err=True)
        sys.stdout.flush()
    raise SystemExit(SILENT if said else 0)


@audit.command()
@click.argument("nodes", nargs=-1, required=True, type=NodeName())
@click.option("--reason", required=True, help='Why, such as "reinstalled after a dead disk".')
@state_option
@inventory_option
def accept(nodes: tuple[str, ...], reason: str, state: Path, inventory: Path) -> None:
    """Take the chains of NODES as they are from now on: after a server was installed anew, or its store was lost.

    What was seen of their older chains stays in this control host's own, and does not count any more.
    """
    fleet = get_fleet(inventory)
    for server in choose_servers(fleet, nodes):
        end = fetch(fleet, server).end
        trouble = tell(make_note(fleet, server.name, end, verb=ACCEPT, why=reason))
        if trouble:
            raise DsopsError(f"it was not kept: {trouble}", where=str(state), mend="make room, or mend the disk")
        click.echo(f"{server.name}: from entry {end.number} on, {end.hash}")


@dataclass(frozen=True)
class Fetched:
    """A node's chain. end: what lasted on its disk before it was read."""

    end: Head
    lines: list[Line]


def fetch(fleet: Fleet, server: Server) -> Fetched:
    """Raises DsopsError."""
    with open_session(fleet, server) as session:
        try:
            end = parse_head(session.ask(["audit", "head"], timeout=20).strip())
        except ValueError as error:
            raise DsopsError(f"does not say where its chain ends ({error})", where=server.name) from error
        text = session.ask(["audit", "export"], timeout=SECONDS)
    return Fetched(end, split_lines(text.encode(), name=server.name))


def judge(fleet: Fleet, outcome: Outcome[Fetched], entries: Sequence[Entry]) -> Judged:
    """One node's chain against all that was seen of it, and what it says itself. Pure."""
    name, found = outcome.server.name, outcome.value
    if found is None:
        return Judged(name, None, reason=str(outcome.error))
    anchors = find_anchors(entries, fleet=str(fleet.path.resolve()), node=name)
    said = (found.end,) if found.end.number else ()
    return Judged(name, verify(found.lines, anchors=(*anchors, *said)), len(anchors), end=found.end)


def keep_heads(fleet: Fleet, judged: Sequence[Judged], entries: Sequence[Entry]) -> None:
    """Where the whole ones end now, unless that is known."""
    for one in judged:
        if one.report and one.report.is_whole and one.end.number:
            known = find_anchors(entries, fleet=str(fleet.path.resolve()), node=one.name)
            if one.end not in known:
                tell(make_note(fleet, one.name, one.end, verb="verify"))


def make_note(fleet: Fleet, node: str, head: Head, *, verb: str, why: str = "") -> Act:
    """That a node's chain was seen to end there."""
    evidence = f"its chain ends at entry {head.number}"
    path = str(fleet.path.resolve())
    return Act(time.time(), Kind.HEAD, verb, who(), why, node, evidence=evidence, head=head, fleet=path)


def find_code(judged: Sequence[Judged]) -> int:
    """The worst decides: altered, then unseen."""
    if any(one.report and not one.report.is_whole for one in judged):
        return HARMED
    return SILENT if any(one.report is None for one in judged) else 0


def render(judged: Sequence[Judged]) -> Table:
    """One row a chain."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("chain", no_wrap=True)
    table.add_column("entries", justify="right", no_wrap=True)
    for column in ("head", "since"):
        table.add_column(column, no_wrap=True)
    table.add_column("seen before", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in judged:
        table.add_row(*map(escape, render_row(one)))
    return table


def render_row(one: Judged) -> tuple[str, ...]:
    """seen before: how many of its ends this control host keeps."""
    report = one.report
    if report is None:
        return (one.name, "-", "-", "-", "-", one.verdict)
    head = f"{report.head.number}:{report.head.hash[:12]}" if report.entries else "-"
    since = render_time(report.since) if report.since is not None else "-"
    seen = "-" if one.name == HERE else str(one.anchors)
    return (one.name, str(report.entries), head, since, seen, one.verdict)


def render_flaws(judged: Sequence[Judged], most: int = 20) -> Iterator[str]:
    """What is wrong and where, and what to do."""
    for one in judged:
        if one.report is None:
            yield f"{one.name} cannot be asked: {one.reason}"
        elif not one.report.is_whole:
            flaws = one.report.flaws
            yield f"{one.name}: {len(flaws)} {'place is' if len(flaws) == 1 else 'places are'} not as it was written"
            yield from (f"  {flaw.where}: {flaw.what}" for flaw in flaws[:most])
            if len(flaws) > most:
                yield f"  and {len(flaws) - most} more: --json has them all"
            yield "  mend: nothing mends a chain. Who had root there? Keep the files, compare with the site's own sink."
            if one.name != HERE:
                yield f'        Was it installed anew: dsops audit accept {one.name} --reason "..."'


def render_time(at: float) -> str:
    """In the operator's own time zone."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"


def to_data(judged: Sequence[Judged]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "ok": find_code(judged) == 0,
        "chains": [
            {
                "name": one.name,
                "ok": one.report is not None and one.report.is_whole,
                "verdict": one.verdict,
                "seen_before": one.anchors,
                "reason": one.reason,
                "report": asdict(one.report) if one.report else None,
            }
            for one in judged
        ],
    }


# --- the list ----------------------------------------------------------------------------------------------------


class Reader:
    """One node's entries, from where it was read last; the connection stays open meanwhile."""

    def __init__(self, fleet: Fleet, server: Server) -> None:
        self.server = server
        self._fleet = fleet
        self._last = 0
        self._stack = ExitStack()
        self._session: Session | None = None

    def read(self, count: int) -> list[Entry]:
        """Raises DsopsError; the next call connects anew."""
        words = ["audit", "tail", "--json", "-n", str(count), "--after", str(self._last)]
        try:
            text = self._connect().ask(words, timeout=20)
        except DsopsError:
            self._session = None
            self._stack.close()
            raise
        entries = parse_entries(split_lines(text.encode()))
        self._last = max((entry.number for entry in entries), default=self._last)
        return entries

    def _connect(self) -> Session:
        if self._session is None:
            self._session = self._stack.enter_context(open_session(self._fleet, self.server))
        return self._session


class OwnReader:
    """This control host's entries of one inventory, from where it was read last. names: nodes; none = of all."""

    def __init__(self, chain: Chain, fleet: str, names: frozenset[str]) -> None:
        self._chain = chain
        self._fleet = fleet
        self._names = names
        self._last = 0

    def read(self, count: int) -> list[Entry]:
        """Raises DsopsError."""
        entries = [entry for entry in self._chain.read_entries() if entry.number > self._last]
        self._last = max((entry.number for entry in entries), default=self._last)
        return [entry for entry in entries if self._is_meant(entry.act)][-count:]

    def _is_meant(self, act: Act) -> bool:
        return act.fleet in ("", self._fleet) and (not self._names or act.node in self._names)


Found = tuple[str, Entry]


def read_rounds(
    fleet: Fleet,
    servers: Sequence[Server],
    own: OwnReader,
    *,
    count: int,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[list[Found], dict[str, str]]]:
    """(the last entries of all chains, why some could not be asked); with `follow` again and again what is new."""
    readers = {server.name: Reader(fleet, server) for server in servers}
    while True:
        asked = ask_all(servers, read_from(readers, count), deadline=30)
        found = [(HERE, entry) for entry in own.read(count)]
        found += [(outcome.server.name, entry) for outcome in asked for entry in outcome.value or ()]
        yield merge(found)[-count:], {one.server.name: str(one.error) for one in asked if one.error}
        if not follow:
            return
        count = MANY
        sleep(FOLLOW_SECONDS)


def read_from(readers: Mapping[str, Reader], count: int) -> Callable[[Server], list[Entry]]:
    """For all nodes at once."""
    return lambda server: readers[server.name].read(count)


def merge(found: Sequence[Found]) -> list[Found]:
    """By time; entries of one chain stay in their order, whatever its clock did. Pure."""
    latest: dict[str, float] = {}
    timed = []
    for name, entry in found:
        latest[name] = max(latest.get(name, entry.act.at), entry.act.at)
        timed.append((latest[name], (name, entry)))
    return [one for _, one in sorted(timed, key=lambda pair: pair[0])]


def render_one(name: str, entry: Entry, *, as_json: bool) -> str:
    """One line. Of this control host's own, the node that it was about is named as well."""
    if as_json:
        data = asdict(entry.act) | {"number": entry.number, "previous": entry.previous, "hash": entry.hash}
        return json.dumps({"chain": name, **data}, ensure_ascii=False)
    place = f"here for {entry.act.node}" if name == HERE else name
    return render_entry(entry, local=render_time, place=place)
