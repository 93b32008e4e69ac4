"""`dsops maintenance NODE`: for a while dsops looks, and does nothing by itself; it ends by itself."""

from pathlib import Path

import click

from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, who
from dsops.control.fleet.ssh import run_node
from dsops.core.errors import DsopsError
from dsops.core.maintenance import parse_span

SECONDS = 30.0


@click.command()
@click.argument("node", type=NodeName())
@click.option("--reason", default="", help='Why, such as "new fans"; shown in `dsops status`.')
@click.option("--for", "span", default="", metavar="SPAN", help="How long, such as 90m or 1d; 2h, and 7d at most.")
@click.option("--checks", multiple=True, metavar="PATTERN", help="Only these, such as 'gpu.*'; without it the node.")
@click.option("--end", is_flag=True, help="It is over, before its time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def maintenance(
    node: str, *, reason: str, span: str, checks: tuple[str, ...], end: bool, as_json: bool, inventory: Path
) -> None:
    """For a while dsops only looks at NODE: no restart, no rollback, no ejection, and its alerts are silent.

    Findings are shown and kept as always. With --checks only those findings lead to nothing. Traffic goes on: `dsops
    drain` takes it away. It ends by itself, and whatever is wrong then is acted upon.
    """
    words = check_words(reason=reason, span=span, checks=checks, end=end)
    fleet = get_fleet(inventory)
    server = fleet.get_server(node)
    if server.role != "gpu":
        mend = (
            f"silence its alerts in Alertmanager; gpu servers: {', '.join(one.name for one in fleet.find_role('gpu'))}"
        )
        raise DsopsError(f"dsops does nothing by itself on {node}: it is {server.role}", where=node, mend=mend)
    argv = ["maintenance", "--who", who(), *words, *(["--json"] if as_json else [])]
    said = run_node(fleet, server, argv, timeout=SECONDS)
    click.echo(said.strip() if as_json else f"{node}: {said.strip()}")


def check_words(*, reason: str, span: str, checks: tuple[str, ...], end: bool) -> list[str]:
    """What the node's own door is told. Raises DsopsError when it makes no sense."""
    if end:
        if reason or span or checks:
            raise DsopsError("--end takes no other words", where="--end", mend="`dsops maintenance NODE --end`")
        return ["--end"]
    if not reason.strip():
        raise DsopsError("it wants a reason", where="--reason", mend='--reason "new fans"; or --end')
    if span:
        parse_span(span)
    return ["--reason", reason, *(["--for", span] if span else []), *(w for one in checks for w in ("--checks", one))]
