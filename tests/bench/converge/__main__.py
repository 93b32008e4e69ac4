"""The same end state by dsops, by ansible-core and by Ansible with mitogen: what each costs, as ratios with spread.

Run by `make bench-converge` as root, on bare servers of a lab of its own. For each number of servers, in every round
and tool after tool: the servers as they came (virgin), again (no change), and after ten things were changed on one of
them (drifted). What each tool left is compared with what the others left. The servers share this machine's cores with
the tool: with several of them the wall is CPU time. Ratios carry over, absolute figures do not.
"""

import argparse
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.place import Server

from tests.bench.converge.ends import drift, find_differences, hash_end, read_end
from tests.bench.converge.measure import Cost, Failed, check_machine, measure
from tests.bench.converge.place import Place, many_servers, prepare, renew, take_down
from tests.bench.converge.tools import Address, Tool, make_dsops, make_tools

STEPS = ("virgin", "no change", "drifted")
FIGURES = ("wall", "control", "servers", "logins", "changed")
FAR_PORT = 22100


@dataclass(frozen=True)
class Said:
    """The command line."""

    sizes: tuple[int, ...]
    wide: int
    rounds: int
    far: float
    tools: tuple[str, ...]


Costs = dict[tuple[int, str, str], list[Cost]]


class Ends:
    """What every tool left on the first server and on the last one: all must be one state."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}  # hash -> (who left it first, the state)

    def add(self, place: Place, servers: list[Server], who: str) -> None:
        """Raises Failed, with the lines that differ, on a second state."""
        for server in {servers[0].name: servers[0], servers[-1].name: servers[-1]}.values():
            text = read_end(place, server)
            known = next(iter(self.seen.values()), (who, text))
            self.seen.setdefault(hash_end(text), (f"{who} on {server.name}", text))
            if len(self.seen) > 1:
                lines = "\n".join(find_differences(known[1], text)[:40])
                raise Failed(f"{who} left another state on {server.name} than {known[0]}:\n{lines}")


def main() -> None:
    """Measures, prints the tables and the ratios."""
    said = read_command_line()
    check_machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended from outside"))
    with many_servers():
        try:
            print(run_all(said))
        finally:
            take_down()


def run_all(said: Said) -> str:
    """Every round; what it showed."""
    place = prepare(max(*said.sizes, said.wide))
    costs: Costs = {}
    ends = Ends()
    for turn in range(said.rounds):
        for size in said.sizes:
            run_size(place, said, size, costs, ends)
        if said.wide:
            run_wide(place, said.wide, costs)
        if said.far:
            run_far(place, said, costs)
        print(f"round {turn + 1} of {said.rounds} done", file=sys.stderr, flush=True)
    return render(said, costs, ends)


def read_command_line() -> Said:
    """Defaults are the whole bench, which takes most of an hour; a smoke test is `--sizes 1 --rounds 1 --wide 0`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,4,10", help="numbers of servers for all tools")
    parser.add_argument("--wide", type=int, default=30, help="number of servers for dsops alone; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--far", type=float, default=40, help="round trip in ms of the run over a distance; 0: none")
    parser.add_argument("--tools", default="dsops,mitogen,ansible")
    args = parser.parse_args()
    sizes = tuple(int(word) for word in args.sizes.split(","))
    return Said(sizes, args.wide, args.rounds, args.far, tuple(args.tools.split(",")))


def run_size(place: Place, said: Said, size: int, costs: Costs, ends: Ends) -> None:
    """One round of all tools on `size` servers."""
    servers = place.first(size)
    tools = make_tools(place, servers, near(place), place.lab.known_hosts)
    for name in said.tools:
        renew(place, servers)
        for step in STEPS:
            if step == "drifted":
                drift(place, servers[0])
            keep(costs, (size, name, step), place, tools[name], servers)
            ends.add(place, servers, f"{name}, {step}")


def run_wide(place: Place, size: int, costs: Costs) -> None:
    """dsops alone on many servers: twice, of which the second changes nothing."""
    servers = place.first(size)
    renew(place, servers)
    tool = make_dsops(place, servers, near(place), place.lab.known_hosts)
    for step in STEPS[:2]:
        keep(costs, (size, "dsops", step), place, tool, servers)


