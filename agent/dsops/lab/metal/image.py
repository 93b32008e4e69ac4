"""The disk that every guest begins with: a fresh Debian 12 as its installer leaves it, with kernel and GRUB."""

import fcntl
import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import base
from dsops.lab.place import Lab
from dsops.lab.run import run, write

# What the container's base leaves out because a container cannot use it.
INCLUDED = (*base.INCLUDED, "linux-image-amd64", "initramfs-tools", "grub-pc", "udev", "zstd", "e2fsprogs", "fdisk")
# Only what these machines have, so that a guest does not unpack every driver of the world at each boot.
MODULES = ("ahci", "sd_mod", "nvme", "ext4", "virtio_pci", "virtio_net")
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2")
CONSOLE = "console=tty0 console=ttyS0,115200"
SECTOR = 512
FIRST_SECTOR = 2048  # of the partition: 1 MiB, as every tool aligns it; GRUB lies before it
ROOT_GB = 8
FINISH = 3  # raise when what follows changes: the number is part of the recipe


def recipe() -> str:
    """The name of the image: a hash of all that decides what is in it."""
    text = json.dumps([base.SUITES, INCLUDED, MODULES, GRUB_MODULES, CONSOLE, ROOT_GB, FINISH])
    return f"metal-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def image_path(lab: Lab) -> Path:
    return lab.base / f"{recipe()}.img"


def ensure_image(lab: Lab) -> bool:
    """Build the image unless it is there; whether it was built. A half-built one is begun anew."""
    lab.base.mkdir(parents=True, exist_ok=True)
    with (lab.base / "lock").open("a") as lock:  # labs may share the cache
        fcntl.flock(lock, fcntl.LOCK_EX)
        if image_path(lab).exists():
            return False
        _build(lab)
        return True


def _build(lab: Lab) -> None:
    building = lab.base / f"{recipe()}.building"
    base.discard(building)
    building.mkdir()
    (building / "tmp").mkdir()
    base.debootstrap(lab, building, INCLUDED)
    _configure(building / "root")
    part = building / "disk.img"
    make_disk(part, tree=building / "root")
    part.rename(image_path(lab))
    base.discard(building)


def _configure(root: Path) -> None:
    base.finish(root)
    write(root / "etc/initramfs-tools/conf.d/lab", "MODULES=list\n")
    write(root / "etc/initramfs-tools/modules", "".join(f"{name}\n" for name in MODULES))
    grub = f'GRUB_TIMEOUT=0\nGRUB_RECORDFAIL_TIMEOUT=0\nGRUB_TERMINAL=console\nGRUB_CMDLINE_LINUX="{CONSOLE}"\n'
    write(root / "etc/default/grub", grub + "GRUB_DISABLE_OS_PROBER=true\n")
    # Where grub-pc's own upgrade would put it: the disk of the root file system.
    run(["chroot", root, "debconf-set-selections"], text="grub-pc grub-pc/install_devices multiselect /dev/sda\n")


def make_disk(image: Path, *, tree: Path) -> None:
    """A disk that boots by BIOS: GRUB before the one partition, ext4 with `tree` in it."""
    with image.open("wb") as file:
        file.truncate(ROOT_GB << 30)
        file.seek(440)
        file.write(render_partition_table((ROOT_GB << 30) // SECTOR))
    with partition(image) as loop:
        run(["mkfs.ext4", "-q", "-L", "root", "-d", tree, "-E", "lazy_itable_init=1,lazy_journal_init=1", loop])
        uuid = run(["blkid", "-s", "UUID", "-o", "value", loop]).strip()
        with mounted(loop, image.parent / "mnt") as root:
            _make_bootable(root, image, uuid)


def _make_bootable(root: Path, image: Path, uuid: str) -> None:
    write(root / "etc/fstab", f"UUID={uuid} / ext4 errors=remount-ro 0 1\n")
    kernel = next((root / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    with bound(root):
        run(["chroot", root, "update-initramfs", "-u"], timeout=300)
        core = ["-p", "(hd0,msdos1)/boot/grub", "-o", "/boot/core.img", *GRUB_MODULES]
        run(["chroot", root, "grub-mkimage", "-O", "i386-pc", *core])
    modules = root / "boot/grub/i386-pc"
    modules.mkdir(parents=True, exist_ok=True)
    source = root / "usr/lib/grub/i386-pc"
    run(["cp", "-t", modules, *sorted(source.glob("*.mod")), *sorted(source.glob("*.lst"))])
    # The guest's own update-grub writes this file anew when it must; here, on a loop device, it would refuse.
    write(root / "boot/grub/grub.cfg", render_grub(uuid, kernel))
    install_grub(image, boot=(source / "boot.img").read_bytes(), core=(root / "boot/core.img").read_bytes())
    (root / "boot/core.img").unlink()


def render_partition_table(sectors: int) -> bytes:
    """Bytes 440 to 511 of a master boot record: one bootable Linux partition to the disk's end."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xfe\xff\xff", FIRST_SECTOR, sectors - FIRST_SECTOR)
    return b"lab0\0\0" + entry + bytes(48) + b"\x55\xaa"


def render_grub(uuid: str, kernel: str) -> str:
    return f"""set timeout=0
insmod part_msdos
insmod ext2
search --no-floppy --fs-uuid --set=root {uuid}
menuentry "Debian" {{
  linux /boot/vmlinuz-{kernel} root=UUID={uuid} ro {CONSOLE}
  initrd /boot/initrd.img-{kernel}
}}
"""


def install_grub(image: Path, *, boot: bytes, core: bytes) -> None:
    """Put GRUB's first stage into the boot record and the rest right behind, where the first one looks for it."""
    if SECTOR + len(core) > FIRST_SECTOR * SECTOR:
        raise DsopsError(f"GRUB's core has {len(core)} bytes, and does not fit before the partition")
    with image.open("r+b") as file:
        file.write(boot[:440])
        file.seek(SECTOR)
        file.write(core)


@contextmanager
def partition(image: Path) -> Iterator[str]:
    """The image's one partition as a loop device."""
    loop = run(["losetup", "-f", "--show", "--offset", str(FIRST_SECTOR * SECTOR), image]).strip()
    try:
        yield loop
    finally:
        run(["losetup", "-d", loop], check=False)


@contextmanager
def mounted(device: str, point: Path) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    run(["mount", device, point])
    try:
        yield point
    finally:
        run(["umount", point])
        point.rmdir()


@contextmanager
def bound(root: Path) -> Iterator[None]:
    """What programs in a chroot look at."""
    points = [root / name for name in ("dev", "proc", "sys")]
    done: list[Path] = []
    try:
        for point in points:
            run(["mount", "--bind", f"/{point.name}", point])
            done.append(point)
        yield
    finally:
        for point in reversed(done):
            run(["umount", point])
