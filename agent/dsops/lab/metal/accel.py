"""Does KVM work here? A file /dev/kvm alone does not say so: a tiny boot sector is run on it, against the clock."""

import functools
import time
from pathlib import Path

from dsops.lab.run import run

# Writes 0x10 to the port of isa-debug-exit, which ends qemu with (0x10 << 1) | 1, then halts.
CODE = bytes([0xB0, 0x10, 0xE6, 0xF4, 0xF4])
ENDED = 33
# Firmware and boot sector together: 0.1 s with KVM, 0.1 s without. A nested KVM that traps every access takes more
# than a second, and does not boot a kernel within minutes (seen on a virtual machine without vmx or svm).
QUICK_SECONDS = 0.8
TCG = "tcg,thread=multi,tb-size=512"


@functools.cache
def find_accelerator() -> str:
    """qemu's word for the quickest way to run a guest that really works here."""
    return "kvm" if Path("/dev/kvm").exists() and _runs_quickly("kvm") else TCG


def _runs_quickly(accelerator: str) -> bool:
    image = Path("/run/dsops-lab-boot-sector.img")
    image.write_bytes(CODE.ljust(510, b"\0") + b"\x55\xaa")
    argv = [
        "qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-m", "32", "-nodefaults", "-no-user-config",
        "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
        "-drive", f"file={image},format=raw,if=ide",
    ]  # fmt: skip
    since = time.monotonic()
    code = get_code(argv, timeout=5)
    return code == ENDED and time.monotonic() - since < QUICK_SECONDS


def get_code(argv: list[str], *, timeout: float) -> int:
    """A program's exit status; -1 when it did not end in time."""
    script = 'timeout "$0" "$@"; echo $?'
    return int(run(["sh", "-c", script, f"{timeout:g}", *argv], timeout=timeout + 5).split()[-1])
