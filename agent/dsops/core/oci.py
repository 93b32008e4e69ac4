"""Images in the layout of the Open Container Initiative: what an archive must say, every byte under a digest. Pure.

Source: OCI image-spec 1.1 (image-layout, descriptor, manifest, config, layer); read on 2026-11-22.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsops.core.errors import DsopsError

MARK, INDEX, BLOBS = "oci-layout", "index.json", "blobs/sha256"
LAYOUT_VERSION = "1.0.0"
OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker"
INDEXES = (f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json")
MANIFESTS = (f"{OCI}.manifest.v1+json", f"{DOCKER}.distribution.manifest.v2+json")
CONFIG = f"{OCI}.config.v1+json"
PLAIN = f"{OCI}.layer.v1.tar"
# What a layer's bytes are, as Python's tarfile calls it.
LAYERS: Mapping[str, str] = {
    PLAIN: "",
    f"{OCI}.layer.v1.tar+gzip": "gz",
    f"{DOCKER}.image.rootfs.diff.tar": "",
    f"{DOCKER}.image.rootfs.diff.tar.gzip": "gz",
}
SYSTEM = ("linux", "amd64")
OPAQUE, GONE = ".wh..wh..opq", ".wh."
AGAIN = "make the archive again, with layers as tar or tar+gzip: `skopeo copy docker://... oci-archive:FILE`"
_DIGEST = re.compile(r"sha256:(?P<hex>[0-9a-f]{64})")


@dataclass(frozen=True)
class Blob:
    """Bytes that are named by their digest. size in bytes; media: what they are."""

    digest: str
    size: int
    media: str

    @property
    def path(self) -> str:
        """Where they lie in an archive."""
        return f"{BLOBS}/{self.digest.removeprefix('sha256:')}"


@dataclass(frozen=True)
class Layer:
    """diff_id: digest of the layer's bytes once they are unpacked. packing: "" or "gz"."""

    blob: Blob
    diff_id: str
    packing: str


@dataclass(frozen=True)
class Member:
    """What one entry of a layer asks for. path: below the image's root. gone: removed; emptied: a folder's contents."""

    path: str
    gone: bool = False
    emptied: bool = False


def check_digest(text: str) -> str:
    """The digest. Raises DsopsError on anything but `sha256:` and 64 hexadecimal digits."""
    if not _DIGEST.fullmatch(text):
        mend = "sha256: and 64 hexadecimal digits, as `skopeo inspect` or the builder prints it"
        raise DsopsError(f"{text!r} is no digest", mend=mend)
    return text


def check_layout(data: bytes, *, where: str) -> None:
    """Raises DsopsError unless an `oci-layout` file says that this is one that we can read."""
    version = _parse(data, where=where).get("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise DsopsError(f"layout {version!r} is not known", where=where, mend=AGAIN)


def find_manifest(index: bytes, *, digest: str, where: str) -> Blob:
    """The wanted image in `index.json`. Raises DsopsError that names what is there instead."""
    entries = _get_list(_parse(index, where=where), "manifests", where=where)
    blobs = [_parse_blob(one, where=where) for one in entries]
    found = next((one for one in blobs if one.digest == check_digest(digest)), None)
    if found is None:
        told = ", ".join(one.digest for one in blobs) or "none"
        mend = "name the digest of the archive that you mean, or bring the archive that you named"
        raise DsopsError(f"the archive holds another image: {told}, not {digest}", where=where, mend=mend)
    if found.media in INDEXES:
        mend = "`skopeo copy --override-arch amd64 docker://... oci-archive:FILE`"
        raise DsopsError("it is a list of images for several kinds of machine", where=where, mend=mend)
    if found.media not in MANIFESTS:
        raise DsopsError(f"{found.media!r} is no image", where=where, mend=AGAIN)
    return found


def parse_manifest(data: bytes, *, where: str) -> tuple[Blob, tuple[Blob, ...]]:
    """(config, layers). Raises DsopsError, also on a layer that cannot be unpacked."""
    said = _parse(data, where=where)
    layers = tuple(_parse_blob(one, where=where) for one in _get_list(said, "layers", where=where))
    for one in layers:
        if one.media not in LAYERS:
            raise DsopsError(f"a layer is {one.media!r}", where=where, mend=AGAIN)
    if not layers:
        raise DsopsError("it has no layers", where=where, mend=AGAIN)
    return _parse_blob(said.get("config"), where=where), layers


def parse_config(data: bytes, layers: Sequence[Blob], *, where: str) -> tuple[Layer, ...]:
    """Each layer with the digest of what is in it. Raises DsopsError, also on an image for another kind of machine."""
    said = _parse(data, where=where)
    system = (said.get("os"), said.get("architecture"))
    if system != SYSTEM:
        raise DsopsError(f"it is for {system[0]}/{system[1]}, not {'/'.join(SYSTEM)}", where=where, mend=AGAIN)
    rootfs = said.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list) or len(ids) != len(layers):
        raise DsopsError("it does not name the contents of each layer", where=where, mend=AGAIN)
    pairs = zip(layers, ids, strict=True)
    return tuple(Layer(blob, check_digest(str(id)), LAYERS[blob.media]) for blob, id in pairs)


