"""The lab's own image: of a base system and a bundle, its layers over each other, the same bytes every time."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab.image import PYTHON, build_image
from dsops.node.image.archive import open_archive
from dsops.node.image.unpack import unpack

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb takes Debian's packages apart")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def write_base(root: Path) -> Path:
    write(root / "usr/bin/sh", "sh", 0o755)
    write(root / "usr/bin/su", "su", 0o4755)
    (root / "usr/lib").mkdir()
    (root / "lib").symlink_to("usr/lib")
    return root


def write_bundle(bundle: Path, work: Path, *, name: str = f"python{PYTHON}-minimal") -> Path:
    package = work / "deb"
    write(
        package / "DEBIAN/control", f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    )
    write(package / f"usr/bin/python{PYTHON}", "python", 0o755)
    write(package / "lib/libpython.so", "library")
    (bundle / "apt/base").mkdir(parents=True)
    argv = ["dpkg-deb", "--root-owner-group", "-b", package, bundle / f"apt/base/{name}_1_all.deb"]
    subprocess.run(argv, check=True, capture_output=True)
    write(bundle / "triton/bin/tritonserver", "triton", 0o755)
    (bundle / "wheels/engine-openvino").mkdir(parents=True)
    with zipfile.ZipFile(bundle / "wheels/engine-openvino/x-1-py3-none-any.whl", "w") as wheel:
        for path in ("x/__init__.py", "x-1.dist-info/METADATA", "x-1.data/purelib/y.py", "x-1.data/scripts/run"):
            wheel.writestr(path, path)
    return bundle


def build(folder: Path, name: str, **more: bytes) -> tuple[Path, str]:
    base, bundle = folder / "base", folder / "bundle"
    work = folder / f"work-{name}"
    work.mkdir()
    return folder / name, build_image(base, bundle, folder / name, work=work, **more)


def test_system_python_triton_and_engine_lie_where_a_servers_do(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    write_bundle(tmp_path / "bundle", tmp_path)
    path, digest = build(tmp_path, "one.oci.tar")
    (tmp_path / "images").mkdir()
    with open_archive(path) as archive:
        root = unpack(archive, digest, into=tmp_path / "images")
    packages = root / f"opt/dsops/engines/openvino/venv/lib/python{PYTHON}/site-packages"
    assert (root / "lib").readlink() == Path("usr/lib"), "a package's folder took the place of the system's link"
    assert (root / "usr/lib/libpython.so").read_text() == "library"
    assert (root / "opt/dsops/triton/bin/tritonserver").stat().st_mode & 0o777 == 0o755
    assert str((packages.parents[2] / "bin/python").readlink()) == f"/usr/bin/python{PYTHON}"
    assert sorted(str(file.relative_to(packages)) for file in packages.rglob("*.py")) == ["x/__init__.py", "y.py"]
    assert (root / "usr/bin/su").stat().st_mode & 0o7000 == 0


def test_the_same_system_and_bundle_make_the_same_image_and_one_file_more_another(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    write_bundle(tmp_path / "bundle", tmp_path)
    (one, first), (two, second) = build(tmp_path, "one"), build(tmp_path, "two")
    assert (first, one.read_bytes()) == (second, two.read_bytes())
    assert build(tmp_path, "three", more=b"another\n")[1] != first


def test_a_bundle_without_python_is_refused(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    write_bundle(tmp_path / "bundle", tmp_path, name="chrony")
    with pytest.raises(DsopsError, match=r"it has no Python 3\.11"):
        build(tmp_path, "one")
