"""An OCI archive: opened at a wanted digest, and every byte of it proven before anything is made of it."""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dsops.core.errors import DsopsError
from dsops.core.oci import (
    INDEX,
    MARK,
    Blob,
    Layer,
    check_blob,
    check_layout,
    find_manifest,
    parse_config,
    parse_manifest,
)

# A manifest or config of this size is no manifest.
SMALL = 4 << 20
CHUNK = 1 << 20


class Archive:
    """tar: a plain tar, so that each blob is a part of the file and is never copied."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self.path = path
        self._tar = tar
        self._members = {one.name.removeprefix("./"): one for one in tar.getmembers() if one.isfile()}

    def find_layers(self, digest: str) -> tuple[Layer, ...]:
        """The image's layers, the lowest first; manifest and config are proven. Raises DsopsError."""
        check_layout(self._read_small(MARK), where=self._where(MARK))
        manifest = find_manifest(self._read_small(INDEX), digest=digest, where=self._where(INDEX))
        config, layers = parse_manifest(self._read_blob(manifest), where=self._where(manifest.path))
        return parse_config(self._read_blob(config), layers, where=self._where(config.path))

    def check(self, blob: Blob) -> None:
        """Reads all of it. Raises DsopsError unless it is what it is named."""
        hasher, size = hashlib.sha256(), 0
        with self.open(blob) as stream:
            while data := stream.read(CHUNK):
                hasher.update(data)
                size += len(data)
        check_blob(blob, digest=f"sha256:{hasher.hexdigest()}", size=size, where=self._where(blob.path))

    @contextmanager
    def open(self, blob: Blob) -> Iterator[IO[bytes]]:
        """Its bytes. Raises DsopsError when they are not there."""
        with self._open(blob.path) as stream:
            yield stream

    def _read_blob(self, blob: Blob) -> bytes:
        data = self._read_small(blob.path)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        check_blob(blob, digest=digest, size=len(data), where=self._where(blob.path))
        return data

    def _read_small(self, name: str) -> bytes:
        with self._open(name) as stream:
            data = stream.read(SMALL + 1)
        if len(data) > SMALL:
            raise DsopsError("it is too big for what it should be", where=self._where(name), mend="bring it again")
        return data

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._members.get(name)
        stream = self._tar.extractfile(member) if member else None
        if stream is None:
            raise DsopsError("it is not in the archive", where=self._where(name), mend="bring the archive again")
        with stream:
            yield stream

    def _where(self, name: str) -> str:
        return f"{self.path}:{name}"


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Raises DsopsError when it is no tar, or breaks off, also while it is being read."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield Archive(path, tar)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        mend = "bring it again: an OCI archive is a plain tar"
        raise DsopsError(f"it cannot be read as a tar ({error})", where=str(path), mend=mend) from error
    except OSError as error:
        raise DsopsError(f"{error.strerror or error}", where=str(error.filename or path)) from error
