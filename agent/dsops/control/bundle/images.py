"""OCI archives in a bundle: written by us from files that are there, or brought by others and looked at first."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shutil import copyfile
from typing import IO

from dsops.core.errors import DsopsError
from dsops.core.oci import (
    CONFIG,
    INDEX,
    INDEXES,
    MANIFESTS,
    MARK,
    PLAIN,
    Blob,
    render_config,
    render_index,
    render_layout,
    render_manifest,
)

END = ".oci.tar"
# Fills one layer: names, modes and content. All of it becomes root's, of one time: equal input is equal bytes.
Fill = Callable[[tarfile.TarFile], None]


def write_archive(path: Path, layers: Sequence[Fill], *, work: Path) -> str:
    """Writes an image of these layers, the lowest first; its digest. work: an empty folder for what is under way."""
    blobs = [_write_layer(fill, work / f"layer{number}") for number, fill in enumerate(layers)]
    config = _name(render_config([blob.digest for blob in blobs]), CONFIG)
    manifest = _name(render_manifest(config, blobs), MANIFESTS[0])
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MARK, render_layout())
        _add(tar, INDEX, render_index(manifest))
        _add(tar, manifest.path, render_manifest(config, blobs))
        _add(tar, config.path, render_config([blob.digest for blob in blobs]))
        added: set[str] = set()
        for number, blob in enumerate(blobs):
            if blob.path not in added:  # two layers of the same bytes are one blob
                with (work / f"layer{number}").open("rb") as stream:
                    _add_stream(tar, blob.path, stream, blob.size)
            added.add(blob.path)
    return manifest.digest


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """As all entries of our layers are: root's, of one time, without rights of their own."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode &= 0o777
    return entry


def copy_images(images: Iterable[Path], *, out: Path) -> dict[str, str]:
    """Puts archives into a bundle; name -> digest. Raises DsopsError when one is not what it should be."""
    digests: dict[str, str] = {}
    for image in images:
        name = image.name.removesuffix(END)
        if name in digests:
            raise DsopsError(f"two images are called {name}", where=str(image), mend="rename one of them")
        digests[name] = read_digest(image)
        out.mkdir(parents=True, exist_ok=True)
        copyfile(image, out / f"{name}{END}")
    return digests


def read_digest(image: Path) -> str:
    """The digest of the one image in an archive; servers prove its bytes. Raises DsopsError."""
    mend = f"`skopeo copy docker://... oci-archive:NAME{END}`"
    if not image.name.endswith(END):
        raise DsopsError("an image's file is called NAME.oci.tar", where=str(image), mend=mend)
    try:
        with tarfile.open(image, "r:") as tar:
            stream = tar.extractfile(tar.getmember(INDEX))
            manifests = json.load(stream)["manifests"] if stream else []
    except (OSError, tarfile.TarError, LookupError, TypeError, ValueError) as error:
        raise DsopsError(f"it is no OCI archive ({error})", where=str(image), mend=mend) from error
    if len(manifests) != 1 or manifests[0].get("mediaType") in INDEXES:
        raise DsopsError("it holds several images", where=str(image), mend=mend)
    return str(manifests[0]["digest"])


def _write_layer(fill: Fill, path: Path) -> Blob:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Blob(f"sha256:{digest}", path.stat().st_size, PLAIN)


def _name(data: bytes, media: str) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), media)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_stream(tar, name, io.BytesIO(data), len(data))


def _add_stream(tar: tarfile.TarFile, name: str, stream: IO[bytes], size: int) -> None:
    entry = plain(tarfile.TarInfo(name))
    entry.size, entry.mode = size, 0o644
    tar.addfile(entry, stream)
