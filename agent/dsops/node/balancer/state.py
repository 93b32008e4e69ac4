"""The balancer's pure core: which nodes get traffic, from what each of them answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dsops.node.sources.http import Answer, Failure

# Nodes that go within this time of each other went for one reason (seconds).
TOGETHER_SECONDS = 2.0


class Look(StrEnum):
    """What one answer says of a node."""

    GOOD = "good"
    DRAINED = "drained"
    UNREADY = "unready"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True)
class Observation:
    """One poll. at = monotonic seconds when the answer, or its absence, was known."""

    node: str
    look: Look
    reason: str
    seconds: float
    at: float


@dataclass(frozen=True)
class Node:
    """One node. good = good answers in a row; is_held = in although it looks dead; times are monotonic."""

    name: str
    is_in: bool
    good: int = 0
    look: Look | None = None
    reason: str = "not asked yet"
    since: float = 0.0
    left_at: float = float("-inf")
    seconds: float | None = None
    asked_at: float | None = None
    is_held: bool = False


@dataclass(frozen=True)
class State:
    """All nodes by name. `is_kept`: every node looks dead, so the last set stays."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    good_answers: int = 2

    @property
    def members(self) -> frozenset[str]:
        return frozenset(n.name for n in self.nodes.values() if n.is_in)

    @property
    def is_kept(self) -> bool:
        return any(n.is_held for n in self.nodes.values())


@dataclass(frozen=True)
class SetLink:
    """Effect: point the node's link at its socket (in) or at nothing (out)."""

    node: str
    is_in: bool


@dataclass(frozen=True)
class Say:
    """Effect: one line for the log."""

    line: str


Effect = SetLink | Say


def start(linked: Mapping[str, bool], *, good_answers: int, at: float) -> State:
    """From what the links say: a restarted balancer changes nothing by itself."""
    nodes = {name: Node(name, is_in, since=at, reason="as the link says") for name, is_in in linked.items()}
    return State(nodes, good_answers)


def judge(answer: Answer) -> tuple[Look, str]:
    """What an answer of /healthz means. Pure."""
    if answer.is_ok:
        return Look.GOOD, ""
    if answer.failure:
        look = {Failure.REFUSED: Look.REFUSED, Failure.TIMEOUT: Look.TIMEOUT}.get(answer.failure, Look.ERROR)
        return look, answer.reason
    return (Look.DRAINED if b'"drained"' in answer.body else Look.UNREADY), answer.says


def step(state: State, seen: Observation) -> tuple[State, tuple[Effect, ...]]:
    """The next state and what to do. One bad answer takes a node out; `good_answers` in a row bring it back.

    The set is never emptied: when the last node goes, those that went together with it come back and stay
    until one answers well, for then it is more likely that we are blind than that all died at once.
    """
    old = state.nodes.get(seen.node)
    if old is None:
        return state, ()
    is_good = seen.look is Look.GOOD
    node = replace(
        old,
        good=old.good + 1 if is_good else 0,
        look=seen.look,
        reason=seen.reason,
        seconds=seen.seconds,
        asked_at=seen.at,
    )
    nodes = {**state.nodes, seen.node: node}
    if is_good:
        nodes = _admit(nodes, node, seen, state.good_answers)
    elif old.is_in and not old.is_held:
        nodes = _eject(nodes, node, seen)
    return replace(state, nodes=nodes), find_effects(state.nodes, nodes)


def _admit(nodes: dict[str, Node], node: Node, seen: Observation, good_answers: int) -> dict[str, Node]:
    if node.good < good_answers or (node.is_in and not node.is_held):
        return nodes
    since = node.since if node.is_in else seen.at
    freed = {name: _leave(n, seen.at) for name, n in nodes.items() if n.is_held}
    return {**nodes, **freed, node.name: replace(node, is_in=True, is_held=False, since=since)}


def _leave(node: Node, at: float) -> Node:
    return replace(node, is_in=False, is_held=False, since=at, left_at=at)


def _eject(nodes: dict[str, Node], node: Node, seen: Observation) -> dict[str, Node]:
    out = {**nodes, node.name: _leave(node, seen.at)}
    if any(n.is_in for n in out.values()):
        return out
    held = {n.name: _hold(n, seen.at) for n in out.values() if _went_together(n, seen.at)}
    return {**out, **held, node.name: replace(node, is_held=True)}


def _went_together(node: Node, at: float) -> bool:
    return at - node.left_at <= TOGETHER_SECONDS and node.look not in (Look.GOOD, Look.DRAINED)


def _hold(node: Node, at: float) -> Node:
    return replace(node, is_in=True, is_held=True, since=at)


def find_effects(before: Mapping[str, Node], after: Mapping[str, Node]) -> tuple[Effect, ...]:
    """Links first, those that come in before those that go: the set is never empty in between."""
    moved = sorted((n for n in after.values() if n.is_in != before[n.name].is_in), key=lambda n: (not n.is_in, n.name))
    links = [SetLink(n.name, n.is_in) for n in moved]
    return (*links, *(Say(line) for line in _find_lines(before, after, moved)))


def _find_lines(before: Mapping[str, Node], after: Mapping[str, Node], moved: list[Node]) -> list[str]:
    lines = [f"{n.name} in" if n.is_in else f"{n.name} out: {_why(n)}" for n in moved if not n.is_held]
    told = [n for n in after.values() if n.look is Look.DRAINED and before[n.name].look is not Look.DRAINED]
    lines += [f"{n.name} is {_why(n)}" for n in told if n not in moved and not n.is_in]
    was, now = _held(before), _held(after)
    if now and not was:
        lines.append(f"every node looks dead: kept {', '.join(now)} in")
    if was and not now:
        lines.append("a node answers again: the kept set is given up")
    return lines


def _held(nodes: Mapping[str, Node]) -> list[str]:
    return sorted(n.name for n in nodes.values() if n.is_held)


def _why(node: Node) -> str:
    return f"{node.look or 'unknown'}{f' ({node.reason})' if node.reason else ''}"
