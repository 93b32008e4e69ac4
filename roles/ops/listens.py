"""Which ports the roles listen on for other machines, and who may reach them: collected from roles/*/listens.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError

ROLES = Path(__file__).parents[1]
EVERY = "all"  # as `on`: every server; as a source: every server of the inventory
CONTROL = "control"  # where operators come from: firewall_control
CLIENTS = "clients"  # who may use the service: firewall_clients
WORDS = {CONTROL: "control host"}


@dataclass(frozen=True)
class Listen:
    """One port of one role. One that different servers reach on different groups is declared once for each.

    key, default: the inventory's key of the port, and its value where the inventory is silent
    on: the group of servers on which it listens, or `all`
    reached_from: groups of the inventory, `control`, `clients` or `all`
    """

    key: str
    default: int
    what: str
    on: str
    reached_from: tuple[str, ...]
    protocol: str = "tcp"

    def get_port(self, data: Mapping[str, Any]) -> int:
        """The port on a server with this inventory data. Raises DsopsError when it is none."""
        port = data.get(self.key, self.default)
        if type(port) is not int or not 0 < port < 1 << 16:
            raise DsopsError(f"{self.key} should be a port, is {port!r}", mend="give a whole number from 1 to 65535")
        return port

    @property
    def text(self) -> str:
        """The default port as the tables write it."""
        return str(self.default) if self.protocol == "tcp" else f"{self.default}/{self.protocol}"


@cache
def get_listens() -> tuple[Listen, ...]:
    """What every role declares, in the order of the roles' names."""
    names = sorted(file.parent.name for file in ROLES.glob("*/listens.py") if file.parent.name != "ops")
    return tuple(listen for name in names for listen in import_module(f"roles.{name}.listens").LISTENS)


def find_listens(groups: Iterable[str]) -> list[Listen]:
    """What listens on a server that is in these groups."""
    mine = {EVERY, *groups}
    return [listen for listen in get_listens() if listen.on in mine]


def check_ports(name: str, groups: Iterable[str], data: Mapping[str, Any]) -> list[str]:
    """One sentence for every port of a server that two of its listeners claim, or that is none."""
    problems, claimed = [], dict[tuple[str, int], Listen]()
    for listen in find_listens(groups):
        try:
            port = listen.get_port(data)
        except DsopsError as error:
            problems.append(f"{name}: {error}")
            continue
        other = claimed.setdefault((listen.protocol, port), listen)
        if other.key != listen.key:
            both = f"{other.what} ({other.key}) and {listen.what} ({listen.key})"
            problems.append(f"{name}: {both} both claim port {port}/{listen.protocol}; move one")
    return problems


def render_table() -> str:
    """What must be open between servers, with the default ports, as rows of a Markdown table."""
    listens = get_listens()
    sources = dict.fromkeys(source for listen in listens for source in listen.reached_from)
    order = [CLIENTS, *sorted(set(sources) - {CLIENTS, CONTROL}), CONTROL]
    rows = [_render_row(source, [one for one in listens if source in one.reached_from]) for source in order]
    return "".join(rows)


def _render_row(source: str, listens: Sequence[Listen]) -> str:
    targets = sorted({listen.on for listen in listens}, key=lambda on: (on != EVERY, on))
    ports = {on: ", ".join(one.text for one in sorted(listens, key=_port) if one.on == on) for on in targets}
    to, *others = targets
    text = "; ".join([ports[to], *(f"{on} {ports[on]}" for on in others)])
    return f"| {WORDS.get(source, source)} | {to} | {text} |\n"


def _port(listen: Listen) -> int:
    return listen.default
