"""What the agent role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Agent:
    """The watch over a server."""

    dsops_agent_port: int = 9410
    # How many GPUs this server must have; -1: whatever is found.
    agent_gpus: int = -1
    # How often the active release is asked a golden prompt, in seconds; three strikes take at most about three times.
    agent_probe_seconds: float = 15.0
    # So long after its own start the agent takes traffic away, but restarts and rolls back nothing.
    agent_hold_seconds: float = 120.0
    # Where the kernel's log is read: a GPU that leaves the bus says so there first. "": no kernel of its own.
    agent_kernel_log: str = "/dev/kmsg"
    # So many other servers must serve before a check, such as a GPU that left the bus, takes this one out of traffic.
    agent_keep_serving: int = 1
    # From one request of dsops' own to a release to its next while a canary is out: in half an hour 2 s make 900.
    agent_canary_pause_seconds: float = 2.0
