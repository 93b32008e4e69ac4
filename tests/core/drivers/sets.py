"""Locksets as the tests need them."""

from dataclasses import replace

from dsops.catalog.locksets import get_lockset
from dsops.core.drivers.gate import LIBRARIES, MANAGER, PERSISTENCED, Asked, Facts
from dsops.core.drivers.lockset import Lockset

DEBIAN = get_lockset("debian12-535.309.01")
OLDER = get_lockset("debian12-535.261.03")
OPEN = get_lockset("ubuntu2404-570.133.20-open")
BOARD = get_lockset("ubuntu2404-580.105.08-open")


def make_facts(lockset: Lockset = OPEN, **more: object) -> Facts:
    """A boot of eight GPUs in which all is well."""
    release = lockset.kernel.release
    well = Facts(
        boot="b1",
        kernel=release,
        gpus=8,
        loaded=lockset.driver,
        file=lockset.driver,
        fits=release,
        libraries=dict.fromkeys(LIBRARIES, lockset.driver),
        packages=dict(lockset.pins),
        held=frozenset(lockset.pins),
        services={MANAGER: "active", PERSISTENCED: "active"},
        manager=lockset.driver,
        asked=Asked(nvml=0, driver=lockset.driver, gpus=8, fabric=(3,) * 8, cuda=0),
    )
    return replace(well, **more)  # type: ignore[arg-type]
