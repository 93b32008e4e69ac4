"""Runs pyinfra's dry run over the site, and has the operations tell what they would change."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops.control.audit import find_state
from dsops.control.cli.deploy import find_pyinfra
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.rollout.guard import render_hold
from dsops.core.dry import Dry, parse_dry
from dsops.core.errors import DsopsError

# What roles/ops/changes.py looks for.
KEY = "_dsops_changes"
SECONDS = 1800.0
SAID = re.compile(r"^\s+\[([^\]]+)\]\s+(.*\S)\s*$")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
ROUTINE = re.compile(r"(Connected|Ready: .*|SKIPPED .*)$")
# pyinfra's way to say where in a deploy it ended.
ERROR = re.compile(r"^--> [A-Za-z ]*error(?: in .+? line \d+)?: ")
# Of roles/ops/connection.py.
LOST = "connection lost"
SILENT = "it could not be looked at to the end"


@dataclass(frozen=True)
class Look:
    """What a dry run showed. unseen: server -> why it could not be looked at."""

    dry: Dry
    unseen: dict[str, str]


def choose_servers(fleet: Fleet, limit: Sequence[str]) -> tuple[Server, ...]:
    """The servers and the members of the groups in the limit; all without one. Raises DsopsError on unknown names."""
    for name in limit:
        fleet.check_name(name)
    wanted = {"all"} if not limit else set(limit)
    return tuple(one for one in fleet.servers if {"all", one.name, *one.groups} & wanted)


def render_command(
    root: Path, inventory: Path, *, limit: Sequence[str], book: Path, program: Path | None = None
) -> list[str]:
    """pyinfra's line, which changes nothing."""
    argv = [str(program or find_pyinfra()), "--chdir", str(root), "--dry", "--json", "--data", f"{KEY}={book}"]
    argv += [word for name in limit for word in ("--limit", name)]
    argv += render_hold(find_state(), inventory)
    return [*argv, str(inventory), "deploy/site.py"]


def look(root: Path, fleet: Fleet, servers: Sequence[Server], *, program: Path | None = None) -> Look:
    """Raises DsopsError when the run as a whole fails: a bad inventory, a bundle that is not proven, the lock.

    program: pyinfra; the one beside this Python when it is not given
    """
    limit = [] if len(servers) == len(fleet.servers) else [server.name for server in servers]
    with tempfile.TemporaryDirectory(prefix="dsops-plan-") as folder:
        book = Path(folder) / "changes"
        book.touch(mode=0o600)
        argv = render_command(root, fleet.path, limit=limit, book=book, program=program)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise DsopsError(f"no end after {SECONDS:g} s: {shlex.join(argv)}") from error
        said = read_words(done.stderr)
        if not done.stdout.strip():
            if all(server.name in said for server in servers):
                return Look(Dry({}), {server.name: said[server.name] for server in servers})
            raise explain(done.stderr, argv)
        dry = parse_dry(done.stdout, book.read_text())
    return Look(dry, {one.name: said.get(one.name, SILENT) for one in servers if one.name not in dry.changes})


def read_words(log: str) -> dict[str, str]:
    """server -> the last that pyinfra said of it which is not routine; that it was lost outweighs what came of it."""
    found: dict[str, str] = {}
    for line in STYLE.sub("", log).splitlines():
        match = SAID.match(line)
        if match and not ROUTINE.match(match[2]) and found.get(match[1]) != LOST:
            found[match[1]] = match[2]
    return found


def explain(log: str, argv: Sequence[str]) -> DsopsError:
    """Why a run ended before it had a plan: pyinfra's own last words."""
    lines = [line for line in STYLE.sub("", log).splitlines() if line.strip() and not line.startswith("--> Disc")]
    start = next((i for i, line in enumerate(lines) if ERROR.match(line)), max(0, len(lines) - 4))
    said = [ERROR.sub("", line).strip() for line in lines[start : start + 12]]
    mend = next((line.removeprefix("mend: ") for line in said if line.startswith("mend: ")), "")
    what = "\n  ".join(line for line in said if not line.startswith("mend: "))
    return DsopsError(what or "pyinfra said nothing", mend=mend or f"by hand: {shlex.join(argv)}")
