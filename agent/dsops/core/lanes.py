"""The lanes of a node and the shares that they add up to: which lanes lead to a canary's slot. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from dsops.core.errors import DsopsError

# lane -> percent of the traffic. Turned one by one in this order, they give the shares.
LANES: Mapping[str, int] = MappingProxyType({"l1": 1, "l4": 4, "l20": 20, "l25": 25, "l50": 50})
SHARES = (1, 5, 25, 50, 100)
# The lane that a canary gets last: where it leads, there the active release is.
STABLE = "l50"


def find_lanes(share: int) -> tuple[str, ...]:
    """The lanes that lead to the new slot at so many percent. Raises DsopsError on another share."""
    if share not in SHARES:
        known = ", ".join(str(one) for one in SHARES)
        raise DsopsError(f"{share} % is no share that lanes can give", where="share", mend=f"one of {known}")
    return tuple(LANES)[: SHARES.index(share) + 1]
