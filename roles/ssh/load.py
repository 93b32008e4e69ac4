"""Puts sshd's drop-in in force, on trial first, and says whether it is: by what sshd itself makes of its files."""

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell, tell_file
from roles.ops.trial import Change, try_out

MAIN = "/etc/ssh/sshd_config"
FOLDER = "/etc/ssh/sshd_config.d"
DROP_IN = f"{FOLDER}/10-dsops.conf"
OWNER = "644 root root"
Wanted = Mapping[str, Sequence[str]]
# `sshd -T` needs it, and only a running ssh.service has made it (not one that waits behind ssh.socket).
READY = "mkdir -p -m 755 /run/sshd"
# Behind ssh.socket (Ubuntu 22.10 and newer) there may be no daemon: then the next connection reads the files anew.
RELOAD = "! systemctl is-active --quiet ssh.service || systemctl reload ssh.service"


def render_find_missing(wanted: Wanted) -> str:
    """Shell that prints, for each user, the wanted lines that `sshd -T` does not say."""
    # One that sshd refuses prints nothing at all, and so misses every line.
    says = f"addr=${{SSH_CONNECTION%% *}}; {READY}"
    looks = [
        f"sshd -T -C user={user},host=localhost,addr=${{addr:-127.0.0.1}} 2>/dev/null > $have || true;"
        f" printf '%s\\n' {shlex.join(lines)} | grep -vixF -f $have | sed 's/^/{user}: /'"
        for user, lines in wanted.items()
    ]
    return f"{says}; have=$(mktemp); {'; '.join(looks)}; rm -f $have"


@dataclass(frozen=True)
class Sshd:
    """found: `sha256 mode user group` of the drop-in, or nothing; missing: what sshd would not do, `user: line`."""

    found: str
    missing: tuple[str, ...]


class SshdState(FactBase[Sshd]):
    """The drop-in, and what sshd makes of all its files."""

    @staticmethod
    def default() -> Sshd:
        """What a server says that says nothing."""
        return Sshd("", ())

    def command(self, wanted: Wanted) -> str:
        file = f"sha256sum < {DROP_IN} | cut -c1-64; stat -c '%a %U %G' {DROP_IN}"
        return f"[ ! -f {DROP_IN} ] || {{ {file}; }}; echo ---; {render_find_missing(wanted)}; true"

    def process(self, output: list[str]) -> Sshd:
        split = output.index("---")
        return Sshd(" ".join(output[:split]), tuple(output[split + 1 :]))


class Reads(FactBase[str]):
    """What keeps sshd from reading drop-ins; empty: it reads them."""

    default = str

    def command(self) -> str:
        include = r"^[[:space:]]*Include[[:space:]].*sshd_config\.d/\*"
        return f"grep -Eqi {shlex.quote(include)} {MAIN} || echo 'there is no line in it that includes {FOLDER}'"

    def process(self, output: list[str]) -> str:
        return "".join(output)


def make_change(wanted: Wanted) -> Change:
    """The drop-in on trial: laid over the old one, so that a reboot brings that back."""
    explain = (
        f"echo 'sshd would still not do this; a line before {DROP_IN} says otherwise:' >&2;"
        " echo \"$missing\" >&2; words=$(echo \"$missing\" | awk '{print $2}' | sort -u | paste -sd'|');"
        f' grep -EHni "^[[:space:]]*($words)[[:space:]]" {MAIN} $(ls {FOLDER}/*.conf | grep -v {DROP_IN}) >&2;'
        " exit 1"
    )
    look = (
        f"mount --bind new {DROP_IN}; {READY}; sshd -t;"
        f' missing=$({render_find_missing(wanted)}); [ -z "$missing" ] || {{ {explain}; }}'
    )
    place = f"if [ ! -e {DROP_IN} ]; then : > {DROP_IN}; chmod 644 {DROP_IN}; fi"
    bare = f"while mountpoint -q {DROP_IN}; do umount {DROP_IN}; done"
    # An empty one was only there to be laid over.
    empty = f"[ -s {DROP_IN} ] || rm -f {DROP_IN}"
    return Change(
        name="ssh",
        # In a name space of its own: the real sshd sees nothing of it yet.
        check=f"{place}; unshare -m sh -euc {shlex.quote(look)} || {{ code=$?; {empty}; exit $code; }}",
        save=f"if [ -s {DROP_IN} ]; then cp -p {DROP_IN} old; else : > old; fi",
        start=f"mount --bind new {DROP_IN}; {RELOAD}",
        back=(
            f"{bare}; if [ -s old ]; then cp -p old {DROP_IN}.dsops-new; mv -fT {DROP_IN}.dsops-new {DROP_IN};"
            f" else rm -f {DROP_IN}; fi; {RELOAD}"
        ),
        keep=(
            f"{bare}; install -m 644 new {DROP_IN}.dsops-new; sync {DROP_IN}.dsops-new;"
            f" mv -fT {DROP_IN}.dsops-new {DROP_IN}"
        ),
    )


@operation()
def hardened(content: str, *, wanted: Wanted) -> Generator[Any, None, None]:
    """Makes the drop-in be just this, and sshd do what it says; a new login must come through, or it is undone.

    + content: the whole drop-in
    + wanted: user -> lines that `sshd -T` must print for it
    """
    state = host.get_fact(SshdState, wanted=wanted)
    if state == Sshd(f"{sha256(content.encode()).hexdigest()} {OWNER}", ()):
        host.noop("sshd does what is wanted")
        return
    tell_file(DROP_IN, content.encode(), found=state.found, owner=OWNER)
    yield from try_out(make_change(wanted), content)


class Remains(FactBase[bool]):
    """Whether the drop-in is there."""

    default = bool

    def command(self) -> str:
        return f"[ -e {DROP_IN} ] && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def not_hardened() -> Generator[Any, None, None]:
    """Takes the drop-in away; sshd is as the system's own files say."""
    if not host.get_fact(Remains):
        host.noop("no drop-in of ours is here")
        return
    tell("file", DROP_IN, "taken away: sshd is as the system's own files say")
    yield f"mv -f {DROP_IN} {DROP_IN}.dsops-old && sshd -t && {{ {RELOAD}; }} && rm -f {DROP_IN}.dsops-old"
