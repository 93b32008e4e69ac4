"""Helper: the store of a server, and the one root process that may change it."""

from pathlib import Path

from dsops.core.errors import DsopsError
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.base.defaults import Base
from roles.helper.defaults import Helper
from roles.helper.socket import socket_unit
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.site import settings

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/store.toml"
SIGNERS = "/etc/dsops/allowed_signers"
GROUP = "dsops-store"
FOLDERS = ("blobs", "lanes", "passports", "releases", "slots", "staging", "state")


@deploy("helper")
def helper() -> None:
    """Makes the store's folders, and the socket behind which the helper starts when somebody asks."""
    said = settings(Helper)
    base = settings(Base)
    namespace = said.store_namespace or find_namespace(base.bundle_namespace)
    signers = _read_signers(Path(base.bundle_allowed_signers), namespace)
    # Its group may speak to the helper: the operators' door, and the agent.
    account(name="helper: the store's group", user=GROUP, home="/nonexistent")
    account(name="helper: the door", user="dsops", home="/var/lib/dsops-door", shell="/bin/sh", groups=(GROUP,))
    account(name="helper: the agent", user="dsops-agent", home="/nonexistent", groups=(GROUP,))
    wanted = {f"/var/lib/dsops/{folder}": Owner("755") for folder in FOLDERS}
    folders(name="helper: the store's folders", wanted=wanted)
    config_file(name="helper: who may sign releases", path=SIGNERS, content=signers)
    config = render(HERE / "templates/store.toml.j2", said=said, purpose=namespace)
    check = "/opt/dsops/venv/bin/python -m dsops.node.helper --check --config {}"
    config_file(name="helper: configuration", path=CONFIG, content=config, check=check)
    for kind in ("socket", "service"):
        unit = (HERE / f"templates/dsops-helper.{kind}").read_text()
        config_file(name=f"helper: {kind}", path=f"/etc/systemd/system/dsops-helper.{kind}", content=unit)
    socket_unit(name="helper: listens", unit_name="dsops-helper", inputs=[CONFIG, "/opt/dsops/venv"])


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
