"""Where a plan comes from: checkout, bundle and inventory, each by a digest, so that another one is noticed."""

from hashlib import sha256
from pathlib import Path

from dsops import __version__
from dsops.control.bundle.checkout import read_revision
from dsops.control.fleet.inventory import Fleet
from dsops.core.errors import DsopsError
from dsops.core.plan import Origin
from dsops.core.sums import parse_sums

SOURCES = ("deploy", "roles")
DIGITS = 12


def read_origin(root: Path, fleet: Fleet, *, limit: tuple[str, ...]) -> Origin:
    """Of this moment. Raises DsopsError when there is no bundle."""
    revision = read_revision(root)
    return Origin(
        checkout=str(root),
        revision=f"{revision.commit[:12]}{' with changes' if revision.dirty else ''}" if revision else "",
        sources=hash_sources(root),
        dsops=__version__,
        bundle=read_bundle(fleet),
        inventory=str(fleet.path),
        servers=hash_servers(fleet),
        limit=limit,
    )


def hash_sources(root: Path) -> str:
    """Of all that decides what a deploy does: deploy/ and roles/."""
    digest = sha256()
    for file in sorted(file for folder in SOURCES for file in (root / folder).rglob("*") if file.is_file()):
        if "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(root)} {sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:DIGITS]


def hash_servers(fleet: Fleet) -> str:
    """Of names, groups and data of all servers."""
    rows = [f"{one.name} {one.groups} {sorted(one.data.items())!r}\n" for one in fleet.servers]
    return sha256("".join(rows).encode()).hexdigest()[:DIGITS]


def read_bundle(fleet: Fleet) -> str:
    """The ids of the bundles that the servers' inventory names; one, as a rule."""
    server = next((one for one in fleet.servers if one.data.get("bundle_path")), None)
    if server is None:
        mend = "set bundle_path in the inventory's group_data"
        raise DsopsError("no server has a bundle_path", where=str(fleet.path), mend=mend)
    file = fleet.get_path(server, "bundle_path").resolve() / "SHA256SUMS"
    try:
        return parse_sums(file.read_text(), where=str(file)).id
    except OSError as error:
        mend = "bring the bundle to this machine, or mend bundle_path"
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(file), mend=mend) from error


def find_other(planned: Origin, now: Origin) -> str:
    """What is another one than when the plan was made; empty when nothing is."""
    words = {
        "sources": "deploy/ or roles/ of the checkout",
        "dsops": "dsops itself",
        "bundle": "the bundle",
        "inventory": "the inventory",
        "servers": "what the inventory says of the servers",
    }
    for key, name in words.items():
        before, after = getattr(planned, key), getattr(now, key)
        if before != after:
            return f"{name} is another one now: {after} instead of {before}"
    return ""
