"""Helper: the store of a server, and the one root process that may change it."""

from dataclasses import replace
from pathlib import Path

from dsops.core.accept.certificate import Demand
from dsops.core.errors import DsopsError
from dsops.core.passport import Policy
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.base.defaults import Base
from roles.helper.defaults import Helper
from roles.helper.socket import socket_unit
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.site import settings
from roles.storage.choice import COLD
from roles.storage.defaults import Storage

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/store.toml"
ACCEPT = "/etc/dsops/accept.toml"
SIGNERS = "/etc/dsops/allowed_signers"
GROUP = "dsops-store"
HOME = "/var/lib/dsops"
FOLDERS = ("audit", "blobs", "lanes", "passports", "releases", "slots", "staging", "state")


@deploy("helper")
def helper() -> None:
    """Makes the store's folders, and the socket behind which the helper starts when somebody asks."""
    said = add_tiers(settings(Helper), settings(Storage))
    base = settings(Base)
    check_tiers(said)
    check_passport(said)
    check_certificate(said)
    namespace = said.store_namespace or find_namespace(base.bundle_namespace)
    signers = _read_signers(Path(base.bundle_allowed_signers), namespace)
    # Its group may speak to the helper: the operators' door, and the agent.
    account(name="helper: the store's group", user=GROUP, home="/nonexistent")
    account(name="helper: the door", user="dsops", home="/var/lib/dsops-door", shell="/bin/sh", groups=(GROUP,))
    account(name="helper: the agent", user="dsops-agent", home="/nonexistent", groups=(GROUP,))
    wanted = {f"{HOME}/{folder}": Owner("755") for folder in FOLDERS}
    folders(name="helper: the store's folders", wanted=wanted)
    config_file(name="helper: who may sign releases", path=SIGNERS, content=signers)
    config = render(HERE / "templates/store.toml.j2", said=said, purpose=namespace)
    check = "/opt/dsops/venv/bin/python -m dsops.node.helper --check --config {}"
    config_file(name="helper: configuration", path=CONFIG, content=config, check=check)
    accept = render(HERE / "templates/accept.toml.j2", said=said)
    config_file(name="helper: how this server is measured", path=ACCEPT, content=accept)
    units = {
        "socket": (HERE / "templates/dsops-helper.socket").read_text(),
        "service": render_service(said.store_cold),
    }
    for kind, unit in units.items():
        config_file(name=f"helper: {kind}", path=f"/etc/systemd/system/dsops-helper.{kind}", content=unit)
    socket_unit(name="helper: listens", unit_name="dsops-helper", inputs=[CONFIG, "/opt/dsops/venv"])


def render_service(cold: str) -> str:
    """The helper's unit. cold: where the cold tier is mounted, "" where there is none."""
    template = HERE / "templates/dsops-helper.service.j2"
    return render(template, cold=cold, cold_unit=name_mount(cold), cold_parent=str(Path(cold).parent))


def name_mount(path: str) -> str:
    """systemd's name of a mount unit, as `systemd-escape --path --suffix=mount` makes it."""
    words = [word for word in path.split("/") if word]
    return "-".join("".join(map(_escape, word.encode())) for word in words) + ".mount"


def _escape(byte: int) -> str:
    is_plain = byte < 128 and (chr(byte).isalnum() or chr(byte) in ":_.")
    return chr(byte) if is_plain else f"\\x{byte:02x}"


def add_tiers(said: Helper, storage: Storage) -> Helper:
    """The tiers that the role storage makes are the store's, without being named twice."""
    cold = said.store_cold or (COLD.place if storage.storage_cold != "none" else "")
    return replace(said, store_cold=cold, store_hot_is_raid0=said.store_hot_is_raid0 or storage.storage_raid0)


def check_tiers(said: Helper) -> None:
    """Raises DeployError before any change."""
    if said.store_cold and not is_place(said.store_cold):
        mend = 'store_cold = "/var/lib/dsops-cold", or a mount point in /srv or /mnt'
        raise DeployError(f"store_cold is {said.store_cold!r}, no place for a second tier\n  mend: {mend}")
    if said.store_hot_is_raid0 and not said.store_cold:
        what = "the hot tier is a RAID0: one dead disk would take all known-good releases; there is no cold tier"
        mend = 'storage_cold = "hdd" (or store_cold, where others mount it), or no RAID0'
        raise DeployError(f"{what}\n  mend: {mend}")
    if not 0 <= said.store_hot_reserve < 1:
        mend = "a share from 0 to below 1, such as 0.1"
        raise DeployError(f"store_hot_reserve is {said.store_hot_reserve:g}\n  mend: {mend}")


def check_passport(said: Helper) -> None:
    """Raises DeployError before any change."""
    if said.store_passport not in list(Policy):
        mend = f"one of {', '.join(Policy)}"
        raise DeployError(f"store_passport is {said.store_passport!r}\n  mend: {mend}")


def check_certificate(said: Helper) -> None:
    """Raises DeployError before any change."""
    if said.store_certificate not in list(Demand):
        mend = f"one of {', '.join(Demand)}"
        raise DeployError(f"store_certificate is {said.store_certificate!r}\n  mend: {mend}")
    if said.store_certificate_days < 0:
        raise DeployError(f"store_certificate_days is {said.store_certificate_days}\n  mend: days, or 0 for no expiry")
    if not 8 <= said.accept_storage_mib <= 8192:
        raise DeployError(f"accept_storage_mib is {said.accept_storage_mib}\n  mend: 8 to 8192")


def is_place(cold: str) -> bool:
    """Whether a cold tier may be there: beside nothing that the helper must not write, and not within the hot one."""
    path = Path(cold)
    is_deep = path.is_absolute() and len(path.parts) > 2
    return is_deep and path.parts[1] in ("mnt", "srv", "var") and not path.is_relative_to(HOME)


def find_namespace(bundle: str) -> str:
    """What the signers of such bundles sign releases for: `dsops-bundle-lab@v1` -> `dsops-release-lab@v1`."""
    return bundle.replace("bundle", "release", 1)


def _read_signers(path: Path, namespace: str) -> bytes:
    """The list of the control host. Refuses one by which no release would ever be accepted."""
    try:
        return read_signers(path, namespace)
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}") from error


def read_signers(path: Path, namespace: str) -> bytes:
    """Raises DsopsError when nobody in it may sign releases."""
    try:
        content = path.read_bytes()
    except OSError as error:
        mend = "name the list of allowed signers as bundle_allowed_signers"
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(path), mend=mend) from error
    if namespace.encode() not in content:
        mend = f'add it to a signer\'s line: namespaces="...,{namespace}"; `dsops bundle build` does it on its machine'
        raise DsopsError(f"nobody in it may sign for {namespace}", where=str(path), mend=mend)
    return content
