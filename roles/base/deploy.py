"""Base: folders, accounts, time, limits, Debian packages and Python from the bundle, and the operators' SSH door."""

from pathlib import Path

from dsops.core.errors import DsopsError
from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.base.defaults import Base
from roles.ops.accounts import account
from roles.ops.bundle import BUNDLE, bundle_path, bundle_sums, bundle_tree
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.packages import APT_CONF, install_packages
from roles.ops.python import environment
from roles.ops.site import settings
from roles.ops.systems import System, check_bundle, get_host_system
from roles.ops.units import unit
from roles.ops.upgrade import upgrade

HERE = Path(__file__).parent
DOOR = "/var/lib/dsops-door"
CHRONY = "/etc/chrony/chrony.conf"


@deploy("base")
def base() -> None:
    """Makes a fresh server one that the other roles can build on."""
    said = settings(Base)
    system = check_system()
    folders(name="base: folders", wanted=FOLDERS)
    config_file(name="base: apt reads the bundle only", path=APT_CONF, content=render(HERE / "templates/apt.conf.j2"))
    keyring = (bundle_path() / "apt/base/keyring.gpg").read_bytes()
    config_file(name="base: apt keyring", path="/etc/dsops/apt-keyring.gpg", content=keyring)
    chrony = render(HERE / "templates/chrony.conf.j2", servers=said.base_ntp_servers)
    config_file(name="base: time servers", path=CHRONY, content=chrony)
    install_packages(role="base")
    # A container may not set the clock: there chrony's own unit file keeps it down.
    unit(name="base: time", unit_name="chrony.service", inputs=[CHRONY], optional=True)
    limits = render(HERE / "templates/limits.conf.j2", nofile=said.base_nofile)
    config_file(name="base: limits", path="/etc/security/limits.d/90-dsops.conf", content=limits)
    _install_dsops(system)
    _open_door(said)


def check_system() -> System:
    """The server's system. Refuses one that the roles or the bundle were not made for, before anything is changed."""
    try:
        system = get_host_system()
        packages = (bundle_path() / "apt/base/Packages").read_text()
        check_bundle(system, packages=packages, wheels=bundle_sums("wheels/node").files, where=host.name)
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}") from error
    return system


FOLDERS = {
    "/etc/dsops": Owner(mode="755"),
    "/etc/dsops/apt.d": Owner(mode="755"),
    "/etc/chrony": Owner(mode="755"),
    "/opt/dsops": Owner(mode="755"),
    "/var/lib/dsops": Owner(mode="755"),
    BUNDLE: Owner(mode="755"),
    f"{BUNDLE}/apt": Owner(mode="755"),
    f"{BUNDLE}/wheels": Owner(mode="755"),
}


def _install_dsops(system: System) -> None:
    bundle_tree("wheels/node")
    bundle_tree("wheels/dsops")
    own = bundle_sums("wheels/dsops")
    version = f"{own.id}-{bundle_sums('wheels/node').id}"
    # All servers build at once; then one after the other is turned to it, and a bad build stops at the first.
    environment(
        name="base: dsops",
        path="/opt/dsops/venv",
        version=version,
        requirements=[f"{BUNDLE}/wheels/node"],
        wheels={f"{BUNDLE}/wheels/dsops/{wheel}": digest for wheel, digest in own.files.items()},
        python=system.python,
        turn=False,
        _timeout=600,
    )
    upgrade(
        name="base: dsops in use",
        path="/opt/dsops/venv",
        version=version,
        python=system.python,
        _serial=True,
        _timeout=600,
    )


def _open_door(said: Base) -> None:
    """The account `dsops`: keys only, and each session runs `dsops node --ssh` and nothing else."""
    account(name="base: account dsops", user="dsops", home=DOOR, shell="/bin/sh", groups=("systemd-journal",))
    folders(
        name="base: the door's folders",
        wanted={DOOR: Owner("755"), f"{DOOR}/.ssh": Owner("755")},
    )
    if said.dsops_public_key_file:
        public = Path(said.dsops_public_key_file).read_text().strip()
        line = f'restrict,command="/opt/dsops/venv/bin/dsops node --ssh" {public}\n'
        config_file(name="base: operators' key", path=f"{DOOR}/.ssh/authorized_keys", content=line)
