"""Images as folders: whole under their digest or not there, and archives that lie, climb out or break off."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dsops.control.bundle.images import plain, write_archive
from dsops.core import oci
from dsops.core.errors import DsopsError
from dsops.node.image.archive import open_archive
from dsops.node.image.unpack import name_of, remove_others, unpack

Change = Callable[[dict[str, bytes]], None]
GZ = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(name: str, content: str | None = None, **other: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file with content, else a folder, unless `type` says otherwise."""
    data = (content or "").encode()
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    info.mode, info.size = 0o755, len(data)
    for key, value in other.items():
        setattr(info, key, value)
    return info, data


def link(name: str, to: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, "", type=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=to)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> Callable[[tarfile.TarFile], None]:
    def fill(tar: tarfile.TarFile) -> None:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))

    return fill


BASE = layer(
    entry("./usr/lib/"),
    entry("usr/bin/sh", "#!shell", mode=0o4755),
    entry("usr/lib/x", "x1", mode=0o644),
    entry("etc/passwd", "root"),
    entry("etc/group", "root"),
    link("lib", "usr/lib"),
    link("usr/bin/dash", "usr/bin/sh", hard=True),
    entry("dev/null", "", type=tarfile.CHRTYPE),
)
OVER = layer(entry("lib/y", "y2"), entry("usr/lib/x", "x2"), entry("etc/.wh.group", ""), entry("new/deep/file", "f"))


@dataclass(frozen=True)
class Image:
    path: Path
    digest: str
    into: Path

    def unpack(self, **other: Any) -> Path:
        with open_archive(self.path) as archive:
            return unpack(archive, self.digest, into=self.into, **other)

    def refused(self) -> str:
        """Why; nothing of it may be left where a unit would look."""
        with pytest.raises(DsopsError) as caught:
            self.unpack()
        assert not [path for path in self.into.iterdir() if path.name.startswith(self.digest[7:])]
        return f"{caught.value}"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Image]:
    def build(*layers: Callable[[tarfile.TarFile], None]) -> Image:
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (tmp_path / "images").mkdir(exist_ok=True)
        path = tmp_path / "image.oci.tar"
        return Image(path, write_archive(path, layers or (BASE, OVER), work=work), tmp_path / "images")

    return build


def look(root: Path) -> Mapping[str, str]:
    """path -> content, or where a link leads."""
    files = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in files
    }


def rewrite(image: Image, change: Change) -> None:
    """The archive's files, changed."""
    with tarfile.open(image.path) as tar:
        files = {one.name: stream.read() for one in tar.getmembers() if (stream := tar.extractfile(one))}
    change(files)
    with tarfile.open(image.path, "w") as tar:
        for name, data in files.items():
            info = plain(tarfile.TarInfo(name))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def sum_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_layers_lie_over_each_other_and_links_lead_inside(make: Callable[..., Image]) -> None:
    root = make().unpack(mounted=["/var/lib/x", "/lib/made"])
    assert look(root) == {
        "usr/bin/sh": "#!shell",
        "usr/bin/dash": "#!shell",
        "usr/lib/x": "x2",
        "usr/lib/y": "y2",
        "etc/passwd": "root",
        "lib": "-> usr/lib",
        "new/deep/file": "f",
    }
    assert (root / "usr/bin/sh").stat().st_mode & 0o7777 == 0o755, "a mode of the archive gives rights"
    assert (root / "usr/bin/sh").stat().st_ino == (root / "usr/bin/dash").stat().st_ino
    assert {path.stat().st_uid for path in root.rglob("*") if not path.is_symlink()} == {os.getuid()}
    assert all((root / name).is_dir() for name in ("dev", "proc", "var/lib/x", "usr/lib/made", "var/tmp"))


def test_a_second_run_finds_it_and_reads_nothing(make: Callable[..., Image]) -> None:
    image = make()
    root = image.unpack()
    before = root.stat().st_ino
    rewrite(image, drop_layer)
    assert image.unpack() == root
    assert root.stat().st_ino == before


