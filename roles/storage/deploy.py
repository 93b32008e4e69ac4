"""Storage: the hot and the cold tier, each a file system of its own on disks that the inventory describes."""

from pathlib import Path

from pyinfra.api import deploy

from roles.ops.files import Owner, config_file, folders, render
from roles.ops.machine import is_container, skip
from roles.ops.packages import install_packages
from roles.ops.site import settings
from roles.ops.systems import get_host_system
from roles.ops.units import unit
from roles.storage.choice import COLD, HOT
from roles.storage.defaults import Storage
from roles.storage.tiers import READ_AHEAD_KB, check_disks, tier, tuned

HERE = Path(__file__).parent
RULES = "/etc/udev/rules.d/99-dsops-storage.rules"
TRIM = "/etc/systemd/system/fstrim.service.d/dsops.conf"


@deploy("storage")
def storage() -> None:
    """Makes the tiers that the inventory asks for; touches no disk where it asks for none."""
    said = settings(Storage)
    contained = is_container()
    if (said.storage_hot, said.storage_cold) == ("none", "none"):
        return
    if contained:
        skip("storage: the tiers", "a container has no disks of its own")
        return
    if not check_disks(said):
        return
    install_packages(role="storage", names=("xfsprogs", "mdadm") if said.storage_raid0 else ("xfsprogs",))
    rules = render(HERE / "templates/storage.rules.j2", hdd_kb=READ_AHEAD_KB["hdd"], flash_kb=READ_AHEAD_KB["nvme"])
    config_file(name="storage: how disks are read", path=RULES, content=rules)
    python = get_host_system().python
    # One server after the other: what uses the store there stands still meanwhile.
    if said.storage_cold != "none":
        tier(name="storage: cold tier", which="cold", said=said, python=python, _serial=True)
    if said.storage_hot != "none":
        tier(name="storage: hot tier", which="hot", said=said, python=python, _serial=True)
    tuned(name="storage: disks are read so")
    _trim(said)


def _trim(said: Storage) -> None:
    """Once a week, as the system's timer does; its service leaves out what /etc/fstab does not name."""
    media = ((said.storage_cold, COLD.place), (said.storage_hot, HOT.place))
    places = [place for medium, place in media if medium in {"nvme", "ssd"}]
    if not places:
        return
    folders(name="storage: folder of trimming", wanted={str(Path(TRIM).parent): Owner("755")})
    config_file(
        name="storage: what is trimmed", path=TRIM, content=render(HERE / "templates/fstrim.conf.j2", places=places)
    )
    unit(name="storage: trims weekly", unit_name="fstrim.timer", inputs=[TRIM])
