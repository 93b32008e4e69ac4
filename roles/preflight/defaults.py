"""What the preflight takes from the inventory; `dsops doctor` reads the same keys."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preflight:
    """Keys of a server, a group or the whole fleet."""

    # A problem that stands in a deploy's way: `refuse` ends the run before its first change, for all servers;
    # `warn` shows it and goes on.
    preflight: str = "refuse"
    # Checks whose problems this server may have all the same, by the names that the refusal shows, such as "gpus".
    preflight_accept: tuple[str, ...] = ()
    # The kinds of GPU that this server has, by the names of agent/dsops/catalog/gpus.toml. Empty: one kind, whichever.
    preflight_gpu_kinds: tuple[str, ...] = ()