def check_blob(blob: Blob, *, digest: str, size: int, where: str) -> None:
    """Raises DsopsError unless the bytes that were read are those that were named."""
    if (digest, size) != (blob.digest, blob.size):
        told = f"{size} bytes with {digest}" if digest != blob.digest else f"{size} bytes"
        what = f"a blob is not what it is named: {told}, not {blob.size} bytes with {blob.digest}"
        raise DsopsError(what, where=where, mend="bring the archive again")


def parse_member(name: str, *, where: str) -> Member:
    """What an entry of a layer asks for. Raises DsopsError on a name that leaves the image."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DsopsError(f"an entry leaves the image: {name!r}", where=where, mend="do not trust whoever made it")
    path, last = "/".join(parts), parts[-1] if parts else ""
    if last == OPAQUE:
        return Member("/".join(parts[:-1]), emptied=True)
    if last.startswith(GONE):
        if last.removeprefix(GONE) in ("", ".", ".."):
            raise DsopsError(f"an entry leaves the image: {name!r}", where=where, mend=AGAIN)
        return Member("/".join([*parts[:-1], last.removeprefix(GONE)]), gone=True)
    return Member(path)


def render_layout() -> bytes:
    """The file `oci-layout`."""
    return _render({"imageLayoutVersion": LAYOUT_VERSION})


def render_config(diff_ids: Sequence[str]) -> bytes:
    """The config of an image that has nothing to say but its layers."""
    system, machine = SYSTEM
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return _render({"os": system, "architecture": machine, "config": {}, "rootfs": rootfs})


def render_manifest(config: Blob, layers: Sequence[Blob]) -> bytes:
    """The manifest, whose digest is the image's."""
    said = {"config": _tell(config), "layers": [_tell(one) for one in layers]}
    return _render({"schemaVersion": 2, "mediaType": MANIFESTS[0], **said})


def render_index(manifest: Blob) -> bytes:
    """The file `index.json` of an archive with one image."""
    return _render({"schemaVersion": 2, "manifests": [_tell(manifest)]})


def _tell(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media, "digest": blob.digest, "size": blob.size}


def _render(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _parse(data: bytes, *, where: str) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not JSON ({error})", where=where, mend=AGAIN) from error
    if not isinstance(said, dict):
        raise DsopsError("not a table", where=where, mend=AGAIN)
    return said


def _get_list(said: Mapping[str, Any], key: str, *, where: str) -> list[Any]:
    if not isinstance(said.get(key), list):
        raise DsopsError(f"{key} is missing", where=where, mend=AGAIN)
    return list(said[key])


def _parse_blob(said: object, *, where: str) -> Blob:
    if not isinstance(said, dict):
        raise DsopsError("a descriptor is missing", where=where, mend=AGAIN)
    digest, size, media = said.get("digest"), said.get("size"), said.get("mediaType")
    if not isinstance(digest, str) or type(size) is not int or size < 0 or not isinstance(media, str):
        raise DsopsError("a descriptor lacks digest, size or type", where=where, mend=AGAIN)
    return Blob(check_digest(digest), size, media)
