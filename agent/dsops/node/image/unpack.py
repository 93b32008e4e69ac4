"""An image as a folder: complete under its digest, or not there; nothing in it leads out, or may gain rights."""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

from dsops.core.errors import DsopsError
from dsops.core.oci import Layer, check_digest, parse_member
from dsops.node.image.archive import Archive
from dsops.node.run import get_output, run
from dsops.node.store.disk import Disk

PART = ".part"
SYNC_SECONDS = 900.0
LINKS = 40  # followed on the way to one entry, as the kernel does
# Mounted over in a unit whose root this is; made here, so that the folder is never written again.
MOUNTED = ("dev", "proc", "run", "sys", "tmp", "var/tmp")


def name_of(digest: str) -> str:
    """The folder of an image."""
    return check_digest(digest).removeprefix("sha256:")


def unpack(archive: Archive, digest: str, *, into: Path, mounted: Sequence[str] = ()) -> Path:
    """The image's folder. Proves every byte first, and makes it whole beside its place. Raises DsopsError.

    mounted: folders that shall be there for what is mounted from outside.
    """
    target = into / name_of(digest)
    if target.is_dir():
        return target
    layers = archive.find_layers(digest)
    for layer in layers:
        archive.check(layer.blob)
    part = into / f"{name_of(digest)}{PART}"
    _forget(part)
    part.mkdir(parents=True)
    try:
        _fill(part, archive, layers, mounted=mounted)
    except BaseException:
        _forget(part)  # it may have filled the disk
        raise
    # Tens of thousands of files: one sync for this file system, then the rename that makes it count.
    get_output(["sync", "--file-system", str(part)], run=lambda argv: run(argv, timeout=SYNC_SECONDS))
    part.rename(target)
    Disk().sync_folder(into)
    return target


def _fill(part: Path, archive: Archive, layers: Sequence[Layer], *, mounted: Sequence[str]) -> None:
    for layer in layers:
        _add_layer(archive, layer, part)
    for name in (*MOUNTED, *mounted):
        _find(part, name.strip("/")).mkdir(parents=True, exist_ok=True)


def remove_others(into: Path, *, keep: Sequence[str]) -> list[str]:
    """Removes images that are not kept, and halves of one; which."""
    kept = {name_of(digest) for digest in keep}
    gone = [path for path in sorted(into.iterdir()) if path.is_dir() and path.name not in kept]
    for path in gone:
        _forget(path)
    return [path.name for path in gone]


def _forget(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


class _Hashed:
    """Reads on, and knows the digest of what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.hasher.update(data)
        return data


def _add_layer(archive: Archive, layer: Layer, root: Path) -> None:
    where = f"{archive.path}:{layer.blob.path}"
    with archive.open(layer.blob) as stream:
        plain = _Hashed(_unpacked(stream, layer.packing))
        with tarfile.open(fileobj=cast(IO[bytes], plain), mode="r|") as tar:
            for entry in tar:
                _add(tar, entry, root, where=where)
        while plain.read(1 << 20):
            """What follows the end of the tar counts for its digest too."""
    digest = f"sha256:{plain.hasher.hexdigest()}"
    if digest != layer.diff_id:
        mend = "whoever made it made it wrong: bring another one"
        raise DsopsError(f"a layer's content is {digest}, not {layer.diff_id}", where=where, mend=mend)


def _unpacked(stream: IO[bytes], packing: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(stream)) if packing == "gz" else stream


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, root: Path, *, where: str) -> None:
    """One entry of a layer over what the lower ones left."""
    member = parse_member(entry.name, where=where)
    path = _find(root, member.path)
    if member.gone or member.emptied:
        for victim in [path] if member.gone else list(path.iterdir()) if path.is_dir() else []:
            _remove(victim)
    elif entry.isdir():
        _add_folder(path, entry)
    elif path != root:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(path)
        if entry.issym():
            path.symlink_to(entry.linkname)
        elif entry.islnk():
            os.link(_find(root, parse_member(entry.linkname, where=where).path), path, follow_symlinks=False)
        elif entry.isreg():
            _add_file(tar, entry, path)
        # Devices and pipes are left out: a unit has its own /dev.


def _add_folder(path: Path, entry: tarfile.TarInfo) -> None:
    if path.is_symlink() or not path.is_dir():
        _remove(path)
        path.mkdir(parents=True)
    path.chmod(entry.mode & 0o777)


def _add_file(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(entry)
    if source is None:
        raise DsopsError(f"{entry.name} has no content", where=str(tar.name))
    with source, path.open("xb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        # All is root's, and nothing in it gives rights: what runs in it can write none of it.
        os.fchmod(sink.fileno(), entry.mode & 0o777)
    os.utime(path, (entry.mtime, entry.mtime))


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        with suppress(FileNotFoundError):
            path.unlink()
    else:
        shutil.rmtree(path)


def _find(root: Path, name: str) -> Path:
    """Where an entry lies: links on its way lead where they would inside the image, never out of it."""
    here, todo, left = PurePosixPath(), list(PurePosixPath(name).parts), LINKS
    while todo:
        part = todo.pop(0)
        if part in ("/", "."):
            continue
        if part == "..":
            here = here.parent
            continue
        step = root / here / part
        if not todo or not stat.S_ISLNK(_mode(step)):
            here /= part
            continue
        left -= 1
        if not left:
            raise DsopsError(f"links without end on the way to {name}", where=str(root))
        target = PurePosixPath(step.readlink())
        here = PurePosixPath() if target.is_absolute() else here
        todo = [*target.parts, *todo]
    return root / here


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
