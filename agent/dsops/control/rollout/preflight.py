"""What stands in a rollout's way, of all nodes at once, before anything changes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import ask_all
from dsops.control.rollout import doors
from dsops.control.rollout.doors import look_at
from dsops.control.rollout.holdings import Holdings, read_holdings
from dsops.control.rollout.memory import Memory
from dsops.control.rollout.store import Kept
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Seen
from dsops.core.status import NodeStatus
from dsops.core.tiers import Tier

SKEW = 5.0  # seconds
ASKING = 40.0
LISTED = 20
# What the node says of a release's passports, when none of them is one for its hardware.
MISFITS = ("other", "missing", "damaged")


@dataclass(frozen=True)
class Known:
    """One node before a rollout. holdings: None where its store could not be asked, reason tells why."""

    server: Server
    seen: Seen
    status: NodeStatus | None = None
    holdings: Holdings | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def is_there(self) -> bool:
        """Both its agent and its store answered."""
        return self.seen.is_reachable and self.holdings is not None


@dataclass(frozen=True)
class Situation:
    """All that is known before a rollout. named: the operator named the nodes, so that none may be missing.

    active: the rollout that is under way. alerts: what fires, or why that cannot be said. others: of the same pools,
    which it is not for.
    """

    nodes: tuple[Known, ...]
    memory: Memory
    active: Kept | None = None
    alerts: tuple[str, ...] = ()
    named: bool = False
    others: tuple[Known, ...] = ()


def look_before(fleet: Fleet, servers: Sequence[Server]) -> tuple[Known, ...]:
    """Asks every agent and every store at once."""
    asked = ask_all(servers, lambda server: _look_before(fleet, server), deadline=ASKING)
    return tuple(one.value or Known(one.server, doors.find_absent(one.server), reason=one.reason) for one in asked)


def look_aside(servers: Sequence[Server]) -> tuple[Known, ...]:
    """Nodes that it is not for: only whether they serve."""
    asked = ask_all(servers, lambda server: look_at(server)[1], deadline=ASKING)
    return tuple(Known(one.server, one.value or doors.find_absent(one.server), reason=one.reason) for one in asked)


def _look_before(fleet: Fleet, server: Server) -> Known:
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(_find_holdings, fleet, server)
        try:
            status, seen = look_at(server)
        except DsopsError as error:
            holdings, reason = asked.result()
            why = "; ".join(filter(None, [str(error), reason]))
            return Known(server, doors.find_absent(server), None, holdings, why)
        holdings, reason = asked.result()
        return Known(server, seen, status, holdings, reason)


def _find_holdings(fleet: Fleet, server: Server) -> tuple[Holdings | None, str]:
    try:
        return read_holdings(fleet, server), ""
    except DsopsError as error:
        return None, f"by SSH: {error}"


def find_problems(situation: Situation, release: str) -> tuple[DsopsError, ...]:
    """Everything that forbids it, the fleet's first. Pure."""
    found = [*_check_fleet(situation, release), *_check_reach(situation)]
    for known in situation.nodes:
        if known.is_there:
            found += _check_node(known, release)
    return tuple(found)


def find_absent(situation: Situation) -> tuple[Known, ...]:
    """Nodes that do not answer now."""
    return tuple(known for known in situation.nodes if not known.is_there)


def join_problems(problems: Sequence[DsopsError], release: str) -> DsopsError:
    """One error with all of them, each with its own mend."""
    lines = [f"{release} cannot come in; nothing was changed"]
    for problem in problems:
        lines.append(f"  {problem}")
        lines += [f"    mend: {problem.mend}"] if problem.mend else []
    return DsopsError("\n".join(lines))


def _check_fleet(situation: Situation, release: str) -> Iterator[DsopsError]:
    memory, active = situation.memory, situation.active
    if active:
        mend = "`dsops rollout status`; `dsops rollout abort --reason ...` ends it"
        yield DsopsError(f"rollout {active.id} of {active.release} by {active.who} is active", mend=mend)
    if memory.halted:
        mend = "find out why, then `dsops rollout reset --reason ...`"
        yield DsopsError(f"the fleet is halted: {memory.halted}", mend=mend)
    if bad := memory.find_bad(release):
        mend = f"bring a new build, or `dsops rollout reset --unmark {release} --reason ...`"
        yield DsopsError(f"{release} is on the fleet's bad list: {bad.reason}", mend=mend)
    if situation.alerts:
        mend = "mend what fires, or silence it in Alertmanager with a reason"
        words = "; ".join(dict.fromkeys(situation.alerts[:LISTED]))
        yield DsopsError(f"while alerts fire nothing goes forward: {words}", mend=mend)
    if not situation.nodes:
        yield DsopsError("there is no node to bring it to", mend='add a group: gpu = ["gpu1"]')


def _check_reach(situation: Situation) -> Iterator[DsopsError]:
    absent, mend = find_absent(situation), "`dsops status`; `dsops doctor`"
    count = len(situation.nodes)
    is_half = bool(absent) and 2 * len(absent) >= count
    if is_half:
        names = ", ".join(known.name for known in absent[:LISTED])
        share = "half" if 2 * len(absent) == count else "over half"
        what = f"{len(absent)} of {count} nodes cannot be asked, which is {share} of them: {names}"
        yield DsopsError(what, mend=f"{mend}; or name the nodes that are to have it")
    if situation.named or is_half:
        yield from (DsopsError(f"cannot be asked: {known.reason}", where=known.name, mend=mend) for known in absent)


def _check_node(known: Known, release: str) -> Iterator[DsopsError]:
    seen, name = known.seen, known.name
    if abs(seen.skew) > SKEW:
        way = "ahead of" if seen.skew > 0 else "behind"
        mend = "does its chrony follow a time server? `dsops doctor`; is this machine's clock right?"
        yield DsopsError(f"its clock is {abs(seen.skew):.0f} s {way} this machine's", where=name, mend=mend)
    if seen.halted:
        mend = f'`dsops why {name}`; then, on it: dsops node clear --reason "..."'
        yield DsopsError(f"it is halted: {seen.halted}", where=name, mend=mend)
    if seen.canary and seen.canary != release:
        mend = f"`dsops rollback {name}` takes that one back"
        yield DsopsError(f"{seen.canary} has {seen.share} % there, beside {seen.active}", where=name, mend=mend)
    if seen.is_moving:
        move = known.status.move if known.status else "a change"
        yield DsopsError(f"a move is under way: {move}", where=name, mend="wait for it: `dsops status`")
    yield from _check_release(known, release)


def _check_release(known: Known, release: str) -> Iterator[DsopsError]:
    assert known.holdings
    name, held = known.name, known.holdings.find(release)
    if held is None:
        yield DsopsError(f"does not hold {release}", where=name, mend=f"`dsops release push {release} {name}`")
        return
    if held.tier == Tier.COLD:
        mend = f"`dsops release heat {release} {name}`"
        yield DsopsError(f"{release} lies on its cold tier only", where=name, mend=mend)
    if held.damage:
        mend = f"`dsops release push {release} {name}`"
        yield DsopsError(f"{release} is damaged there: {held.damage}", where=name, mend=mend)
    if held.bad:
        mend = f"bring a new build, or `dsops release unmark-bad {release} {name} --reason ...`"
        yield DsopsError(f"{release} is marked bad there: {held.bad}", where=name, mend=mend)
    if held.fit in MISFITS:
        mend = f"`dsops release activate {release} {name} --without-passport`, then `dsops release passport {name}`"
        yield DsopsError(f"the passport of {release} refuses this hardware: {held.fit_says}", where=name, mend=mend)
