"""The set's kernel modules: prebuilt ones put in place by rename, checked by hash; the boot loader's kernel chosen."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.driver.place import DriverSet, Place, write
from dsops.node.run import Runner
from dsops.node.store.disk import Disk

GRUB, DROP_IN = "/boot/grub/grub.cfg", "/etc/default/grub.d/91-dsops-driver.cfg"
ENTRY = re.compile(r"menuentry_id_option '(gnulinux-(.+)-advanced-[0-9a-fA-F-]+)'")
SUBMENU = re.compile(r"submenu .*menuentry_id_option '(gnulinux-advanced-[0-9a-fA-F-]+)'")
BOOTED = re.compile(r"^\s*linux\s+\S*/vmlinuz-(\S+)", re.MULTILINE)


def install_modules(place: Place, wanted: DriverSet, *, run: Runner) -> None:
    """Raises DsopsError, the old ones still in place, when a file is not what the bundle's set says."""
    release = wanted.lockset.kernel.release
    tree = place / f"/lib/modules/{release}"
    if not (tree / "modules.order").exists():
        what = f"kernel {release} of the set is not installed"
        raise DsopsError(what, where=str(tree), mend=f"the set must have {wanted.lockset.kernel.package} in it")
    updates = tree / "updates"
    if wanted.carried.is_prebuilt:
        _put(wanted, updates)
    elif (updates / "dsops").exists():
        shutil.rmtree(updates / "dsops")  # of a set before, that had them prebuilt
    _must(run, ["depmod", "-a", release])
    _must(run, ["update-initramfs", "-u", "-k", release])


def _put(wanted: DriverSet, updates: Path) -> None:
    new, old, here = (updates / name for name in ("dsops.new", "dsops.old", "dsops"))
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir(parents=True)
    for name, digest in wanted.carried.modules.items():
        file = wanted.path / "modules" / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            mend = "deploy again: the set comes from the bundle"
            raise DsopsError("the module is not what the bundle's set says", where=str(file), mend=mend)
        shutil.copyfile(file, new / name)
    if here.exists():
        here.rename(old)
    new.rename(here)
    Disk().sync_folder(updates)
    shutil.rmtree(old, ignore_errors=True)


def choose_kernel(place: Place, release: str, *, run: Runner) -> None:
    """Makes GRUB boot this kernel, also where a newer one is installed; no GRUB: whoever boots must know."""
    if not (place / GRUB).exists():
        return
    drop_in = place / DROP_IN
    drop_in.unlink(missing_ok=True)
    _must(run, ["update-grub"])
    text = (place / GRUB).read_text(errors="replace")
    first = BOOTED.search(text)
    if first and first[1] == release:
        return
    entry = next((match[1] for match in ENTRY.finditer(text) if match[2] == release), "")
    submenu = SUBMENU.search(text)
    if not entry or not submenu:
        what = f"GRUB has no entry for kernel {release}"
        raise DsopsError(what, where=str(place / GRUB), mend="update-grub, and look which kernels it finds")
    write(
        drop_in,
        f'# Written by dsops (role driver): the kernel of the driver\'s set.\nGRUB_DEFAULT="{submenu[1]}>{entry}"\n',
    )
    _must(run, ["update-grub"])


def read_module(place: Place, name: str, release: str, *, run: Runner) -> Mapping[str, str]:
    """`version` and `kernel` of the file that would be loaded; empty where there is none."""
    found = {}
    for key, field in (("version", "version"), ("kernel", "vermagic")):
        done = run(["modinfo", "-b", str(place.root), "-k", release, "-F", field, name])
        found[key] = (done.stdout.split() or [""])[0] if done.code == 0 else ""
    return found


def _must(run: Runner, argv: list[str]) -> None:
    done = run(argv, timeout=900)
    if done.code:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise DsopsError(f"exit {done.code}: {' '.join(argv)}: {said}", mend=f"as root: {' '.join(argv)}")
