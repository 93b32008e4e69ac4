"""Plans a rollback over the fleet and follows it: which nodes go from what to what, and how long that takes."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import ask_all
from dsops.control.fleet.releases import Listed, find_active, get_copy_timeout, read_releases
from dsops.control.fleet.ssh import run_node
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch, Kind, NodeState
from dsops.core.status import Condition, NodeStatus, Phase, Verdict
from dsops.core.tiers import START_SECONDS, WARM_SECONDS, Tier, Way

SICK = {Condition.HUNG, Condition.WRONG, Condition.FAILED}


@dataclass(frozen=True)
class Seen:
    """What is known of one node: from its agent, and from its store over SSH. Either may be missing."""

    server: Server
    status: NodeStatus | None
    listed: tuple[Listed, ...] | None
    reason: str = ""

    @property
    def active(self) -> str:
        """The release that has the traffic, "" when none or unknown."""
        found = find_active(self.listed or ())
        return found.release if found else (self.status.release if self.status and self.listed is None else "")

    @property
    def coming(self) -> str:
        """The release that an activation is about to bring, "" when there is none: going back calls it off."""
        status = self.status
        if status is None or not status.move.startswith(f"{Kind.ACTIVATE} "):
            return ""
        return next((slot.release for slot in status.slots if slot.name != status.slot), "")


@dataclass(frozen=True)
class Item:
    """One node's way back. to: "" when only the node knows. way: None when nobody could say. seconds: expected.

    copy: what the node says of a target that lies on its cold tier, so that it is copied first.
    """

    server: Server
    leaves: str
    to: str
    way: Way | None
    seconds: float | None
    why: str
    copy: Listed | None = None

    @property
    def is_warm(self) -> bool | None:
        """Whether the target's Triton runs beside the active one."""
        return None if self.way is None else self.way is Way.WARM


@dataclass(frozen=True)
class Plan:
    """The nodes that go back, the sick ones first, and those that stay, each with its reason."""

    items: tuple[Item, ...]
    stays: tuple[tuple[Server, str], ...]


@dataclass(frozen=True)
class Orders:
    """What the operator said. to: a release, "" = the newest good one; wait: seconds for each node."""

    who: str
    reason: str
    to: str
    epoch: Epoch
    wait: float


def look(fleet: Fleet, servers: Sequence[Server]) -> list[Seen]:
    """Asks every agent and every store at once."""
    asked = ask_all(servers, lambda server: _look_at(fleet, server), deadline=40)
    return [outcome.value or Seen(outcome.server, None, None, outcome.reason) for outcome in asked]


def _look_at(fleet: Fleet, server: Server) -> Seen:
    with ThreadPoolExecutor(1) as beside:
        status = beside.submit(_find_status, server)
        listed: tuple[Listed, ...] | None = None
        reason = ""
        try:
            listed = read_releases(fleet, server)
        except DsopsError as error:
            reason = str(error)
        return Seen(server, status.result(), listed, reason)


def _find_status(server: Server) -> NodeStatus | None:
    try:
        return read_status(server, timeout=2)
    except DsopsError:
        return None


def decide_plan(seen: Sequence[Seen], *, is_named: bool, to: str = "") -> Plan:
    """Which nodes go back. is_named: an operator named them, so all of them are meant. Pure.

    Without names: those whose release is on trial or that are sick, and where the agent is silent those with the same
    release; when there is none, those that serve the release that came last.
    """
    movable = [one for one in seen if not find_obstacle(one, to=to)]
    meant = movable if is_named else _find_troubled(movable) or _find_newest(movable)
    items = sorted((_plan_one(one, to=to) for one in meant), key=_urgency(meant))
    stays = [(one.server, find_obstacle(one, to=to) or "serves as it should") for one in seen if one not in meant]
    return Plan(tuple(items), tuple(stays))


def find_obstacle(seen: Seen, *, to: str) -> str:
    """Why this node cannot go back; "" when it can."""
    if seen.listed is None:
        return f"cannot be reached by SSH: {seen.reason}"
    if not seen.active:
        return "nothing is active there"
    usable = _find_usable(seen)
    if seen.coming and not to:
        return ""
    if to:
        return "" if to in usable else f"{to} is no release that it can go back to"
    return "" if usable else "has nothing to go back to"


def find_trouble(seen: Seen) -> str:
    """Why this node's release is suspect, in a few words; "" when it is not."""
    status = seen.status
    if status is None:
        return ""
    if status.ejected is not None:
        return f"ejected: {status.ejected}"
    if is_sick(seen):
        return f"{status.condition}: {status.condition_reason}" if status.condition_reason else str(status.condition)
    if seen.coming:
        return f"{seen.coming} is being activated"
    if status.baking_until is not None:
        minutes = max(0.0, status.baking_until - status.observed_at) / 60
        return f"on trial, {minutes:.0f} min left"
    return ""


def is_sick(seen: Seen) -> bool:
    """Whether it fails now, not only bakes."""
    status = seen.status
    return status is not None and (
        status.ejected is not None or status.condition in SICK or status.verdict is Verdict.BAD
    )


@dataclass(frozen=True)
class Ordered:
    """The node's answer: the release that it goes to, and why it was halted already, "" when it was not."""

    target: str
    halted: str = ""


def order(fleet: Fleet, item: Item, orders: Orders) -> Ordered:
    """Tells the node to go back. Raises DsopsError with the node's refusal."""
    words = ["rollback", "--who", orders.who, "--reason", orders.reason]
    words += ["--epoch", str(orders.epoch.number), "--holder", orders.epoch.holder]
    words += ["--to", orders.to] if orders.to else []
    timeout = 120 + (get_copy_timeout(item.copy) if item.copy else 0.0)
    said = run_node(fleet, item.server, [*words, "--json"], timeout=timeout)
    return parse_answer(said, item, where=item.server.name)


