"""What the ssh role takes from the inventory; `sshd_`, for pyinfra's own keys begin with `ssh_`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ssh:
    """How people and programs get in. Port and addresses of sshd are the system's and left alone."""

    # False: sshd is left as it is, and what this role wrote before is taken away.
    sshd_hardened: bool = True
    # Accounts, or patterns of them as sshd knows them, beside root and dsops that may log in. Empty: every account.
    sshd_allow_users: tuple[str, ...] = ()
    # Forwarding of TCP: only where this server is a way to others (ProxyJump).
    sshd_allow_tcp_forwarding: bool = False
    # Keys that one connection may offer; agents with many keys need more.
    sshd_max_auth_tries: int = 4
    # Seconds until somebody who has not logged in is sent away.
    sshd_login_grace_seconds: int = 30
    # A client that is gone is noticed after three times this, in seconds.
    sshd_alive_seconds: int = 30
