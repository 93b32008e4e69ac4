"""What the storage role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Storage:
    """Which disks the tiers take. Silent: no disk is touched, and everything lies where the system put it.

    Media: none, nvme, ssd (any other disk that does not turn), hdd. Sizes are in GB as written on the disk (10^9).
    """

    # The hot tier, /var/lib/dsops: what is served, what it can go back to, the bundle.
    storage_hot: str = "none"
    # How many of the disks that fit. 0: the only one that fits (with storage_raid0: all of them).
    storage_hot_count: int = 0
    storage_hot_min_gb: int = 0
    # Serials (or WWNs) name the disks exactly; they must fit the rest too.
    storage_hot_serials: tuple[str, ...] = ()
    # The cold tier, /var/lib/dsops-cold: releases that went cold.
    storage_cold: str = "none"
    storage_cold_count: int = 0
    storage_cold_min_gb: int = 0
    storage_cold_serials: tuple[str, ...] = ()
    # The hot tier over several disks, as fast as all of them, gone with any of them: asks for a cold tier.
    storage_raid0: bool = False
    # Disks (serials or WWNs) whose data may be destroyed. Never one that is in use, nor a tier of this server.
    storage_erase_serials: tuple[str, ...] = ()