def test_an_emptied_folder_forgets_what_lower_layers_put_there(make: Callable[..., Image]) -> None:
    image = make(BASE, layer(entry("etc/.wh..wh..opq", ""), entry("etc/hosts", "h"), entry("usr/.wh.lib", "")))
    assert look(image.unpack()) == {
        "usr/bin/sh": "#!shell",
        "usr/bin/dash": "#!shell",
        "etc/hosts": "h",
        "lib": "-> usr/lib",
    }


def test_a_packed_layer_is_unpacked_and_proven_twice(make: Callable[..., Image]) -> None:
    image = make(BASE)
    changed = {}

    def pack(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[f"{oci.BLOBS}/{image.digest[7:]}"])
        (one,) = manifest["layers"]
        packed = gzip.compress(files.pop(f"{oci.BLOBS}/{one['digest'][7:]}"))
        one |= {"digest": sum_of(packed), "size": len(packed), "mediaType": GZ}
        files[f"{oci.BLOBS}/{one['digest'][7:]}"] = packed
        data = json.dumps(manifest).encode()
        files[f"{oci.BLOBS}/{sum_of(data)[7:]}"] = data
        files["index.json"] = oci.render_index(oci.Blob(sum_of(data), len(data), oci.MANIFESTS[0]))
        changed["digest"] = sum_of(data)

    rewrite(image, pack)
    root = replace(image, digest=changed["digest"]).unpack()
    assert look(root)["usr/lib/x"] == "x1"


def test_a_wrong_digest_is_refused_before_anything_is_written(make: Callable[..., Image]) -> None:
    image = replace(make(), digest=f"sha256:{'0' * 64}")
    assert "the archive holds another image: sha256:" in image.refused()


def swap(words: bytes, by: bytes) -> Change:
    """One text by another of the same length, in the layers."""

    def change(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            files[name] = data.replace(words, by) if b"ustar" in data else data

    return change


def drop_layer(files: dict[str, bytes]) -> None:
    del files[max(files, key=lambda name: len(files[name]))]


def cut_layer(files: dict[str, bytes]) -> None:
    name = max(files, key=lambda name: len(files[name]))
    files[name] = files[name][:-512]


def forge_config(files: dict[str, bytes]) -> None:
    """Other contents of the layers, under the config's old name."""
    for name, data in files.items():
        if b"diff_ids" in data:
            files[name] = data.replace(b'"linux"', b'"Linux"')


def forge_manifest(files: dict[str, bytes]) -> None:
    """The index still names the old digest."""
    for name, data in files.items():
        if b"schemaVersion" in data and name != "index.json":
            files[name] = data + b" "


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap(b"x1", b"XX"), "a blob is not what it is named"),
        (drop_layer, "it is not in the archive"),
        (cut_layer, "a blob is not what it is named"),
        (forge_config, "a blob is not what it is named"),
        (forge_manifest, "a blob is not what it is named"),
        (lambda files: files.pop("index.json"), "index.json: it is not in the archive"),
        (lambda files: files.pop("oci-layout"), "oci-layout: it is not in the archive"),
        (lambda files: files.update({"index.json": b"x" * (5 << 20)}), "it is too big"),
    ],
)
def test_an_archive_with_one_forged_or_missing_part_is_refused_before_anything_is_written(
    make: Callable[..., Image], change: Change, words: str
) -> None:
    image = make()
    rewrite(image, change)
    assert words in image.refused()


