"""What the watch is told, and what it wants done; each effect is answered by one event, also when it fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dsops.core.blame import Peer
from dsops.core.looks import Witness
from dsops.core.progress import Progress
from dsops.core.prompts import Prompt
from dsops.core.state import Move, NodeState
from dsops.core.status import Finding, Phase, Proof
from dsops.node.agent.prove import Refusal
from dsops.node.sources.gateway import GatewayStatus
from dsops.node.sources.golden import Golden
from dsops.node.sources.probe import Heard
from dsops.node.sources.units import Unit

WHO = "dsops-agent"


@dataclass(frozen=True)
class Now:
    """Both clocks at one moment: ticks are monotonic seconds, wall are Unix seconds."""

    ticks: float
    wall: float


class Side(StrEnum):
    """Whose eyes: on the slot that has the traffic, or on the one that has a share of it."""

    ACTIVE = "active"
    CANARY = "canary"


# --- effects ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Ask one golden prompt. life: which life of the target it is about; answers about another are not counted.

    sample: it stands for a request of a client, and counts as one to its release. pinned: the gateway must ask this
    slot, whatever the lanes say.
    """

    witness: Witness
    slot: str
    golden: Golden
    prompt: Prompt
    life: int
    began: Now
    side: Side = Side.ACTIVE
    sample: bool = False
    pinned: bool = False


@dataclass(frozen=True)
class Eject:
    """Tell the gateway to take traffic away."""

    reason: str


@dataclass(frozen=True)
class Admit:
    """Tell the gateway to let it in again."""


@dataclass(frozen=True)
class AskPeers:
    """Ask the other nodes how they are."""


@dataclass(frozen=True)
class Inspect:
    """Ask systemd how a slot's process ended. restarts: systemd's own before it."""

    slot: str
    pid: int
    restarts: int
    died: float


@dataclass(frozen=True)
class Prove:
    """Prove the release of a move."""

    move: Move


@dataclass(frozen=True)
class StopProving:
    """The move is gone or another."""


@dataclass(frozen=True)
class Call:
    """Ask the helper. words: the request's, as pairs; so that two equal calls are equal."""

    verb: str
    words: tuple[tuple[str, object], ...] = ()

    def get(self, key: str) -> object:
        """One of its words, None when it was not said."""
        return dict(self.words).get(key)


@dataclass(frozen=True)
class LookNow:
    """Do not wait for the next tick."""


Effect = Probe | Eject | Admit | AskPeers | Inspect | Prove | StopProving | Call | LookNow


# --- events -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SlotSeen:
    """What one tick saw of a slot. golden None: its prompts cannot be read."""

    slot: str
    release: str
    phase: Phase
    unit: Unit
    progress: Progress | None
    golden: Golden | None


@dataclass(frozen=True)
class Seen(SlotSeen):
    """What one tick saw of the slot that has the traffic, of the gateway, of the store and of a canary.

    slot: "" when no lane leads to one. store None: the journal cannot be read. findings: of all checks. canary: None
    while no other slot has a share of the traffic. maintenance: of the whole node, in words, "" while there is none.
    """

    gateway: GatewayStatus | None
    store: NodeState | None
    seq: int = 0
    findings: tuple[Finding, ...] = ()
    canary: SlotSeen | None = None
    maintenance: str = ""


@dataclass(frozen=True)
class Ticked:
    """One whole reading."""

    now: Now
    seen: Seen


@dataclass(frozen=True)
class Alarmed:
    """A check cannot wait for the next tick. findings: of all checks, as of now."""

    now: Now
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Died:
    """A slot's main process ended."""

    now: Now
    slot: str
    pid: int


@dataclass(frozen=True)
class Probed:
    """A probe ended."""

    now: Now
    probe: Probe
    heard: Heard


@dataclass(frozen=True)
class ProbeLost:
    """A probe could not be made at all: nothing is known."""

    now: Now
    probe: Probe


@dataclass(frozen=True)
class TrafficTold:
    """The gateway's answer to Eject or Admit; says: why it did not do it, "" when it did."""

    now: Now
    effect: Eject | Admit
    says: str = ""


@dataclass(frozen=True)
class PeersTold:
    """The peers that answered, of so many asked."""

    now: Now
    peers: tuple[Peer, ...]
    asked: int


@dataclass(frozen=True)
class Inspected:
    """How systemd says that a process ended; None when it does not say."""

    now: Now
    inspect: Inspect
    unit: Unit | None


@dataclass(frozen=True)
class Proved:
    """How a proof ended."""

    now: Now
    move: Move
    result: Proof | Refusal


@dataclass(frozen=True)
class ProofLost:
    """The proof itself could not be made: the release is neither proven nor refuted."""

    now: Now
    move: Move


@dataclass(frozen=True)
class HelperTold:
    """The helper's answer. says: why it did not do it, "" when it did; said: what else it told then."""

    now: Now
    call: Call
    says: str = ""
    seconds: float = 0.0
    said: Mapping[str, Any] = field(default_factory=dict)


Event = (
    Ticked | Alarmed | Died | Probed | ProbeLost | TrafficTold | PeersTold | Inspected | Proved | ProofLost | HelperTold
)