def parse_answer(said: str, item: Item, *, where: str) -> Ordered:
    """From the state in the node's answer, else from the plan. Pure."""
    try:
        state = decode(NodeState, json.loads(said)["state"], where=where)
    except (ValueError, LookupError, TypeError, DsopsError):
        return Ordered(item.to)
    if state.move and state.move.kind is Kind.ROLLBACK:
        return Ordered(state.move.release, state.halted)
    return Ordered(state.active.release if state.active else item.to, state.halted)


def follow(
    fleet: Fleet,
    item: Item,
    ordered: Ordered,
    *,
    wait: float,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Waits until the node serves the target; tell hears how far it is. Raises DsopsError when it does not."""
    end, node = clock() + wait, item.server.name
    while said := _judge_return(fleet, item.server, ordered):
        tell(said)
        if clock() >= end:
            what = f"does not serve {ordered.target} after {wait:g} s: {said}"
            raise DsopsError(what, where=node, mend=f"`dsops why {node}`; `dsops logs {node}`")
        sleep(0.2)


def judge_return(status: NodeStatus, ordered: Ordered) -> str:
    """What stands between the node and its target; "" when it serves it. Raises DsopsError when it gave up. Pure."""
    if status.release == ordered.target:
        if status.phase is not Phase.SERVING:
            return f"{status.phase}: {status.phase_reason}" if status.phase_reason else str(status.phase)
        return "" if status.ejected is None else f"ejected: {status.ejected}"
    if status.halted and status.halted != ordered.halted and not status.move:
        mend = f'`dsops why {status.node}`; then `dsops node clear --reason "..."` on it'
        raise DsopsError(f"it gave up: {status.halted}", where=status.node, mend=mend)
    return status.move or f"{status.release or 'nothing'} has the traffic"


def _judge_return(fleet: Fleet, server: Server, ordered: Ordered) -> str:
    """From the agent; where it is silent, the store says at least who has the traffic."""
    status = _find_status(server)
    if status is not None:
        return judge_return(status, ordered)
    try:
        active = find_active(read_releases(fleet, server))
    except DsopsError as error:
        return str(error)
    return "" if active and active.release == ordered.target else "its agent does not answer"


def _find_usable(seen: Seen) -> list[str]:
    return [one.release for one in seen.listed or () if one.state == "fallback"]


def _find_troubled(movable: Sequence[Seen]) -> list[Seen]:
    """An agent that is silent says nothing about its release; what other nodes say about the same one does."""
    suspects = {one.active for one in movable if find_trouble(one)}
    return [one for one in movable if find_trouble(one) or (one.status is None and one.active in suspects)]


def _find_newest(movable: Sequence[Seen]) -> list[Seen]:
    """The nodes that serve the release which came last, as the stores remember it."""
    known = [(found.since or 0.0, found.release) for one in movable if (found := find_active(one.listed or ()))]
    newest = max(known, default=(0.0, ""))[1]
    return [one for one in movable if newest and one.active == newest]


def _plan_one(seen: Seen, *, to: str) -> Item:
    if seen.coming and not to:
        return Item(seen.server, seen.coming, seen.active, Way.WARM, WARM_SECONDS, find_trouble(seen))
    target = to or _find_target(seen)
    listed = next((one for one in seen.listed or () if one.release == target), None)
    way = _find_way(seen, target, listed)
    why = find_trouble(seen) or ("its agent does not answer" if seen.status is None else "asked for")
    copy = listed if way is Way.COLD else None
    return Item(seen.server, seen.active, target, way, _expect(seen, way, listed), why, copy)


def _find_target(seen: Seen) -> str:
    """What the store would go back to, as it says itself; else the agent's word, else the only one there is."""
    usable = _find_usable(seen)
    own = next((one.release for one in seen.listed or () if one.back), "")
    return own or (seen.status.fallback if seen.status else "") or (usable[0] if len(usable) == 1 else "")


def _find_way(seen: Seen, target: str, listed: Listed | None) -> Way | None:
    """The agent knows best whether the target's Triton serves beside the active one; the store knows the tier."""
    if listed and listed.tier == Tier.COLD:
        return Way.COLD
    if seen.status is None or not target:
        return Way(listed.way) if listed and listed.way in list(Way) else None
    is_warm = any(
        slot.release == target and slot.name != seen.status.slot and slot.phase is Phase.SERVING
        for slot in seen.status.slots
    )
    return Way.WARM if is_warm else Way.HOT


def _expect(seen: Seen, way: Way | None, listed: Listed | None) -> float | None:
    """Seconds: what its passport promises; without one, loading takes about what the last proof here took."""
    if way is None:
        return None
    if way is Way.WARM:
        return WARM_SECONDS
    told = listed.seconds if listed and listed.way != Way.WARM else None
    proof = seen.status.proof if seen.status else None
    if proof is None or (told is not None and listed and listed.passport):
        return told
    if way is Way.COLD and (listed is None or listed.copy_seconds is None):
        return told
    copy = (listed.copy_seconds or 0.0) if listed and way is Way.COLD else 0.0
    return copy + proof.load_seconds + START_SECONDS


def _urgency(meant: Sequence[Seen]) -> Callable[[Item], bool]:
    """The sick ones first, else the order of the inventory."""
    sick = {one.server.name for one in meant if is_sick(one)}
    return lambda item: item.server.name not in sick