def run_far(place: Place, said: Said, costs: Costs) -> None:
    """No change on one server at the end of a long line."""
    servers = place.first(1)
    renew(place, servers)
    measure(place, make_dsops(place, servers, near(place), place.lab.known_hosts), servers)
    with far_away(place, servers, said.far) as (address, known_hosts):
        tools = make_tools(place, servers, address, known_hosts)
        for name in said.tools:
            if name != "dsops":  # the state is dsops's: they agree on it first, and leave files of their own
                measure(place, tools[name], servers)
            keep(costs, (1, name, f"no change, {said.far:.0f} ms"), place, tools[name], servers)


def keep(costs: Costs, key: tuple[int, str, str], place: Place, tool: Tool, servers: list[Server]) -> None:
    """Runs a tool once and keeps what it cost."""
    cost = measure(place, tool, servers)
    if key[2].startswith("no change") and cost.changed:
        raise Failed(f"{tool.name} changed {cost.changed} things where nothing was to change; see {tool.folder}")
    costs.setdefault(key, []).append(cost)
    print(f"{key[0]:>3} {tool.name:<8} {key[2]:<17} {cost.wall:7.2f} s", file=sys.stderr, flush=True)


def near(place: Place) -> Address:
    """The servers as they are."""
    return lambda server: (str(place.lab.address(server)), 22)


@contextmanager
def far_away(place: Place, servers: list[Server], milliseconds: float) -> Iterator[tuple[Address, Path]]:
    """Addresses at which servers answer a round trip later, and the known_hosts that goes with them."""
    ports = {server.name: FAR_PORT + server.number for server in servers}
    ways = [f"{ports[one.name]}={place.lab.address(one)}:22" for one in servers]
    known = place.lab.known_hosts.read_text().splitlines()
    rows = [
        f"[127.0.0.1]:{ports[one.name]} {line.split(' ', 1)[1]}"
        for one in servers
        for line in known
        if line.startswith(f"{one.name},")
    ]
    known_hosts = place.work / "known_hosts.far"
    known_hosts.write_text("\n".join(rows) + "\n")
    argv = [sys.executable, "-m", "tests.bench.converge.delay", str(milliseconds), *ways]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout
            assert proxy.stdout.readline() == "ready\n"
            yield (lambda server: ("127.0.0.1", ports[server.name])), known_hosts
        finally:
            proxy.terminate()


def render(said: Said, costs: Costs, ends: Ends) -> str:
    """The table, then the ratios."""
    head = f"{'servers':>7} {'tool':<8} {'':<17}"
    rows = [f"{head}{'wall s':>22}{'CPU s, operator':>22}{'CPU s, servers':>22}{'logins':>8}{'changed':>9}"]
    for (size, name, step), seen in costs.items():
        cells = "".join(f"{spread([getattr(cost, one) for cost in seen], 2):>22}" for one in FIGURES[:3])
        counts = f"{seen[-1].logins:>8}{seen[-1].changed:>9}"
        rows.append(f"{size:>7} {name:<8} {step:<17}{cells}{counts}")
    rows += ["", "how many times the wall of dsops (median over the rounds, least..most)"]
    for (size, name, step), seen in costs.items():
        ours = costs.get((size, "dsops", step))
        if name != "dsops" and ours:
            ratios = [theirs.wall / own.wall for theirs, own in zip(seen, ours, strict=True)]
            work = [(t.control + t.servers) / (o.control + o.servers) for t, o in zip(seen, ours, strict=True)]
            text = f"{size:>7} {name:<8} {step:<17}{spread(ratios, 1):>22}x, CPU of both ends {spread(work, 1)}x"
            rows.append(text)
    rows += [render_growth(said, costs), "", f"one end state for all: {', '.join(ends.seen)}"]
    return "\n".join(row for row in rows if row is not None)


def render_growth(said: Said, costs: Costs) -> str:
    """How the cost of no change grows from the largest number of servers for all to that for dsops alone."""
    few, many = (costs.get((size, "dsops", "no change")) for size in (max(said.sizes), said.wide))
    if not few or not many or said.wide <= max(said.sizes):
        return ""
    ratios = [most.wall / least.wall for most, least in zip(many, few, strict=True)]
    return f"\nno change, {said.wide} servers / {max(said.sizes)} servers: {spread(ratios, 2)}"


def spread(values: list[float], digits: int) -> str:
    """median (least..most)"""
    least, most = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({least:.{digits}f}..{most:.{digits}f})"


if __name__ == "__main__":
    try:
        main()
    except (Failed, DsopsError) as error:
        sys.exit(f"error: {error}")
