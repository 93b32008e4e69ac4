"""The status of one server as it goes over the wire: the agent serves it, `dsops status` reads it."""

import dataclasses
import difflib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from dsops.core.errors import DsopsError

VERSION = 1


class ReleaseState(StrEnum):
    """Where the release stands on this node. Owner: the store (DESIGN section 3)."""

    NONE = "none"
    ACTIVE = "active"
    BAKING = "baking"
    KNOWN_GOOD = "known_good"
    BAD = "bad"
    UNKNOWN = "unknown"


class Phase(StrEnum):
    """What the slot, or the server's own service, is doing. Owner: the slot."""

    LOADING = "loading"
    COMPILING = "compiling"
    WARMING = "warming"
    SERVING = "serving"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Condition(StrEnum):
    """What the checks say about the node, from best to worst; blind = the checks cannot see."""

    OK = "ok"
    MAINTENANCE = "maintenance"
    DEGRADED = "degraded"
    BLIND = "blind"
    HUNG = "hung"
    WRONG = "wrong"
    FAILED = "failed"


class Verdict(StrEnum):
    """Three-valued; UNKNOWN never causes an action."""

    OK = "OK"
    BAD = "BAD"
    UNKNOWN = "UNKNOWN"


class Blame(StrEnum):
    """The class that a finding points at; only `release` ever leads to a rollback."""

    RELEASE = "release"
    HARDWARE = "hardware"
    FABRIC = "fabric"
    STORAGE = "storage"
    OVERLOAD = "overload"
    ENVIRONMENT = "environment"
    DSOPS = "dsops"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one check says, and the next thing to do. `condition` is what it makes of the node."""

    entity: str
    code: str
    status: Verdict
    blame: Blame
    condition: Condition
    reason: str
    mend: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU; None where the driver did not say."""

    index: int
    name: str
    uuid: str
    temperature_c: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilization_percent: int | None
    power_w: float | None


@dataclass(frozen=True)
class Slot:
    """Where one release runs: `a` or `b`. unit = systemd's active state; release "" = empty."""

    name: str
    release: str
    unit: str
    phase: Phase
    reason: str
    generated_tokens: float | None = None
    running: float | None = None
    waiting: float | None = None


@dataclass(frozen=True)
class NodeStatus:
    """One server. Times are Unix seconds; `since` is when release_state, phase or condition last changed."""

    node: str
    role: str
    release: str
    release_state: ReleaseState
    release_reason: str
    phase: Phase
    phase_reason: str
    condition: Condition
    condition_reason: str
    since: float
    observed_at: float
    slots: tuple[Slot, ...]
    gpus: tuple[Gpu, ...]
    gpus_reason: str
    tokens_per_second: float | None
    p99_seconds: float | None
    in_flight: int | None
    drained: str | None
    dsops_version: str
    boot_id: str
    uptime_seconds: float | None
    findings: tuple[Finding, ...]
    version: int = VERSION

    def to_json(self) -> str:
        """One JSON object, keys as the fields are named."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str | bytes, *, where: str) -> "NodeStatus":
        """Raises DsopsError, naming the key, on anything that is not a status of this version."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise DsopsError(
                f"the answer is not JSON ({error})", where=where, mend="is this dsops-agent's port?"
            ) from error
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            raise DsopsError(
                f"status version {version!r} is not {VERSION}, the one this dsops reads",
                where=where,
                mend="run the same dsops version here and on the node (`dsops deploy`)",
            )
        return decode(NodeStatus, data, where=where)


def worst(findings: tuple[Finding, ...]) -> tuple[Condition, str]:
    """The node's condition and its reason: that of the worst finding, ok without one."""
    order = list(Condition)
    found = max(findings, key=lambda f: order.index(f.condition), default=None)
    return (found.condition, found.reason) if found else (Condition.OK, "")


T = TypeVar("T")


def decode(cls: type[T], data: object, *, where: str) -> T:
    """The frozen dataclass `cls` from plain data, all of it checked. Raises DsopsError with the key."""
    if not isinstance(data, Mapping):
        raise DsopsError(f"should be a table, is {data!r}", where=where)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cast(Any, cls)) if f.init}
    for key in data:
        if key not in fields:
            raise DsopsError(f"unknown key {key!r}", where=where, mend=suggest(str(key), fields))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise DsopsError(f"the key {name!r} is missing", where=where, mend=f"add {name}")
    values = {k: _value(hints[k], v, where=f"{where}: {k}") for k, v in data.items()}
    return cls(**values)


def suggest(word: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`did you mean X?` for a misspelt word, else the list of what is known."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def _value(kind: Any, value: object, *, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _value(next(a for a in args if a is not type(None)), value, where=where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise DsopsError(f"should be a list, is {value!r}", where=where)
        return tuple(_value(args[0], item, where=f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return decode(cast(type, kind), value, where=where)
    return _plain(kind, value, where=where)


def _plain(kind: type, value: object, *, where: str) -> Any:
    if issubclass(kind, StrEnum):
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise DsopsError(f"should be one of {', '.join(kind)}, is {value!r}", where=where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise DsopsError(f"should be {_NAMES.get(kind, kind.__name__)}, is {value!r}", where=where)
    return value


_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
