"""Debian packages from the bundle's own repository, and from nowhere else."""

import re
import shlex
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, deploy, operation

from roles.ops.bundle import BUNDLE, bundle_path, bundle_tree
from roles.ops.changes import is_touched, tell
from roles.ops.files import Owner, config_file
from roles.ops.systems import get_host_system

APT_CONF = "/etc/dsops/apt.conf"
# Beside the system's own lists: its `apt update` removes lists that its own sources do not name.
LISTS = "/var/lib/dsops/apt-lists"
LOG = "/var/log/dsops-apt.log"
# needrestart (Ubuntu) would restart services by itself; that is for the roles to do.
ENV = f"APT_CONFIG={APT_CONF} DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1"
ROLES = Path(__file__).parents[1]
INTERRUPTED = "!"
VERSION = re.compile(r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Version: (\S+)", re.MULTILINE)


def read_packages(role: str) -> list[str]:
    """The names in roles/<role>/packages.txt, which the bundle was built from too."""
    lines = (line.split("#")[0].strip() for line in (ROLES / role / "packages.txt").read_text().splitlines())
    return [line for line in lines if line]


def read_versions(packages: str) -> dict[str, str]:
    """name -> version of every package that an apt repository's `Packages` lists."""
    return {match[1]: match[2] for match in VERSION.finditer(packages)}


@deploy("packages")
def install_packages(role: str, names: Sequence[str] = ()) -> None:
    """Brings the role's repository to the server and installs its packages from the bundle's repositories only.

    names: those that this server needs of the role's; all when empty.
    """
    bundle_tree(f"apt/{role}")
    source = f"deb [signed-by=/etc/dsops/apt-keyring.gpg] file:{BUNDLE}/apt/{role} ./\n"
    config_file(name=f"{role}: apt source", path=f"/etc/dsops/apt.d/{role}.list", content=source, owner=Owner())
    index(name=f"{role}: apt reads the bundle", repository=f"{BUNDLE}/apt/{role}", _timeout=120)
    held: dict[str, str] = {}
    for part in ("base", role):
        held |= read_versions((bundle_path() / f"apt/{part}/Packages").read_text())
    wanted = get_host_system().get_packages(names or read_packages(role))
    packages(name=f"{role}: packages", wanted={name: held.get(name, "0") for name in wanted}, _timeout=600)


class IndexState(FactBase[bool]):
    """Whether apt has read a repository as it is now."""

    def command(self, repository: str) -> str:
        read = f"{LISTS}/{repository.replace('/', '_')}_._InRelease"
        return f"cmp -s {shlex.quote(repository)}/InRelease {shlex.quote(read)} && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def index(repository: str) -> Generator[Any, None, None]:
    """Makes apt know what is in a repository of the bundle; compared by content, so that a cut run is made good.

    + repository: the folder on the server
    """
    if host.get_fact(IndexState, repository=repository):
        if is_touched([repository]):
            tell("index", repository, "its list is read again")
        host.noop(f"apt knows {repository}")
        return
    tell("index", repository, "its list is read")
    yield f"{ENV} apt-get update -qq"


class PackageStates(FactBase[list[str]]):
    """The names that are not installed whole, or older than wanted; INTERRUPTED too when dpkg was cut at work."""

    default = list

    def command(self, wanted: Mapping[str, str]) -> str:
        names = shlex.join(wanted)
        # All at once; only of those that are not in just that version it is asked further.
        shown = "${Package} ${db:Status-Status} ${Version}.\\n"
        every = f"all=$(echo; dpkg-query -W -f='{shown}' {names} 2>/dev/null)"
        query = "dpkg-query -W -f='${db:Status-Status} ${Version}' \"$1\" 2>/dev/null"
        newer = 'dpkg --compare-versions "${v#installed }" ge "$2"'
        other = f'v=$({query}); case $v in "installed "*) {newer} || echo "$1";; *) echo "$1";; esac'
        check = f'{every}; look() {{ case $all in *"\n$1 installed $2."*) ;; *) {other};; esac; }}'
        calls = "; ".join(f"look {shlex.quote(name)} {shlex.quote(version)}" for name, version in wanted.items())
        audit = f'[ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)$(dpkg --audit)" ] || echo "{INTERRUPTED}"'
        return f"{check}; {calls}; {audit}"

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def packages(wanted: Mapping[str, str]) -> Generator[Any, None, None]:
    """Makes packages be installed, in the bundle's version or a newer one; mends a dpkg that was cut at work.

    + wanted: name -> the version in the bundle
    """
    found = host.get_fact(PackageStates, wanted=dict(wanted))
    missing = [name for name in found if name != INTERRUPTED]
    if not found:
        host.noop("all are installed")
        return
    cut = ["a dpkg that was cut is mended"] if INTERRUPTED in found else []
    tell("packages", " ".join(missing), "; ".join([*cut, *(f"{name} {wanted[name]}" for name in missing)]))
    if INTERRUPTED in found:
        # Whoever was cut may still be at work: what a killed deploy started goes on by itself.
        options = "--force-confdef --force-confold"
        tries = f"n=0; until {ENV} dpkg --configure -a {options}; do n=$((n+1)); [ $n -lt 60 ] || exit 1; sleep 2; done"
        yield _render_logged(f"{{ {tries}; }} && {ENV} apt-get install -y -qq --fix-broken")
    if missing:
        yield _render_logged(f"{ENV} apt-get install -y -qq --no-install-recommends {shlex.join(missing)}")


def _render_logged(command: str) -> str:
    """To a file: were the output a connection, apt would die with it, in the middle of its work."""
    return f"{{ {command}; }} > {LOG} 2>&1 < /dev/null || {{ tail -n 25 {LOG} >&2; exit 1; }}"
