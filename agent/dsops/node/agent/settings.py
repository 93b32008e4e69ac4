"""What a watch is told once."""

from dataclasses import dataclass, field

from dsops.core.state import Policy
from dsops.node.agent.rounds import Pace


@dataclass(frozen=True)
class Settings:
    """canary_pause: seconds from one sample of a release on trial to its next."""

    node: str
    policy: Policy = field(default_factory=Policy)
    pace: Pace = field(default_factory=Pace)
    hold_seconds: float = 120.0
    has_peers: bool = False
    canary_pause: float = 2.0
