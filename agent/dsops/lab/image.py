"""An OCI archive of our own: the lab's base system, Python, the wheel's Triton and the engine, from a bundle."""

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from dsops.control.bundle.images import plain, write_archive
from dsops.core.errors import DsopsError

# As Debian 12 has it, and as the roles lay it out on a server.
PYTHON = "3.11"
TRITON = "opt/dsops/triton"
VENV = "opt/dsops/engines/openvino/venv"
PACKAGES = ("apt/base", "apt/engine")
WHEELS = "wheels/engine-openvino"
CONFIG = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"


def build_image(base: Path, bundle: Path, path: Path, *, work: Path, more: bytes = b"") -> str:
    """Writes the archive; the image's digest. work: an empty folder. more: makes it another image, as good."""
    layers = [
        lambda tar: add_system(tar, base),
        lambda tar: add_packages(tar, find_packages(bundle)),
        lambda tar: add_engine(tar, bundle),
        lambda tar: add_file(tar, "etc/dsops-image", more or b"dsops lab\n"),
    ]
    return write_archive(path, layers, work=work)


def add_system(tar: tarfile.TarFile, base: Path) -> None:
    """All of a system's folder but its devices; names in order, whatever the disk says."""

    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return plain(entry) if entry.isdir() or entry.isreg() or entry.issym() or entry.islnk() else None

    tar.add(base, arcname=".", filter=keep)


def find_packages(bundle: Path) -> list[Path]:
    """The Debian packages that the servers get of it for Python. Raises DsopsError when there are none."""
    found = sorted(deb for folder in PACKAGES for deb in (bundle / folder).glob("*.deb"))
    if not any(deb.name.startswith(f"python{PYTHON}") for deb in found):
        mend = "`dsops bundle build --lab` on Debian 12"
        raise DsopsError(f"it has no Python {PYTHON}", where=str(bundle), mend=mend)
    return found


def add_packages(tar: tarfile.TarFile, packages: Iterable[Path]) -> None:
    """Their files, the first of each name. No folders: Debian's `lib` would take the place of the system's link."""
    added: set[str] = set()
    for deb in packages:
        process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
        with process, tarfile.open(fileobj=cast(IO[bytes], process.stdout), mode="r|") as source:
            for entry in source:
                if entry.isdir() or entry.name in added:
                    continue
                added.add(entry.name)
                tar.addfile(plain(entry), source.extractfile(entry) if entry.isreg() else None)
        if process.returncode:
            raise DsopsError("it cannot be unpacked", where=str(deb), mend="build the bundle again")


def add_engine(tar: tarfile.TarFile, bundle: Path) -> None:
    """Triton's runtime, and the engine's Python as a virtual environment."""
    tar.add(bundle / "triton", arcname=TRITON, filter=plain)
    add_file(tar, f"{VENV}/pyvenv.cfg", CONFIG.encode())
    for name in ("python", "python3"):  # Triton's stub finds its packages by the second
        link = plain(tarfile.TarInfo(f"{VENV}/bin/{name}"))
        link.type, link.linkname = tarfile.SYMTYPE, f"/usr/bin/python{PYTHON}"
        tar.addfile(link)
    for wheel in sorted((bundle / WHEELS).glob("*.whl")):
        add_wheel(tar, wheel)


def add_wheel(tar: tarfile.TarFile, wheel: Path) -> None:
    """What a wheel puts among the packages; its programs are left out."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            head, _, rest = name.partition("/")
            if head.endswith(".data"):
                kind, _, rest = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
            else:
                rest = name
            if rest and not rest.endswith("/"):
                add_file(tar, f"{VENV}/lib/python{PYTHON}/site-packages/{rest}", archive.read(name))


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """One file that everybody may read."""
    entry = plain(tarfile.TarInfo(name))
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))
