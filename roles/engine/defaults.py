"""What the engine role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One release a server for now: the one that the bundle carries."""

    # The engine's name, as in model_repo/engines.
    engine_name: str = "openvino"
