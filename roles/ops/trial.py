"""A change that could cut off whoever makes it: on trial until a new connection has come through, else undone.

The server itself undoes it when it hears nothing, by a timer that runs before the change is in force; so a run that
is killed, or a link that dies, leaves the server as it was. What is on trial lives below /run and in memory only: a
reboot forgets it.
"""

import secrets
import shlex
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import IO, Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, StringCommand
from pyinfra.api.exceptions import ConnectError

from roles.ops.remote import pipe

FOLDER = "/run/dsops-trial"
SECONDS = 60  # until the server undoes it by itself
PATIENCE = 25.0  # seconds in which a new connection must have come through
PAUSE = 1.0
REFUSED = ("Authentication error", "SSH host key error")  # as pyinfra says it; to try again does not help


@dataclass(frozen=True)
class Change:
    """Shell (sh -eu) of each step, run as root in the trial's own folder, where the new content lies in `new`.

    check: refuses it, in words, before anything is touched. save: keeps in this folder what `back` needs.
    start: puts it in force, in memory only. back: undoes it, also after half a start or half a keep, or twice.
    keep: makes it last.
    """

    name: str
    check: str
    save: str
    start: str
    back: str
    keep: str


def try_out(change: Change, content: str) -> Generator[Any, None, None]:
    """The commands of an operation: in force on trial, proven by a new connection from here, kept or undone."""
    token = secrets.token_hex(8)
    data = content.encode()
    program = render_start(change, token=token, digest=sha256(data).hexdigest())
    yield FunctionCommand(pipe, (program, partial(_write, data)), {})
    yield FunctionCommand(prove, (change.name, token), {})


def render_decide(change: Change, verdict: str, token: str) -> str:
    """Shell that ends a trial, if it is still this one: `keep` or `back`."""
    return f"sh {FOLDER}/{change.name}/decide {verdict} {token}"


def render_start(change: Change, *, token: str, digest: str) -> str:
    """Shell that takes the new content as its input and puts it in force, with the timer that undoes it armed."""
    folder = f"{FOLDER}/{change.name}"
    unit = f"change-on-trial-{change.name}-{token}"
    arm = (
        f"systemd-run --quiet --collect --unit={unit} --on-active={SECONDS} --timer-property=AccuracySec=1s"
        f" --description={shlex.quote(f'dsops: undoes what is on trial ({change.name})')}"
        f" /bin/sh {folder}/decide back {token}"
    )
    lines = [
        "set -eu; umask 077",
        f"mkdir -p {folder} && cd {folder}",
        # When this side is killed, `cat` sees an end like any other: half of it must go no further.
        f'cat > upload.{token} && [ "$(sha256sum < upload.{token} | cut -c1-64)" = {digest} ]'
        f" || {{ rm -f upload.{token}; echo 'it did not arrive whole' >&2; exit 1; }}",
        "exec 9>>lock; flock -w 30 9 || { echo 'something else is on trial here' >&2; exit 1; }",
        # Of a run that was cut: its end comes first, so that what is saved now was proven once.
        "if [ -e token ]; then sh -eu ./back 9>&-; rm -f token; fi",
        f"mv -f upload.{token} new",
        f"printf %s {shlex.quote(change.back)} > back; printf %s {shlex.quote(change.keep)} > keep",
        f"printf %s {shlex.quote(render_decider(folder))} > decide",
        f"timeout 30 sh -euc {shlex.quote(change.check)} 9>&-",
        f"timeout 30 sh -euc {shlex.quote(change.save)} 9>&-",
        f"{arm} 9>&- || {{ echo 'systemd gives no timer that would undo it: nothing was changed' >&2; exit 1; }}",
        f"printf %s {token} > token",
        # Never longer than the timer waits for the lock: else it could not undo a start that hangs.
        f"timeout 30 sh -euc {shlex.quote(change.start)} 9>&-"
        f" || {{ code=$?; sh -eu ./back 9>&-; rm -f token; systemctl stop {unit}.timer; exit $code; }}",
    ]
    # In brackets: where the content comes as a file, it is the input of all of it.
    return "\n".join(["(", *lines, ")"])


def render_decider(folder: str) -> str:
    """Shell with `keep` or `back` and a token: acts once, and only on the trial that the token belongs to."""
    unit = f"change-on-trial-{folder.rsplit('/', 1)[1]}-$2.timer"
    return "\n".join(
        [
            f"cd {folder} || exit 1",
            "exec 9>>lock; flock -w 60 9 || exit 1",
            '[ "$(cat token 2>/dev/null)" = "$2" ] || { echo "this trial is over" >&2; exit 3; }',
            'sh -eu "./$1" 9>&- || exit 1',
            "rm -f token",
            f'systemctl stop "{unit}" 2>/dev/null || true',
            "",
        ]
    )


def prove(state: State, host: Host, name: str, token: str) -> bool:
    """Keeps what is on trial, through a new connection; undoes it at once where none comes through."""
    decide = f"sh {FOLDER}/{name}/decide"
    if why := ask_anew(state, host, f"{decide} keep {token}"):
        done = undo(host, f"{decide} back {token}")
        end = "it was undone" if done else f"the server undoes it by itself within {SECONDS} s"
        logger.error(
            f"[{host.name}] with the new {name} in force no new connection from here came through ({why}); {end}"
        )
        return False
    return True


def undo(host: Host, command: str) -> bool:
    """Over the connection that is there, if it still is."""
    try:
        done, _ = host.run_shell_command(StringCommand(command), _timeout=PATIENCE)
    except (OSError, EOFError, SSHException, ConnectError):
        return False
    return bool(done)


def ask_anew(state: State, host: Host, command: str) -> str:
    """Runs a command through a new connection, with the same key and the same pinned host key; what is wrong, or ''.

    Where the connector is not SSH there is no connection to lose.
    """
    if getattr(host.connector, "client", None) is None:
        done, output = host.run_shell_command(StringCommand(command))
        return "" if done else str(output.stderr or "it failed")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _ask_once(state, host, command)
        except (OSError, EOFError, SSHException, ConnectError) as error:
            why = str(error) or type(error).__name__
        if time.monotonic() > end or why.startswith(REFUSED):
            return why
        time.sleep(PAUSE)  # sshd closes its port for a moment when it reads its configuration again


def _ask_once(state: State, host: Host, command: str) -> str:
    connector: Any = type(host.connector)(state, host)
    connector.connect()
    client = connector.client
    try:
        _, stdout, stderr = client.exec_command(command, timeout=PATIENCE)
        said = stderr.read().decode(errors="replace").strip()
        code = int(stdout.channel.recv_exit_status())
    finally:
        client.close()
    return "" if code == 0 else said or f"exit {code}"


def _write(data: bytes, out: IO[bytes]) -> None:
    out.write(data)
