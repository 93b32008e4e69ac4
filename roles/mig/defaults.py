"""What the mig role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mig:
    """Empty: the GPUs are left as they are. What a layout may say, and what is refused: README.md."""

    # How each GPU is divided, in the driver's order; one layout is for all: "7x1g.10gb", "3g.40gb, 2x2g.20gb", "off".
    mig_layouts: tuple[str, ...] = ()
    # Which slot computes on what, GPU / instance, both counted from 0: ("a: 0/0", "b: 0/1"); "b: 1" is a whole GPU.
    mig_slots: tuple[str, ...] = ()
