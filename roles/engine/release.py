"""The store of a server as a deploy sees it: brings the bundle's release in, and lets the helper decide the rest."""

import json
import shlex
from collections.abc import Generator, Mapping
from typing import Any

from dsops.core.sums import Sums
from pyinfra import host, logger
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell
from roles.ops.tree import tree

DOOR = "/opt/dsops/venv/bin/dsops node"
STAGING = "/var/lib/dsops/staging"
# Straight to its socket: `dsops node release list` would take ten times as long, and this is asked at every deploy.
ASK = (
    "import socket,sys\n"
    "s=socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect('/run/dsops-helper.sock')\n"
    's.sendall(b\'{"verb": "list"}\\n\'); sys.stdout.write(s.makefile().readline())'
)
WHO = "--who deploy --reason"
# What `dsops deploy` gives as --data of what this control host remembers of the fleet.
HOLD = "_dsops_hold"


class Store(FactBase[Mapping[str, Any]]):
    """The helper's list: `releases`, and `damage` of the links. Empty where there is no helper yet."""

    @staticmethod
    def default() -> Mapping[str, Any]:
        """What a server says that says nothing."""
        return {"releases": [], "damage": []}

    def command(self) -> str:
        return f"python3 -c {shlex.quote(ASK)} 2>/dev/null || true"

    def process(self, output: list[str]) -> Mapping[str, Any]:
        said: Mapping[str, Any] = json.loads("".join(output)) if output else {}
        return said if "releases" in said else self.default()


def find_release(store: Mapping[str, Any], release: str) -> Mapping[str, Any] | None:
    """The store's entry of a release."""
    return next((one for one in store["releases"] if one["release"] == release), None)


def find_lack(store: Mapping[str, Any]) -> str:
    """Why no release may come in on this server yet, "" when one may: nobody accepted it."""
    certificate = store.get("certificate") or {}
    return str(certificate.get("lack") or "") if certificate.get("demanded") else ""


def find_hold(release: str, *, active: str) -> str:
    """Why the fleet must not get a release by a deploy, "" when it may; an empty server is nobody's risk."""
    said = getattr(host, "data", {}).get(HOLD) or {"why": "", "bad": {}}
    if bad := said["bad"].get(release):
        return f"it is on the fleet's bad list ({bad}); see `dsops rollout status`"
    return f"{said['why']}; see `dsops rollout status`" if active and said["why"] else ""


@operation()
def mended() -> Generator[Any, None, None]:
    """Makes slots and lanes lead where the store's journal says, and ends a move that was cut."""
    if damage := host.get_fact(Store)["damage"]:
        logger.warning(f"[{host.name}] {'; '.join(damage)}")
        tell("release", "slots and lanes", "; ".join(damage))
        yield f"{DOOR} recover"


@operation()
def held(release: str, *, source: str, sums: Sums) -> Generator[Any, None, None]:
    """Makes the store hold a release, every file of it as it was built.

    + release: its id
    + source: its folder in the bundle, on the control host
    + sums: the signed sums of that folder
    """
    found = find_release(host.get_fact(Store), release)
    if found and not found["damage"]:
        host.noop(f"the store holds {release}")
        return
    if found:
        logger.warning(f"[{host.name}] {found['damage']}")
    path = f"{STAGING}/deploy-{release}"
    yield from tree._inner(source=source, path=path, sums=sums)
    yield f"{DOOR} release adopt {shlex.quote(path)}"


@operation()
def activated(release: str, *, seconds: int) -> Generator[Any, None, None]:
    """Gives a release the traffic that never had it here; run it serially.

    What operators and the server itself decided stays: a release that was left for another one, or is marked bad,
    does not come back by a deploy; nor does one come forward that the fleet must not get now.

    + release: its id; the store holds it
    + seconds: how long loading may take
    """
    store = host.get_fact(Store)
    found = find_release(store, release)
    state = found["state"] if found else "held"
    active = next((one["release"] for one in store["releases"] if one["state"] == "active"), "")
    if state == "active":
        host.noop(f"{release} has the traffic")
        return
    if active and state != "held":
        why = f"is marked bad ({found['bad']})" if found and found["bad"] else f"was left for {active} by somebody"
        why = "is out as a canary" if state == "canary" else why
        logger.warning(
            f"[{host.name}] the bundle's release {release} {why}: {active} stays; see `dsops why {host.name}`"
        )
        host.noop(f"{active} has the traffic")
        return
    if why := find_lack(store):
        logger.warning(f"[{host.name}] {release} waits: {why}. Run `dsops accept`, then deploy again")
        host.noop(f"{active or 'nothing'} has the traffic; this server was not accepted yet")
        return
    if why := find_hold(release, active=active):
        logger.warning(f"[{host.name}] the bundle's release {release} does not come forward: {why}")
        host.noop(f"{active or 'nothing'} has the traffic")
        return
    tell("release", release, f"gets the traffic, which {active or 'nobody'} has")
    reason = shlex.quote("the bundle's release")
    yield f"{DOOR} release activate {shlex.quote(release)} {WHO} {reason} --wait {seconds + 90}"
