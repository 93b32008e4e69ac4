"""What the agent role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Agent:
    """The read-only view of a server."""

    dsops_agent_port: int = 9410
    # How many GPUs this server must have; -1: whatever is found.
    agent_gpus: int = -1
