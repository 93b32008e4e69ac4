"""ssh: keys only, little else allowed; in force on trial until a new login has come through."""

from dsops.core.errors import DsopsError
from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.ops.machine import skip
from roles.ops.site import settings
from roles.ssh.defaults import Ssh
from roles.ssh.load import FOLDER, MAIN, Reads, hardened, not_hardened
from roles.ssh.options import get_effective, render_config


@deploy("ssh")
def ssh() -> None:
    """Hardens sshd by one drop-in. What would cut off the operator is refused before any change."""
    said = settings(Ssh)
    if not said.sshd_hardened:
        skip("ssh", "sshd_hardened is false in the inventory")
        not_hardened(name="ssh: left as it was")
        return
    try:
        check_login()
        content, wanted = render_config(said), get_effective(said)
    except DsopsError as error:
        raise DeployError(f"{host.name}: {error}\n  mend: {error.mend}; nothing was changed") from error
    hardened(name="ssh: configuration", content=content, wanted=wanted, _timeout=180)


def check_login() -> None:
    """Raises DsopsError where this login, or the system, does not go with what the role does."""
    if host.data.get("ssh_password"):
        mend = "log in with a key (ssh_key), or set sshd_hardened = False"
        raise DsopsError("pyinfra logs in with a password, which the role forbids", where="ssh_password", mend=mend)
    if why := host.get_fact(Reads):
        mend = f"put `Include {FOLDER}/*.conf` into its first line, or set sshd_hardened = False"
        raise DsopsError(why, where=MAIN, mend=mend)
