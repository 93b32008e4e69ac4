"""store.toml: where the store lies, whose signature counts, and what dsops may do by itself."""

from dataclasses import dataclass
from pathlib import Path

from dsops.core.accept.certificate import Demand as Certificate
from dsops.core.errors import DsopsError
from dsops.core.passport import Policy as Passports
from dsops.core.state import Policy
from dsops.node.sources.config import read_config

PATH = Path("/etc/dsops/store.toml")


@dataclass(frozen=True)
class StoreConfig:
    """Read by the helper and by the agent. Seconds; memory_reserve is a share, of a release's size and of the memory.

    namespace: what a release's signature must be good for, `dsops-release@v1` or `dsops-release-lab@v1`.
    cold: where the cold tier is mounted, "" = there is none. hot_reserve: the share of the hot file system that stays
    free; when less is, old releases go cold. hot_is_raid0: one lost disk loses all of it, so that known-good releases
    are kept on the cold tier as well. passport: whether a release may come in without one for this hardware.
    certificate: whether one may come in on a node that was not accepted; certificate_days: how old its certificate may
    be, 0 = it does not expire.
    """

    namespace: str
    state: str = "/var/lib/dsops"
    allowed_signers: str = "/etc/dsops/allowed_signers"
    bake_seconds: float = 1800.0
    known_good_seconds: float = 86400.0
    rollbacks_per_day: int = 2
    restarts_per_hour: int = 2
    bad_seconds: float = 86400.0
    memory_reserve: float = 0.1
    cold: str = ""
    hot_reserve: float = 0.1
    hot_is_raid0: bool = False
    passport: Passports = Passports.WHEN_THERE
    certificate: Certificate = Certificate.OFF
    certificate_days: int = 0

    @property
    def root(self) -> Path:
        """The store's folder."""
        return Path(self.state)

    @property
    def policy(self) -> Policy:
        """What the brain needs of it."""
        return Policy(
            bake_seconds=self.bake_seconds,
            known_good_seconds=self.known_good_seconds,
            rollbacks_per_day=self.rollbacks_per_day,
            restarts_per_hour=self.restarts_per_hour,
            bad_seconds=self.bad_seconds,
        )


def read_store_config(path: Path = PATH) -> StoreConfig:
    """Raises DsopsError naming the key."""
    config = read_config(path, StoreConfig)
    for key, number in vars(config).items():
        if isinstance(number, int | float) and number < 0:
            raise DsopsError(f"should not be below 0, is {number:g}", where=f"{path}: {key}", mend="leave it out")
    if not config.namespace:
        raise DsopsError("is empty", where=f"{path}: namespace", mend='namespace = "dsops-release@v1"')
    _check_tiers(config, path)
    return config


def _check_tiers(config: StoreConfig, path: Path) -> None:
    if config.cold and not Path(config.cold).is_absolute():
        mend = 'cold = "/var/lib/dsops-cold"'
        raise DsopsError(f"is no absolute path: {config.cold!r}", where=f"{path}: cold", mend=mend)
    if config.hot_is_raid0 and not config.cold:
        what = "a RAID0 loses all with one disk, and there is no cold tier that would still hold a known-good release"
        raise DsopsError(what, where=f"{path}: hot_is_raid0", mend='cold = "/var/lib/dsops-cold", or no RAID0')
    if config.hot_reserve >= 1:
        raise DsopsError(f"should be below 1, is {config.hot_reserve:g}", where=f"{path}: hot_reserve", mend="0.1")
