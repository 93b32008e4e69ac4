"""The status of one server as it goes over the wire: the agent serves it, `dsops status` reads it."""

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance

VERSION = 5


class ReleaseState(StrEnum):
    """Where the release stands on this node. Owner: the store (DESIGN section 3). active = past its bake window."""

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


class Measure(StrEnum):
    """What a finding asks for, from least to most. After a drain a person resets, reboots or replaces."""

    NONE = "none"
    ALERT = "alert"
    RESTART = "restart"
    DRAIN = "drain"
    RESET = "reset"
    REBOOT = "reboot"
    REPLACE = "replace"


@dataclass(frozen=True)
class Finding:
    """What one check says, and the next thing to do. `condition` is what it makes of the node.

    measure: what dsops does about it, and what it asks a person for. since: Unix seconds, None: nobody counted.
    excuses: whether it can be why an engine fails, so that no release is blamed.
    """

    entity: str
    code: str
    status: Verdict
    blame: Blame
    condition: Condition
    reason: str
    mend: str = ""
    measure: Measure = Measure.ALERT
    since: float | None = None
    excuses: bool = True


@dataclass(frozen=True)
class Gpu:
    """One GPU; None where the driver did not say. pci: its address, such as `00000000:3B:00.0`."""

    index: int
    name: str
    uuid: str
    temperature_c: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilization_percent: int | None
    power_w: float | None
    pci: str = ""


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
class BadMark:
    """A release that this node refuses. until: Unix seconds, None = until a person unmarks it."""

    release: str
    reason: str
    until: float | None = None


@dataclass(frozen=True)
class Proof:
    """What a node measured when it proved a release. accepted of prompts golden answers were right.

    answers: which of its accepted answers each prompt got, in their order. cached: the share of the release that the
    page cache held when loading began; watched: from its start, so that load_seconds is no upper bound only.
    quiet: nothing else was asked meanwhile. judged: what its passport said to it.
    """

    release: str
    at: float
    accepted: int
    prompts: int
    load_seconds: float
    tokens_per_second: float | None
    gpus: tuple[str, ...] = ()
    answers: tuple[int, ...] = ()
    cached: float | None = None
    watched: bool = False
    quiet: bool = False
    engine_version: str = ""
    judged: str = ""


@dataclass(frozen=True)
class Canary:
    """A release that has a share of the traffic beside the active one, in percent.

    since: when it got that share, Unix seconds. strikes: what speaks against it now. reason: of the verdict, or why
    nothing is done about it; "" while all is well. synthetic: dsops' own requests to it that count as a sample.
    """

    release: str
    slot: str
    share: int
    since: float
    verdict: Verdict
    strikes: int = 0
    reason: str = ""
    synthetic: int = 0


@dataclass(frozen=True)
class NodeStatus:
    """One server. Times are Unix seconds; `since` is when release_state, phase or condition last changed.

    slot: which one has the traffic. ejected: why the agent keeps traffic away, None when it does not. move: the
    change under way in words. fallback: what a rollback would go to. failing_since: first BAD of what goes on now.
    canary: None while no release has a share beside the active one. maintenance: None while there is none.
    """

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
    slot: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    strikes: int = 0
    ejected: str | None = None
    move: str = ""
    baking_until: float | None = None
    known_good: tuple[str, ...] = ()
    fallback: str = ""
    bad: tuple[BadMark, ...] = ()
    halted: str = ""
    failing_since: float | None = None
    last_rollback_at: float | None = None
    proof: Proof | None = None
    canary: Canary | None = None
    maintenance: Maintenance | None = None
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
