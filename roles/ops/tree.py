"""A folder of the bundle on a server: compared in one command, only missing files sent, every hash checked there."""

import shlex
import tarfile
from collections.abc import Generator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dsops.core.sums import Sums
from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, Host, State, operation

from roles.ops.changes import tell, touch
from roles.ops.remote import pipe

STAMP = ".dsops-sums"


class TreeStamp(FactBase[str]):
    """Two digests: of the sums that the tree was last proven against, and of what can be seen without reading it.

    Seen are name, mode and owner of all in it, links and folders too, and the size of what is no folder.
    """

    default = str

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        ours = f"! -name {STAMP} ! -name '*.pyc' ! -name __pycache__"
        seen = f"find . {ours} \\( -type d -printf '%P/ %m %U:%G\\n' -o -printf '%P %s %m %U:%G\\n' \\)"
        listing = f"{seen} | LC_ALL=C sort | sha256sum | cut -c1-64"
        return f"cd {quoted} 2>/dev/null && cat {STAMP} 2>/dev/null && {listing} || true"

    def process(self, output: list[str]) -> str:
        return " ".join(output)


class TreeSums(FactBase[dict[str, str]]):
    """path -> sha256 of every file in the tree; zeros for what is no file, such as a link."""

    default = dict

    def command(self, path: str) -> str:
        files = "find . -type f ! -name '*.pyc' -exec sha256sum {} +"
        others = f"find . ! -type f ! -type d -printf '{'0' * 64}  %p\\n'"
        return f"cd {shlex.quote(path)} 2>/dev/null && {files} && {others} || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return {line[66:].removeprefix("./"): line[:64] for line in output}


def make_stamp(source: Path, sums: Sums) -> tuple[str, str]:
    """What TreeStamp must print for `sums`: their digest, and the digest of names, sizes, modes and owners."""
    folders = {str(parent) for name in sums.files for parent in PurePosixPath(name).parents}
    seen = [f"{'' if folder == '.' else folder}/ 755 0:0\n" for folder in folders | {"."}]
    seen += [_render_seen(source / name, name) for name in sums.files]
    lines = sorted(line.encode() for line in seen)
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
    tell("tree", path, render_change(source, missing, extra))
    touch(path)
    quoted = shlex.quote(path)
    yield f"install -d -m 755 {quoted} && rm -f {quoted}/{STAMP}"
    if extra:
        yield f"cd {quoted} && rm -f -- {shlex.join(extra)}"
    if missing:
        yield FunctionCommand(send, (source, path, missing), {})
    programs = sorted(name for name in sums.files if is_program(Path(source) / name))
    yield f"cd {quoted} && {render_modes(programs)}"
    yield FunctionCommand(prove, (path, sums, proven), {})


def render_change(source: str, missing: Sequence[str], extra: Sequence[str]) -> str:
    """What would come and go, in words."""
    size = sum((Path(source) / name).stat().st_size for name in missing)
    words = [f"{len(missing)} files to send, {size / 1e6:.1f} MB"] if missing else []
    words += [f"{len(extra)} to remove"] if extra else []
    return "; ".join(words) or "modes, owners or the proof"


def is_program(file: Path) -> bool:
    """Whether the bundle's file may be executed; on the server its mode is 755 then, else 644."""
    return bool(file.stat().st_mode & 0o100)


def render_modes(programs: Sequence[str]) -> str:
    """Shell that gives all in the current folder to root: folders and programs 755, other files 644; none empty."""
    names = " ".join(f"! -path {shlex.quote('./' + name)}" for name in programs)
    steps = [
        "find . -mindepth 1 -type d -empty -delete",
        "chown -R -h 0:0 .",
        "find . -type d ! -perm 755 -exec chmod 755 {} +",
    ]
    steps.append(f"find . -type f {names} ! -perm 644 -exec chmod 644 {{}} +")
    return " && ".join([*steps, *([f"chmod 755 -- {shlex.join(programs)}"] if programs else [])])


def send(state: State, host: Host, source: str, path: str, names: list[str]) -> bool:
    """Streams the named files as one tar; a cut leaves whole files, so that the next run goes on from there."""
    unpack = f"tar -C {shlex.quote(path)} --no-same-owner --warning=no-timestamp -xf -"
    return pipe(state, host, unpack, partial(_write_tar, source, names))


def prove(state: State, host: Host, path: str, sums: Sums, proven: str) -> bool:
    """Hashes every file on the server against the sums, and only then leaves the stamp.

    Both outlast a power cut in the next moment: the files before the stamp says so, the stamp before this ends.
    """
    new = f"{STAMP}.new"
    # The list itself is hashed too: were this side killed, half a list would look like a whole one.
    whole = f'cat > {new} && [ "$(sha256sum < {new} | cut -c1-64)" = {proven} ]'
    files = f"sha256sum --check --strict --quiet {new} && rm {new} && sync -f ."
    check = f"cd {shlex.quote(path)} && {whole} && {files} && echo {proven} > {STAMP} && sync {STAMP}"
    return pipe(state, host, check, partial(_write_text, sums.render()))


def _render_seen(file: Path, name: str) -> str:
    mode = "755" if is_program(file) else "644"
    return f"{name} {file.stat().st_size} {mode} 0:0\n"


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
