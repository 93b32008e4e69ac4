"""OCI archives on their way into a bundle: named by their digest, and looked at before they are copied."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from dsops.control.bundle.images import copy_images, plain, read_digest, write_archive
from dsops.core.errors import DsopsError


def fill(tar: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("bin/sh")
    info.size, info.mtime, info.uid, info.uname, info.mode = 2, 77, 1000, "me", 0o4755
    tar.addfile(plain(info), io.BytesIO(b"sh"))


def write_image(folder: Path, name: str = "triton.oci.tar") -> tuple[Path, str]:
    work = folder / f"work-{name}"
    work.mkdir(parents=True)
    return folder / name, write_archive(folder / name, [fill, fill], work=work)


def write_index(path: Path, **said: object) -> Path:
    data = json.dumps(said).encode()
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("index.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


def test_archives_are_copied_under_their_names(tmp_path: Path) -> None:
    image, digest = write_image(tmp_path)
    assert copy_images([image], out=tmp_path / "out/images") == {"triton": digest}
    assert (tmp_path / "out/images/triton.oci.tar").read_bytes() == image.read_bytes()
    assert copy_images([], out=tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def test_the_same_files_make_the_same_bytes_and_nothing_of_who_built_them_is_in_it(tmp_path: Path) -> None:
    (one, first), (other, second) = write_image(tmp_path, "a.oci.tar"), write_image(tmp_path / "b", "b.oci.tar")
    assert (first, one.read_bytes()) == (second, other.read_bytes())
    with tarfile.open(one) as tar:
        names = [entry.name for entry in tar]
        # Two layers of the same bytes are one blob.
        assert len(names) == len(set(names)) == 5
        blob = max((tar.extractfile(name).read() for name in names), key=len)  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
        (entry,) = layer.getmembers()
    assert (entry.uid, entry.uname, entry.mtime, entry.mode) == (0, "", 0, 0o755)


def test_two_archives_of_one_name_are_refused(tmp_path: Path) -> None:
    (one, _), (other, _) = write_image(tmp_path / "a"), write_image(tmp_path / "b")
    with pytest.raises(DsopsError, match="two images are called triton"):
        copy_images([one, other], out=tmp_path / "out")


def test_what_is_no_archive_with_one_image_is_refused(tmp_path: Path) -> None:
    image, _ = write_image(tmp_path)
    packed = tmp_path / "packed.oci.tar"
    packed.write_bytes(gzip.compress(image.read_bytes()))
    kinds = "application/vnd.oci.image.index.v1+json"
    wrong = {
        tmp_path / "triton.tar": "called NAME.oci.tar",
        tmp_path / "missing.oci.tar": "it is no OCI archive",
        packed: "it is no OCI archive",
        write_index(tmp_path / "none.oci.tar", manifests=[]): "it holds several images",
        write_index(tmp_path / "kinds.oci.tar", manifests=[{"mediaType": kinds}]): "it holds several images",
        write_index(tmp_path / "odd.oci.tar", other=1): "it is no OCI archive",
    }
    for path, words in wrong.items():
        with pytest.raises(DsopsError, match=words):
            read_digest(path)
