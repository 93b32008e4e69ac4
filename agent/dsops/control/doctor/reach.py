"""Why a server could not be looked at: not there, another machine, or a login that does not work."""

import paramiko

from dsops.control.doctor.facts import AnswerError
from dsops.control.doctor.finding import Finding, ok, problem, unknown
from dsops.control.doctor.probe import with_login
from dsops.control.fleet.inventory import Server
from dsops.core.errors import DsopsError

CONSOLE = "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at its console or BMC"


def render_name(server: Server) -> str:
    """As it stands in known_hosts."""
    return server.address if server.ssh_port == 22 else f"[{server.address}]:{server.ssh_port}"


def judge_reached(server: Server) -> list[Finding]:
    """It answered, so all three hold."""
    user = with_login(server).get("dsops_ssh_user", str)
    return [
        ok("reach", server.name, "answers by SSH"),
        ok("host key", server.name, "is the pinned one"),
        ok("login", server.name, f"as {user}, with ssh_key"),
    ]


def judge_failure(server: Server, error: DsopsError, *, known_hosts: str) -> list[Finding]:
    """The failure as the finding of its step; the steps before it held, and what follows is not known."""
    rest = unknown("server", server.name, "the other checks of this server were not made")
    cause, name = error.__cause__, server.name
    reached, right = judge_reached(server)[:2]
    if isinstance(cause, paramiko.BadHostKeyException):
        return [reached, problem("host key", name, _changed(cause), mend=_mend_changed(server, known_hosts)), rest]
    if isinstance(cause, paramiko.AuthenticationException):
        user = with_login(server).get("dsops_ssh_user", str)
        what = f"refuses ssh_key ({error.where}) for user {user}"
        mend = f"put {error.where}.pub into {user}'s authorized_keys at its console or BMC"
        return [reached, right, problem("login", name, what, mend=mend), rest]
    if isinstance(cause, paramiko.SSHException) and "not found in known_hosts" in str(cause):
        what = f"its host key is not pinned: no line for {render_name(server)} in {known_hosts}"
        return [reached, problem("host key", name, what, mend=render_pin(server, known_hosts)), rest]
    if isinstance(error, AnswerError):
        return [reached, right, unknown("server", name, error.what, mend=error.mend)]
    if "names a file" in error.what:
        return [unknown("server", name, f"not looked at: {error.where} is missing")]  # check_files says the rest
    if is_local(error):
        return [problem("login", name, f"not tried: {error.where}: {error.what}", mend=error.mend), rest]
    return [problem("reach", name, _silent(server, error), mend=_mend_silent(server)), rest]


def is_local(error: DsopsError) -> bool:
    """Whether it is about a file on this side: fleet.ssh names that file."""
    return "as a private key" in error.what or "no host key" in error.what


def render_pin(server: Server, known_hosts: str) -> str:
    """How a key is pinned: it is compared with the machine's own word before it is believed."""
    port = "" if server.ssh_port == 22 else f"-p {server.ssh_port} "
    # Kept in a file, so that what is pinned is what was compared.
    scan = f"ssh-keyscan -t ed25519 {port}{server.address} | tee new-key | ssh-keygen -lf -"
    return f"compare `{scan}` with {CONSOLE}; only when they are the same: `cat new-key >> {known_hosts}`"


def _silent(server: Server, error: DsopsError) -> str:
    cause = error.__cause__
    errors = cause.errors.values() if isinstance(cause, paramiko.ssh_exception.NoValidConnectionsError) else [cause]
    if all(isinstance(one, ConnectionRefusedError) for one in errors):
        return f"{render_name(server)} is up and refuses SSH: nothing listens on port {server.ssh_port}"
    if isinstance(cause, paramiko.ssh_exception.NoValidConnectionsError):
        return f"{render_name(server)} cannot be reached: {' and '.join(sorted({_word(one) for one in errors}))}"
    return f"{render_name(server)} does not answer: {error.what}"


def _word(error: object) -> str:
    return str(getattr(error, "strerror", "") or error).lower()


def _mend_silent(server: Server) -> str:
    return f"is it on, and is {server.address} its address? `ping {server.address}`; else its console or BMC"


def _changed(cause: paramiko.BadHostKeyException) -> str:
    shown, pinned = cause.key.fingerprint, cause.expected_key.fingerprint
    what = "shows another host key than the pinned one: this may be another machine"
    return f"{what} (it shows {shown}; pinned is {pinned})"


def _mend_changed(server: Server, known_hosts: str) -> str:
    forget = f"ssh-keygen -R '{render_name(server)}' -f {known_hosts}"
    pin = render_pin(server, known_hosts)
    return f"do not deploy before you know why; if it was reinstalled: `{forget}`, then {pin}"
