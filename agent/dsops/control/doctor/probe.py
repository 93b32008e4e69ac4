"""Looks at one server: one command over SSH, on the login that pyinfra uses, and its answer parsed."""

import getpass
import time
from dataclasses import replace
from pathlib import Path

from dsops.control.doctor.egress import Target, render_probe
from dsops.control.doctor.facts import Seen, parse
from dsops.control.fleet import ssh
from dsops.control.fleet.inventory import Fleet, Server

SCRIPT = Path(__file__).with_name("probe.sh")
LAST = "put end 1\n"
SECONDS = 20.0


def look(fleet: Fleet, server: Server, *, egress: Target | None = None) -> Seen:
    """Raises DsopsError when it cannot be reached, or does not answer as it should."""
    as_pyinfra = with_login(server)
    started = time.time()
    done = ssh.run(fleet, as_pyinfra, ["sh", "-c", render_script(egress)], timeout=SECONDS)
    ended = time.time()
    return Seen(parse(done.stdout, where=server.name), started, ended)


def render_script(egress: Target | None = None) -> str:
    """What runs on the server, with the attempt to get out when somebody asked for one."""
    script = SCRIPT.read_text()
    return script.replace(LAST, render_probe(egress) + LAST) if egress else script


def with_login(server: Server) -> Server:
    """The same server as pyinfra logs in to it: fleet.ssh otherwise uses the operators' door."""
    user = server.data.get("ssh_user") or getpass.getuser()
    data = {**server.data, "dsops_ssh_user": user, "dsops_ssh_key": server.data.get("ssh_key")}
    return replace(server, data=data)
