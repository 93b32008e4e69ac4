"""What a watch is told once."""

from dataclasses import dataclass, field

from dsops.core.state import Policy
from dsops.node.agent.rounds import Pace


@dataclass(frozen=True)
class Settings:
    """canary_pause: seconds from one sample of a release on trial to its next. keep_serving: so many other servers must
    serve, or this one stays in traffic whatever its checks find."""

    node: str
    policy: Policy = field(default_factory=Policy)
    pace: Pace = field(default_factory=Pace)
    hold_seconds: float = 120.0
    has_peers: bool = False
    canary_pause: float = 2.0
    keep_serving: int = 1
