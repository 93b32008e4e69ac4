"""What happens once before a run changes anything: lock, inventory keys, the bundle's proof, a look at all servers."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from getpass import getuser
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeVar

from dsops import __version__
from dsops.core.errors import DsopsError
from pyinfra import host, inventory
from pyinfra.api.exceptions import DeployError
from pyinfra.facts.server import LinuxDistribution

from roles.agent.defaults import Agent
from roles.base.defaults import Base
from roles.container.defaults import Container
from roles.driver.defaults import DriverSet
from roles.engine.defaults import Engine
from roles.firewall.defaults import Firewall
from roles.gateway.defaults import Gateway
from roles.helper.defaults import Helper
from roles.mig.defaults import Mig
from roles.monitoring.defaults import Monitoring
from roles.nginx.defaults import Nginx
from roles.ops.batch import ask_ahead
from roles.ops.changes import tell_looked
from roles.ops.connection import guard_connection, quieten, tune_connections
from roles.ops.frames import quicken_order
from roles.ops.listens import check_ports
from roles.ops.machine import InContainer
from roles.ops.order import is_failed, order_servers
from roles.ops.proven import find_folder, prove_once
from roles.ops.settings import check_keys, read_settings
from roles.ops.systems import read_release
from roles.preflight.defaults import Preflight
from roles.preflight.look import preflight
from roles.rdma.defaults import Rdma
from roles.ssh.defaults import Ssh
from roles.storage.defaults import Storage
from roles.swap.defaults import Swap
from roles.system.defaults import SystemTuning
from roles.triton.defaults import Triton

T = TypeVar("T")
KINDS = (
    Preflight, Base, Storage, Swap, SystemTuning, DriverSet, Ssh, Firewall, Agent, Triton, Helper, Engine, Gateway,
    Mig, Container, Nginx, Monitoring, Rdma,
)  # fmt: skip
ONCE = Lock()
# The roles write through their own channel, without sudo's detour; they are root or nothing.
OTHER_USERS = ("_sudo", "_sudo_user", "_su_user", "_doas", "_doas_user")


def start_site() -> bool:
    """To be called first by every deploy file, for every server. The costly parts happen once a run.

    False: the server was lost meanwhile. pyinfra counts it as failed; the caller adds nothing more for it, for
    an error here would end the run of the others too.
    """
    with ONCE:  # pyinfra loads the deploy for all servers at once
        _guard(_take_lock)
        _guard(_check_inventory)
        _guard(_verify_bundle)
        quieten()
        order_servers(host.state)
        quicken_order(host.state)
        tune_connections(host.state)
        _guard(preflight)
    guard_connection()
    server = host.state.inventory.get_host(host.name)
    ask_ahead(host.state, server, (partial(server.get_fact, kind) for kind in (LinuxDistribution, InContainer)))
    read_release(host.state, host.name)
    return not is_failed(host)


def end_site() -> None:
    """To be called last: a dry run that came so far on a server has looked at all of it."""
    tell_looked(is_whole=not is_failed(host))


def lock_path() -> Path:
    """One deploy at a time on one control host, whoever types it and from whichever checkout."""
    return Path("/run/lock/dsops-deploy.lock")


@cache
def _take_lock() -> IO[str]:
    """This run's lock, held until the process ends."""
    return take_lock(lock_path())


def take_lock(path: Path) -> IO[str]:
    """Takes the lock and writes who has it. Raises DsopsError that names the holder."""
    stream = _open_lock(path)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        raise DsopsError(
            f"another deploy is running ({stream.read() or 'just started'})", where=str(path), mend="wait for it to end"
        ) from error
    stream.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    stream.write(f"user {getuser()}, pid {os.getpid()}, since {since}")
    stream.flush()
    return stream


def _open_lock(path: Path) -> IO[str]:
    """Opened without O_CREAT when it is there: in /run/lock the kernel refuses that for other users' files."""
    try:
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))
                path.chmod(0o666)
        return path.open("r+")
    except OSError as error:
        mend = "deploy as the user who owns it, or as root"
        raise DsopsError(f"the lock cannot be opened ({error.strerror})", where=str(path), mend=mend) from error


@cache
def _check_inventory() -> None:
    problems = [text for server in inventory for text in check_server(server.name, _data(server))]
    problems += [text for one in inventory for text in check_ports(one.name, one.groups, _data(one))]
    if problems:
        raise DsopsError(
            "\n  ".join(["the inventory is not as the roles need it", *problems]),
            mend="mend the keys; nothing was changed",
        )


def check_server(name: str, data: Mapping[str, Any]) -> list[str]:
    """One sentence for each problem with a server's inventory data."""
    others = [key for key in OTHER_USERS if data.get(key)]
    return check_keys(data, KINDS, where=name) + [
        f'{name}: {key} is set, but the roles log in as root; remove it and set ssh_user = "root"' for key in others
    ]


@cache
def _verify_bundle() -> None:
    base = read_settings(Base, _data(host), where=host.name)
    words = [sys.executable, "-m", "dsops", "bundle", "verify", base.bundle_path]
    words += ["--allowed-signers", base.bundle_allowed_signers, "--namespace", base.bundle_namespace]

    def prove() -> None:
        done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            raise DsopsError(done.stderr.strip().removeprefix("error: "), mend="nothing was changed")

    signers = _read_text(Path(base.bundle_allowed_signers))
    key = f"{__version__}\n{base.bundle_namespace}\n{signers}"
    prove_once(Path(base.bundle_path), prove, key=key, folder=find_folder())


def _read_text(path: Path) -> str:
    """Empty where it cannot be read: whoever needs it says so better."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _guard(step: Callable[[], Any]) -> None:
    """Runs a step; an expected error ends the run in pyinfra's own words, before anything was changed."""
    try:
        step()
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}") from error


def _data(server: Any) -> dict[str, Any]:
    """All inventory data of a server, in pyinfra's precedence."""
    return dict(server.data.dict())


def settings(kind: type[T]) -> T:
    """This server's settings of one role."""
    try:
        return read_settings(kind, _data(host), where=host.name)
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}") from error


def address_of(server: Any) -> str:
    """The address at which other servers reach a server of the inventory."""
    data = server.data
    return str(data.get("dsops_address") or data.get("ssh_hostname") or server.name)


def servers(group: str = "") -> list[tuple[str, str]]:
    """(name, address) of every server of a group, in the inventory's order; without one, of every server there is."""
    members = inventory.groups.get(group, []) if group else inventory
    return [(server.name, address_of(server)) for server in members]


def group_value(group: str, key: str, default: int) -> int:
    """A number from the inventory that belongs to the servers of another group, such as their port."""
    members = inventory.groups.get(group, [])
    return int(members[0].data.get(key, default)) if members else default
