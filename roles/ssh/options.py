"""What sshd is told, and how `sshd -T` must print it. Pure."""

import re
from dataclasses import dataclass

from dsops.core.errors import DsopsError

from roles.ssh.defaults import Ssh

# What OpenSSH 8.9 to 9.6 and paramiko 4 (pyinfra, Fabric) both speak, best first. No chacha20 and no CBC: where one
# end is not patched, Terrapin (CVE-2023-48795) breaks those. No SHA-1, no NIST curves for signatures of ours.
KEX = (
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group16-sha512",
)
CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes128-ctr")
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
ALWAYS = ("root", "dsops")  # pyinfra's login, and the operators' door
DOOR = "dsops"
DOOR_RUNS = "/opt/dsops/venv/bin/dsops node --ssh"
USER = re.compile(r"[A-Za-z0-9_.*?-]+(@[A-Za-z0-9_.*?:/-]+)?")


@dataclass(frozen=True)
class Option:
    """One line of sshd_config. printed: as `sshd -T` says it, where that differs from the value."""

    key: str
    value: str
    printed: str = ""

    @property
    def line(self) -> str:
        return f"{self.key} {self.value}"

    @property
    def effective(self) -> str:
        return f"{self.key.lower()} {self.printed or self.value}"


def get_options(said: Ssh) -> tuple[Option, ...]:
    """For everybody. Raises DsopsError on a user that is none."""
    return (
        Option("PasswordAuthentication", "no"),
        Option("KbdInteractiveAuthentication", "no"),
        Option("PermitEmptyPasswords", "no"),
        Option("HostbasedAuthentication", "no"),
        Option("PubkeyAuthentication", "yes"),
        Option("PermitRootLogin", "prohibit-password", printed="without-password"),
        Option("StrictModes", "yes"),
        Option("PermitUserEnvironment", "no"),
        Option("AllowTcpForwarding", "yes" if said.sshd_allow_tcp_forwarding else "no"),
        Option("AllowStreamLocalForwarding", "no"),
        Option("AllowAgentForwarding", "no"),
        Option("X11Forwarding", "no"),
        Option("PermitTunnel", "no"),
        Option("GatewayPorts", "no"),
        Option("MaxAuthTries", str(_positive(said.sshd_max_auth_tries, "sshd_max_auth_tries"))),
        Option("LoginGraceTime", str(_positive(said.sshd_login_grace_seconds, "sshd_login_grace_seconds"))),
        Option("ClientAliveInterval", str(_positive(said.sshd_alive_seconds, "sshd_alive_seconds"))),
        Option("ClientAliveCountMax", "3"),
        Option("KexAlgorithms", ",".join(KEX)),
        Option("Ciphers", ",".join(CIPHERS)),
        Option("MACs", ",".join(MACS)),
    )


def get_door_options() -> tuple[Option, ...]:
    """For the account `dsops`, whatever its keys say."""
    return (
        Option("ForceCommand", DOOR_RUNS),
        Option("DisableForwarding", "yes"),
        Option("PermitTTY", "no"),
        Option("PermitUserRC", "no"),
    )


def get_users(said: Ssh) -> tuple[str, ...]:
    """Who may log in; empty: every account. Raises DsopsError on a text that is no user."""
    for user in said.sshd_allow_users:
        if not USER.fullmatch(user):
            mend = "give names or patterns, such as alice, ops-* or alice@10.0.0.0/8"
            raise DsopsError(f"{user!r} is no user", where="sshd_allow_users", mend=mend)
    return tuple(dict.fromkeys([*ALWAYS, *said.sshd_allow_users])) if said.sshd_allow_users else ()


def render_config(said: Ssh) -> str:
    """The drop-in. Raises DsopsError."""
    users = get_users(said)
    lines = [
        "# Written by dsops (role ssh). sshd keeps the first value that it meets: what stands before this file wins.",
        *(option.line for option in get_options(said)),
        *([f"AllowUsers {' '.join(users)}"] if users else []),
        "# The operators' door. This holds to the end of this file only.",
        f"Match User {DOOR}",
        *(f"    {option.line}" for option in get_door_options()),
    ]
    return "".join(f"{line}\n" for line in lines)


def get_effective(said: Ssh) -> dict[str, tuple[str, ...]]:
    """user -> the lines that `sshd -T` must print for a session of this user. Raises DsopsError."""
    common = tuple(option.effective for option in get_options(said))
    common += tuple(f"allowusers {user}" for user in get_users(said))
    door = tuple(option.effective for option in get_door_options())
    # What the door forbids altogether, sshd still prints as it is for everybody.
    return {"root": common, DOOR: (*common, *door)}


def _positive(value: int, key: str) -> int:
    # 0 means «never» to sshd, which is the opposite of what a small number says.
    if value < 1:
        raise DsopsError(f"should be 1 or more, is {value}", where=key, mend="see roles/ssh/defaults.py")
    return value
