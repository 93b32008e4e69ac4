"""Are the files that the inventory names there, readable, and safe from others?"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.checkout import list_files
from dsops.control.doctor.finding import Finding, ok, problem
from dsops.control.doctor.site import Site

SECRET = re.compile(r"(^|_)(ssh_key|key_file|keys_file|password_file|users_file)$")
KEYS = re.compile(r"(_file|^ssh_key|^dsops_ssh_key|^bundle_allowed_signers)$")
SECRETS = "`dsops secrets` makes what is missing"
MENDS = {
    "ssh_key": "ssh-keygen -t ed25519, and put its .pub into the servers' authorized_keys from their consoles",
    "ssh_known_hosts_file": "pin the servers' host keys; `dsops init` says how",
    "bundle_allowed_signers": "get it from whoever signs the bundles, not out of the bundle",
}


@dataclass(frozen=True)
class Named:
    """A file that a key of the inventory names."""

    key: str
    path: Path

    @property
    def is_secret(self) -> bool:
        return bool(SECRET.search(self.key)) and "public" not in self.key


def find_named(site: Site) -> list[Named]:
    """Every file that some server's data names, once."""
    found: dict[Named, None] = {}
    for server in site.fleet.servers:
        for key in server.data:
            if KEYS.search(key) and isinstance(server.data[key], str) and server.data[key]:
                found[Named(key, site.fleet.get_path(server, key))] = None
    return sorted(found, key=lambda named: (named.key, named.path))


def check_files(site: Site) -> list[Finding]:
    """One problem a file; one line when all are well."""
    named = find_named(site)
    wrong = [finding for one in named for finding in check_file(one, me=os.getuid())]
    wrong += check_carried(site.root, named)
    return wrong or [ok("files", "inventory", f"{len(named)} named files are there, and the secret ones are private")]


def check_file(named: Named, *, me: int) -> list[Finding]:
    """me: the user id that dsops runs as."""
    where = str(named.path)
    if not named.path.is_file():
        what = f"{named.key} names a file that is not there"
        return [problem("files", where, what, mend=MENDS.get(named.key, SECRETS))]
    if not os.access(named.path, os.R_OK):
        return [problem("files", where, f"{named.key} names a file that may not be read", mend="run as its owner")]
    found, folder = named.path.stat(), named.path.parent.stat()
    if found.st_uid not in (0, me):
        mend = f"chown {me} {named.path}"
        return [problem("files", where, f"belongs to user {found.st_uid}, who could change it", mend=mend)]
    wrong = judge_mode(found.st_mode, is_secret=named.is_secret)
    if wrong:
        mend = f"chmod {'600' if named.is_secret else '644'} {named.path}"
        return [problem("files", where, f"{named.key}: {wrong}", mend=mend)]
    if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
        return [problem("files", where, "others may write to its folder", mend=f"chmod go-w {named.path.parent}")]
    return []


def judge_mode(mode: int, *, is_secret: bool) -> str:
    """What is wrong with a file's mode; empty when nothing is."""
    if is_secret and mode & 0o077:
        return f"a secret that others may read (mode {stat.S_IMODE(mode):o})"
    if mode & 0o022:
        return f"others may change it (mode {stat.S_IMODE(mode):o})"
    return ""


def check_carried(root: Path, named: list[Named]) -> list[Finding]:
    """A secret among the checkout's own files goes into git, and into the next bundle."""
    inside = [one for one in named if one.is_secret and one.path.is_file() and one.path.is_relative_to(root)]
    carried = set(list_files(root)) if inside else set()
    return [
        problem(
            "files",
            str(one.path),
            f"{one.key} is one of the checkout's files: the next bundle would carry it to everybody",
            mend="move it out of the checkout, and name its new place",
        )
        for one in inside
        if one.path.relative_to(root).as_posix() in carried
    ]
