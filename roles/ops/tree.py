"""A folder of the bundle on a server: compared in one command, only missing files sent, every hash checked there."""

import shlex
import tarfile
from collections.abc import Generator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from dsops.core.sums import Sums
from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, Host, State, operation

from roles.ops.remote import pipe

STAMP = ".dsops-sums"


class TreeStamp(FactBase[str]):
    """Two digests: of the sums that the tree was last proven against, and of the names and sizes in it now."""

    default = str

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        listing = f"find . -type f ! -name {STAMP} ! -name '*.pyc' -printf '%s %P\\n' | LC_ALL=C sort | sha256sum"
        return f"cd {quoted} 2>/dev/null && cat {STAMP} 2>/dev/null && {listing} | cut -c1-64 || true"

    def process(self, output: list[str]) -> str:
        return " ".join(output)


class TreeSums(FactBase[dict[str, str]]):
    """path -> sha256 of every file in the tree."""

    default = dict

    def command(self, path: str) -> str:
        return f"cd {shlex.quote(path)} 2>/dev/null && find . -type f ! -name '*.pyc' -exec sha256sum {{}} + || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return {line[66:].removeprefix("./"): line[:64] for line in output}


def make_stamp(source: Path, sums: Sums) -> tuple[str, str]:
    """What TreeStamp must print for `sums`: their digest, and the digest of their names and sizes."""
    lines = sorted(f"{(source / name).stat().st_size} {name}\n".encode() for name in sums.files)
    return sha256(sums.render().encode()).hexdigest(), sha256(b"".join(lines)).hexdigest()


@operation()
def tree(source: str, path: str, sums: Sums) -> Generator[Any, None, None]:
    """Makes the folder `path` hold exactly the files of `sums`, taken from the local folder `source`.

    + source: a folder of a verified bundle
    + path: absolute; nothing else may live in it
    + sums: names and sha256 of the files
    """
    proven, listing = make_stamp(Path(source), sums)
    if host.get_fact(TreeStamp, path=path) == f"{proven} {listing}":
        host.noop(f"{path} is as wanted")
        return
    found = host.get_fact(TreeSums, path=path)
    missing = sorted(name for name, digest in sums.files.items() if found.get(name) != digest)
    extra = sorted(found.keys() - sums.files.keys() - {STAMP})
    quoted = shlex.quote(path)
    yield f"install -d -m 755 {quoted} && rm -f {quoted}/{STAMP}"
    if extra:
        yield f"cd {quoted} && rm -f -- {shlex.join(extra)}"
    if missing:
        yield FunctionCommand(send, (source, path, missing), {})
    yield FunctionCommand(prove, (path, sums, proven), {})


def send(state: State, host: Host, source: str, path: str, names: list[str]) -> bool:
    """Streams the named files as one tar; a cut leaves whole files, so that the next run goes on from there."""
    unpack = f"tar -C {shlex.quote(path)} --no-same-owner --warning=no-timestamp -xf -"
    return pipe(state, host, unpack, partial(_write_tar, source, names))


def prove(state: State, host: Host, path: str, sums: Sums, proven: str) -> bool:
    """Hashes every file on the server against the sums, and only then leaves the stamp."""
    check = f"cd {shlex.quote(path)} && sha256sum --check --strict --quiet - && sync -f . && echo {proven} > {STAMP}"
    return pipe(state, host, check, partial(_write_text, sums.render()))


def _write_tar(source: str, names: list[str], out: IO[bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w|", bufsize=1 << 18, format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            tar.add(Path(source) / name, arcname=name, filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info


def _write_text(text: str, out: IO[bytes]) -> None:
    out.write(text.encode())
