"""Accepts nodes: has them measure themselves all at once, judges each, signs, keeps and brings what was made."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops.catalog.floors import read_floors
from dsops.control.accept import shelf
from dsops.control.bundle.sign import Signer
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.ssh import open_session, run_node
from dsops.core.accept.certificate import Certificate, certify
from dsops.core.accept.judge import Rules, Verdict, list_others
from dsops.core.accept.measured import Measurement, parse_measurement
from dsops.core.errors import DsopsError

# The burn-in is killed after four minutes; the disk takes one and a half at most.
SECONDS = 420.0
BRING_SECONDS = 60.0


@dataclass(frozen=True)
class Accepted:
    """One node. kept: the node holds the certificate now; why: why it does not, "" = it does, or is not meant to."""

    certificate: Certificate
    kept: bool = False
    why: DsopsError | None = None


@dataclass(frozen=True)
class Wish:
    """What is asked for. force: keep what did not pass as well, for this reason. light: only look, keep nothing."""

    who: str
    force: str = ""
    is_light: bool = False


def accept_all(
    fleet: Fleet,
    servers: Sequence[Server],
    wish: Wish,
    *,
    folder: Path,
    find_signer: Callable[[Server], Signer],
    now: Callable[[], float] = time.time,
) -> list[Outcome[Accepted]]:
    """In the servers' order. All measure at once; then each is judged, with what the others just showed."""
    signers = {} if wish.is_light else {server.name: find_signer(server) for server in servers}
    bounds = {server.name: shelf.read_bounds(server) for server in servers}
    measured = ask_all(servers, lambda server: _measure(fleet, server, wish), deadline=SECONDS + 30)
    found: list[Outcome[Accepted]] = []
    for outcome in measured:
        if outcome.value is None:
            found.append(Outcome(outcome.server, error=outcome.error, seconds=outcome.seconds))
            continue
        rules = _make_rules(fleet, outcome.server, measured, folder=folder, site=bounds[outcome.server.name])
        made = certify(outcome.value, rules, node=outcome.server.name, who=wish.who, made_at=now(), forced=wish.force)
        done = Accepted(made) if wish.is_light else _finish(fleet, outcome.server, made, wish, folder, signers)
        found.append(Outcome(outcome.server, done, seconds=outcome.seconds))
    return found


def is_worth_keeping(made: Certificate) -> bool:
    """What nobody could finish says nothing against a certificate that is there."""
    return made.verdict is not Verdict.INCOMPLETE or bool(made.forced)


def _measure(fleet: Fleet, server: Server, wish: Wish) -> Measurement:
    words = ["accept", "--json", "--address", server.address]
    own = server.get("dsops_address", str, "")
    words += ["--address", own] if own else []
    words += ["--while-serving"] if wish.is_light else []
    return parse_measurement(run_node(fleet, server, words, timeout=SECONDS), where=server.name)


def _make_rules(
    fleet: Fleet,
    server: Server,
    measured: Sequence[Outcome[Measurement]],
    *,
    folder: Path,
    site: dict[str, float],
) -> Rules:
    """Who was measured just now counts with that, everybody else with their last certificate."""
    fresh = {one.server.name: one.value for one in measured if one.value and one.server.name != server.name}
    others = [other for value in fresh.values() for other in list_others(value)]
    known = [one for one in fleet.servers if one.name not in fresh and one.name != server.name]
    others += shelf.read_others(fleet, known, folder=folder)
    gpus = server.get("agent_gpus", int, -1)
    return Rules(floors=read_floors(), site=site, others=tuple(others), gpus=gpus if gpus >= 0 else None)


def _finish(
    fleet: Fleet, server: Server, made: Certificate, wish: Wish, folder: Path, signers: dict[str, Signer]
) -> Accepted:
    if not is_worth_keeping(made):
        return Accepted(made)
    file = shelf.keep(made, folder, signer=signers[server.name])
    try:
        _bring(fleet, server, shelf.read_signed(file), made, wish)
    except DsopsError as error:
        return Accepted(made, why=error)
    return Accepted(made, kept=True)


def _bring(fleet: Fleet, server: Server, signed: shelf.Signed, made: Certificate, wish: Wish) -> None:
    content = json.dumps({"text": signed.text, "signature": signed.signature}).encode()
    reason = f"accepted: {made.verdict}" + (f", forced: {made.forced}" if made.forced else "")
    with open_session(fleet, server) as session:
        words = ["certify", "--who", wish.who, "--reason", reason]
        session.ask(words, chunks=[content], timeout=BRING_SECONDS)
