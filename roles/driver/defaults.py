"""What the driver role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DriverSet:
    """Keys of the driver role. Why these values: README.md."""

    # A set of agent/dsops/catalog/locksets.toml that the bundle carries; empty: the driver is somebody else's.
    driver_lockset: str = ""
    # Engines and images that shall run here, as locksets_rules.toml names them; what cannot work is refused.
    driver_engines: tuple[str, ...] = ()
    # Boots that may reach the gate and fail, until the node goes back to the set before.
    driver_gate_failures: int = 2
