"""What the helper role takes from the inventory."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Helper:
    """How long a release is on trial, how much dsops may do by itself, and where old releases go."""

    # What a release's signature must be good for; empty: the one that belongs to bundle_namespace.
    store_namespace: str = ""
    # The bake window: for so long after its switch a failing release is blamed first, and the old one stays loaded.
    store_bake_seconds: int = 1800
    # A release without fault for so long is known good.
    store_known_good_seconds: int = 86400
    # What dsops does by itself on one server, at most.
    store_rollbacks_per_day: int = 2
    store_restarts_per_hour: int = 2
    # How long a mark that dsops set by itself keeps a release out, unless a person confirms it.
    store_bad_seconds: int = 86400
    # The share of a release's size, and of the memory, that must stay free beside a second copy.
    store_memory_reserve: float = 0.1
    # Where the cold tier is mounted, if not by the role storage (storage_cold). Neither: nothing goes cold.
    store_cold: str = ""
    # The share of the hot tier that stays free: when less is, old releases go cold, never those that must be quick.
    store_hot_reserve: float = 0.1
    # The hot tier dies with any of its disks (storage_raid0 says so too): what is known good is kept cold as well.
    store_hot_is_raid0: bool = False
    # Whether a release may come in without a passport for the server's hardware: "when_there" lets one in that has
    # none at all, "demanded" lets none in. One whose passports are all of other hardware never comes in.
    store_passport: str = "when_there"
    # Whether a release may come in on a server that was not accepted (`dsops accept`): "required" lets none in without
    # a certificate of its GPUs, "off" asks for none. "off" is the default for sites that serve already; `dsops init`
    # writes "required".
    store_certificate: str = "off"
    # How old that certificate may be, in days; 0: it does not expire, only other GPUs end it.
    store_certificate_days: int = 0
    # Whether `dsops accept` burns the GPUs in; off where they are simulated.
    accept_burn_in: bool = True
    # The Python on the server that has PyTorch, if not an engine's own; and a folder there with prebuilt kernels, if
    # they did not come with dsops.
    accept_python: str = ""
    accept_cubins: str = ""
    # What is written to the store's disk, read, and removed, in MiB.
    accept_storage_mib: int = 1024
    # Other floors for `dsops accept` than those of its catalog, by the names in docs/accept.md.
    accept_floors: dict[str, float] = field(default_factory=dict)