def test_a_config_that_lies_of_a_layers_content_is_found_while_it_is_unpacked(make: Callable[..., Image]) -> None:
    """Every digest of the archive is right, for whoever forged it forged them all; the manifest's would be another."""
    image = make(BASE)
    changed = {}

    def forge(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[f"{oci.BLOBS}/{image.digest[7:]}"])
        config = oci.render_config([f"sha256:{'1' * 64}"])
        files[f"{oci.BLOBS}/{sum_of(config)[7:]}"] = config
        manifest["config"] |= {"digest": sum_of(config), "size": len(config)}
        data = json.dumps(manifest).encode()
        files[f"{oci.BLOBS}/{sum_of(data)[7:]}"] = data
        files["index.json"] = oci.render_index(oci.Blob(sum_of(data), len(data), oci.MANIFESTS[0]))
        changed["digest"] = sum_of(data)

    rewrite(image, forge)
    assert "a layer's content is sha256:" in replace(image, digest=changed["digest"]).refused()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out", "x")],
        [entry("/out", "x")],
        [entry("a/../../out", "x")],
        [link("a", "b"), entry("c", ""), link("d", "../../out", hard=True)],
        [entry(".wh...", "")],
    ],
)
def test_an_entry_that_leaves_the_image_is_refused(make: Callable[..., Image], entries: list[Any]) -> None:
    image = make(layer(*entries))
    assert "leaves the image" in image.refused()
    assert not (image.into.parent / "out").exists()


@pytest.mark.parametrize("way", ["/outside", "../../outside", "../" * 40 + "outside"])
def test_a_link_to_the_outside_leads_inside_the_image(make: Callable[..., Image], tmp_path: Path, way: str) -> None:
    """As it would in the image's own root: nothing is written through it elsewhere, and nothing removed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    real = str(outside) if way == "/outside" else way
    image = make(layer(link("door", real), entry("door/new", "n"), entry("door/.wh.kept", "")))
    root = image.unpack()
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert len([path for path in root.rglob("new") if path.is_file()]) == 1


def test_links_in_a_ring_are_refused(make: Callable[..., Image]) -> None:
    assert "links without end" in make(layer(link("a", "b"), link("b", "a"), entry("a/x", "x"))).refused()


def test_what_is_no_archive_is_told_without_a_traceback(make: Callable[..., Image], tmp_path: Path) -> None:
    image = make()
    for content in (b"", b"x" * 5000, gzip.compress(image.path.read_bytes()), image.path.read_bytes()[:3000]):
        image.path.write_bytes(content)
        assert image.refused()
    image.path.unlink()
    assert "No such file" in image.refused()


def test_a_run_that_was_cut_is_begun_anew_and_other_images_go_but_those_that_are_kept(
    make: Callable[..., Image],
) -> None:
    image = make()
    half = image.into / f"{name_of(image.digest)}.part"
    (half / "left").mkdir(parents=True)
    root = image.unpack()
    assert not half.exists()
    assert not (root / "left").exists()
    for name in ("1" * 64, "2" * 64, f"{'3' * 64}.part"):
        (image.into / name).mkdir()
    gone = remove_others(image.into, keep=[image.digest, f"sha256:{'2' * 64}"])
    assert gone == ["1" * 64, f"{'3' * 64}.part"]
    assert sorted(path.name for path in image.into.iterdir()) == sorted([root.name, "2" * 64])


def test_equal_files_make_equal_digests(make: Callable[..., Image]) -> None:
    assert make(BASE, OVER).digest == make(BASE, OVER).digest != make(OVER, BASE).digest


def test_the_command_prints_the_folder_or_the_error_with_its_mend(make: Callable[..., Image]) -> None:
    image = make()
    argv = [sys.executable, "-m", "dsops.node.image", str(image.path), "--into", str(image.into), "--digest"]
    env = os.environ | {"PYTHONPATH": "agent"}
    done = subprocess.run([*argv, image.digest], capture_output=True, text=True, env=env, timeout=60, umask=0o077)
    folders = [path for path in (image.into / name_of(image.digest)).rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o755}, "a slot's account could not read it"
    assert (done.returncode, done.stdout.strip()) == (0, str(image.into / name_of(image.digest)))
    done = subprocess.run([*argv, "latest"], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: 'latest' is no digest\n  mend: sha256:")
