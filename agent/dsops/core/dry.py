"""What a dry run of pyinfra would change on each server: its JSON, and what the operations told of themselves. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dsops.core.effects import split_name
from dsops.core.errors import DsopsError

BUG = "a bug of dsops, or another pyinfra than the pinned one"


class Certainty(StrEnum):
    """conditional: only if an operation before it changes something. follows: for what one before it will change."""

    SURE = "sure"
    CONDITIONAL = "conditional"
    FOLLOWS = "follows"


@dataclass(frozen=True)
class Detail:
    """One thing that an operation would do (roles/ops/changes.py). secret: nothing but the target may be shown."""

    kind: str
    target: str
    says: str = ""
    diff: tuple[str, ...] = ()
    secret: bool = False


@dataclass(frozen=True)
class Change:
    """One operation that has something to do on a server."""

    role: str
    operation: str
    certainty: Certainty
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True)
class Dry:
    """server -> its changes, in the order in which they would be made, for every server that was looked at."""

    changes: Mapping[str, tuple[Change, ...]]


def parse_dry(said: str, book: str) -> Dry:
    """From pyinfra's `--dry --json` and the book that roles/ops/changes.py wrote. Raises DsopsError on other words."""
    told = [_parse_line(line) for line in book.splitlines() if line.strip()]
    looked = {str(one["host"]) for one in told if one.get("kind") == "looked"}
    details: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in told:
        if "op" in one:
            details[str(one["host"]), str(one["op"])].append(one)
    found: dict[str, list[Change]] = {name: [] for name in sorted(looked)}
    for operation in _parse_plan(said):
        for name, certainty in _find_servers(operation, details).items():
            if name in found:
                found[name].append(_build(operation, certainty, details.get((name, operation["op_hash"]), [])))
    return Dry({name: tuple(changes) for name, changes in found.items()})


def _parse_line(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError as error:
        raise DsopsError(f"what the operations told is no JSON ({error})", where=line[:80], mend=BUG) from error
    assert isinstance(said, dict)
    return said


def _parse_plan(said: str) -> list[dict[str, Any]]:
    try:
        plan = json.loads(said)["plan"]
        wanted = ("op_hash", "names", "hosts_with_change", "hosts_with_conditional_change")
        if any(key not in one for one in plan for key in wanted):
            raise KeyError
    except (ValueError, KeyError, TypeError) as error:
        raise DsopsError("pyinfra's plan is not understood", where=said[:80], mend=BUG) from error
    return list(plan)


def _find_servers(operation: Mapping[str, Any], told: Iterable[tuple[str, str]]) -> dict[str, Certainty]:
    """What is only told comes last: pyinfra sees no change there, for it looks before anything is changed."""
    found = {name: Certainty.FOLLOWS for name, key in told if key == operation["op_hash"]}
    found |= dict.fromkeys(operation["hosts_with_conditional_change"], Certainty.CONDITIONAL)
    found |= dict.fromkeys(operation["hosts_with_change"], Certainty.SURE)
    return found


def _build(operation: Mapping[str, Any], certainty: Certainty, told: list[dict[str, Any]]) -> Change:
    role, name = split_name(sorted(operation["names"])[0])
    own = next((str(one["name"]) for one in told if one.get("name")), name)
    return Change(role, own, certainty, tuple(_build_detail(one) for one in told))


def _build_detail(one: Mapping[str, Any]) -> Detail:
    diff = tuple(str(line) for line in one["diff"])
    return Detail(str(one["kind"]), str(one["target"]), str(one["says"]), diff, secret=bool(one["secret"]))


def find_differences(planned: tuple[Change, ...], now: tuple[Change, ...], *, is_begun: bool = False) -> list[str]:
    """What a server would do now that is not what was planned, in words; nothing when the plan still holds.

    is_begun: an apply of this plan was cut or failed there, so that some of it may be done already.
    """
    before = {change.operation: change for change in planned}
    after = {change.operation: change for change in now}
    words = [f"{name} has nothing to do any more" for name in before if name not in after and not is_begun]
    for name, change in after.items():
        if name not in before:
            words.append(f"{name} has something to do now, which was not planned")
        elif not _is_as_planned(before[name], change, is_begun=is_begun):
            words.append(f"{name} would do something else than planned: {_name_other(before[name], change)}")
    return words


def _is_as_planned(planned: Change, now: Change, *, is_begun: bool) -> bool:
    if not is_begun:
        return planned.details == now.details
    # Half done: fewer things are left, and where a service was to be reloaded it may have to be started.
    left = {(one.kind, one.target) for one in now.details}
    same = all(one in planned.details for one in now.details if one.kind == "file" and one.diff)
    return same and left <= {(one.kind, one.target) for one in planned.details}


def _name_other(planned: Change, now: Change) -> str:
    others = [one for one in now.details if one not in planned.details]
    others += [one for one in planned.details if one not in now.details]
    return ", ".join(dict.fromkeys(f"{one.target} {one.says}".strip() for one in others)) or "it said less"
