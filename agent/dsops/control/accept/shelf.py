"""Where this control host keeps the nodes' certificates, each with its signature, and the older ones of each node."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dsops.control.bundle.place import told_in_words
from dsops.control.bundle.sign import RELEASE_NAMESPACES, SITE_NAMESPACE, Signer, sign, verify
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.accept.certificate import Certificate, parse_certificate
from dsops.core.accept.judge import Other, list_others
from dsops.core.errors import DsopsError

# NODE~1: the one before the last.
BACK = re.compile(r"(?P<node>[^~]+)~(?P<back>[0-9]+)")


@dataclass(frozen=True)
class Signed:
    """A certificate as it travels."""

    text: str
    signature: str


def find_folder(state: Path, fleet: Fleet) -> Path:
    """Of one inventory: two sites of one control host may both have a gpu1."""
    digest = hashlib.sha256(str(fleet.path).encode()).hexdigest()[:8]
    return state / "certificates" / f"{fleet.path.stem}-{digest}"


def keep(made: Certificate, folder: Path, *, signer: Signer) -> Path:
    """Signs it and puts it in the place of the node's last one, which stays under its time. The new one's path."""
    file = folder / f"{made.node}.json"
    with told_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f".{made.node}.new"
        new.write_bytes(made.render())
        signature = sign(new, signer.for_releases)
        _put_by(file)
        signature.replace(_signature(file))
        new.replace(file)
    return file


def read_signed(file: Path) -> Signed:
    """As it goes to its node."""
    with told_in_words(file):
        return Signed(file.read_text(), _signature(file).read_text())


def get_certificate(fleet: Fleet, word: str, *, folder: Path) -> Certificate:
    """NODE (its last one), NODE~1 (the one before) or a file, its signature proven. Raises DsopsError."""
    path = Path(word)
    if path.suffix == ".json" and path.is_file():
        return _read(fleet, path)
    back = BACK.fullmatch(word)
    node, number = (back["node"], int(back["back"])) if back else (word, 0)
    fleet.get_server(node)
    files = list_files(folder, node)
    if number >= len(files):
        has = f"{len(files)} certificates" if len(files) != 1 else "one certificate"
        what = f"{node} has {has} here" if files else f"{node} was not accepted yet"
        raise DsopsError(what, where=str(folder), mend=f"`dsops accept {node}`")
    return _read(fleet, files[number])


def list_files(folder: Path, node: str) -> list[Path]:
    """Of one node, the last first."""
    last = folder / f"{node}.json"
    older = sorted(folder.glob(f"{node}.[0-9]*.json"), reverse=True)
    return [*([last] if last.is_file() else []), *older]


def read_others(fleet: Fleet, servers: Iterable[Server], *, folder: Path) -> Iterator[Other]:
    """The figures of these nodes' last certificates. One that cannot be read, or failed, does not count."""
    for server in servers:
        file = folder / f"{server.name}.json"
        if not file.is_file():
            continue
        try:
            found = _read(fleet, file)
        except DsopsError:
            continue
        if not found.failed:
            yield from list_others(found.measured)


def read_bounds(server: Server) -> dict[str, float]:
    """The inventory's accept_floors. Raises DsopsError on what is no number."""
    said = server.get("accept_floors", dict, {})
    for name, value in said.items():
        if not isinstance(name, str) or type(value) not in (int, float):
            mend = 'accept_floors = {"storage_read": 2500}; the names are in docs/accept.md'
            raise DsopsError(f"accept_floors: {name!r}: {value!r} is no number", where=server.where, mend=mend)
    return {name: float(value) for name, value in said.items()}


def _read(fleet: Fleet, file: Path) -> Certificate:
    server = fleet.servers[0]
    namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
    signers = fleet.get_path(server, "bundle_allowed_signers")
    verify(file, allowed_signers=signers, namespace=RELEASE_NAMESPACES.get(namespace, namespace))
    with told_in_words(file):
        return parse_certificate(file.read_bytes(), where=str(file))


def _put_by(file: Path) -> None:
    """The last one gets its own time as its name."""
    if not file.is_file():
        return
    at = datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S")
    name, number = file.with_name(f"{file.stem}.{at}.json"), 1
    while name.exists():
        name, number = file.with_name(f"{file.stem}.{at}-{number}.json"), number + 1
    if _signature(file).is_file():
        _signature(file).rename(_signature(name))
    file.rename(name)


def _signature(file: Path) -> Path:
    return file.with_name(f"{file.name}.sig")
