"""What an OCI archive says of itself: understood, and refused where a byte, a name or a kind is not as it must be."""

import hashlib
import json
from typing import Any

import pytest
from dsops.core import oci
from dsops.core.errors import DsopsError

HERE = "x.tar"
GZ = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


LAYER = oci.Blob(digest("layer"), 5, oci.PLAIN)
CONF = oci.Blob(digest("config"), 6, oci.CONFIG)
MAN = oci.Blob(digest("manifest"), 8, oci.MANIFESTS[0])


def dump(**said: Any) -> bytes:
    return json.dumps(said).encode()


def told(blob: oci.Blob, **other: Any) -> dict[str, Any]:
    return {"digest": blob.digest, "size": blob.size, "mediaType": blob.media, **other}


def test_what_is_written_is_what_is_read() -> None:
    oci.check_layout(oci.render_layout(), where=HERE)
    assert oci.find_manifest(oci.render_index(MAN), digest=MAN.digest, where=HERE) == MAN
    assert oci.parse_manifest(oci.render_manifest(CONF, [LAYER]), where=HERE) == (CONF, (LAYER,))
    packed = oci.Blob(digest("packed"), 3, GZ)
    layers = oci.parse_config(oci.render_config([digest("a"), digest("b")]), [LAYER, packed], where=HERE)
    assert layers == (oci.Layer(LAYER, digest("a"), ""), oci.Layer(packed, digest("b"), "gz"))
    assert LAYER.path == f"blobs/sha256/{LAYER.digest[7:]}"


def test_another_digest_is_refused_with_the_one_that_is_there() -> None:
    with pytest.raises(DsopsError) as caught:
        oci.find_manifest(oci.render_index(MAN), digest=digest("other"), where=HERE)
    assert caught.value.what == f"the archive holds another image: {MAN.digest}, not {digest('other')}"


@pytest.mark.parametrize(
    "text", ["", "latest", "sha256:", f"sha512:{'0' * 64}", f"sha256:{'0' * 63}", f"sha256:{'A' * 64}"]
)
def test_a_tag_or_half_a_digest_is_none(text: str) -> None:
    with pytest.raises(DsopsError, match="is no digest"):
        oci.find_manifest(oci.render_index(MAN), digest=text, where=HERE)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dump(manifests=[told(MAN, mediaType=oci.INDEXES[0])]), "list of images for several kinds"),
        (dump(manifests=[told(MAN, mediaType="text/plain")]), "'text/plain' is no image"),
        (dump(manifests=[]), "another image: none"),
        (dump(manifests=[told(MAN, size="8")]), "lacks digest, size or type"),
        (dump(manifests=[7]), "a descriptor is missing"),
        (dump(manifests=[told(MAN, digest="sha256:../../etc")]), "is no digest"),
        (dump(), "manifests is missing"),
        (b"[]", "not a table"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_an_index_that_names_no_image_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(DsopsError, match=words):
        oci.find_manifest(data, digest=MAN.digest, where=HERE)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dump(config=told(CONF), layers=[]), "it has no layers"),
        (dump(config=told(CONF), layers=[told(LAYER, mediaType=f"{oci.PLAIN}+zstd")]), r"a layer is '.*tar\+zstd'"),
        (dump(layers=[told(LAYER)]), "a descriptor is missing"),
    ],
)
def test_a_manifest_that_cannot_be_unpacked_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(DsopsError, match=words) as caught:
        oci.parse_manifest(data, where=HERE)
    assert "tar+gzip" in caught.value.mend


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dump(os="linux", architecture="arm64"), "it is for linux/arm64, not linux/amd64"),
        (dump(os="linux", architecture="amd64"), "does not name the contents"),
        (dump(os="linux", architecture="amd64", rootfs={"diff_ids": []}), "does not name the contents"),
        (dump(os="linux", architecture="amd64", rootfs={"diff_ids": ["x"]}), "is no digest"),
    ],
)
def test_a_config_that_fits_neither_machine_nor_layers_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(DsopsError, match=words):
        oci.parse_config(data, [LAYER], where=HERE)


@pytest.mark.parametrize(("seen", "size"), [(digest("forged"), 5), (LAYER.digest, 6)])
def test_bytes_that_are_not_those_that_were_named_are_refused(seen: str, size: int) -> None:
    oci.check_blob(LAYER, digest=LAYER.digest, size=5, where=HERE)
    with pytest.raises(DsopsError, match="a blob is not what it is named"):
        oci.check_blob(LAYER, digest=seen, size=size, where=HERE)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("./usr/bin/sh", oci.Member("usr/bin/sh")),
        ("usr//bin/", oci.Member("usr/bin")),
        ("./", oci.Member("")),
        ("etc/.wh.passwd", oci.Member("etc/passwd", gone=True)),
        ("etc/.wh..wh..opq", oci.Member("etc", emptied=True)),
        (".wh..wh..opq", oci.Member("", emptied=True)),
    ],
)
def test_an_entry_says_what_comes_or_goes(name: str, member: oci.Member) -> None:
    assert oci.parse_member(name, where=HERE) == member


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/..", "x\0y", ".wh...", "a/.wh."])
def test_an_entry_that_leaves_the_image_is_refused(name: str) -> None:
    with pytest.raises(DsopsError, match="leaves the image"):
        oci.parse_member(name, where=HERE)


def test_another_layout_is_refused() -> None:
    with pytest.raises(DsopsError, match=r"layout '2\.0' is not known"):
        oci.check_layout(dump(imageLayoutVersion="2.0"), where=HERE)
