"""What the triton role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Triton:
    """Slots a and b listen on the loopback at 8100-8102 and 8200-8202; that is fixed (docs/layout.md)."""

    # Memory that one slot may take, as systemd's MemoryMax; empty: no limit.
    triton_memory_max: str = ""
    # How long a slot may take to load its model before its start counts as failed, in seconds.
    triton_load_seconds: int = 180
