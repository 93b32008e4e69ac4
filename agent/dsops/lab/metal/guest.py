"""One guest: its disks, its identity; how it is started, and when it answers."""

import socket
import time

from dsops.core.errors import DsopsError
from dsops.lab import keys
from dsops.lab.launch import launch
from dsops.lab.metal import links
from dsops.lab.metal.accel import find_accelerator
from dsops.lab.metal.image import image_path, mounted, partition
from dsops.lab.mounts import remove_tree
from dsops.lab.place import Home, Lab, Server
from dsops.lab.processes import end_parts, find_parts, is_gone
from dsops.lab.run import read, run, write
from dsops.lab.server import write_identity

MEMORY_MB = 2560  # a deploy asks for 2 GiB, as Linux counts them
CORES = 2
HDD_GB = 8
BOOT_SECONDS = 300  # 25 s on two free cores without KVM


def ensure_prepared(lab: Lab, guest: Server) -> bool:
    """Make the guest's disks unless they are whole; whether it made them. Half-made ones are begun anew."""
    home = lab.home(guest)
    if home.prepared.exists():
        return False
    remove_tree(home.path)
    home.path.mkdir(parents=True)
    run(["cp", "--sparse=always", "--reflink=auto", image_path(lab), home.disk("root")], timeout=300)
    for name, gigabytes in (("nvme", guest.disk_gb), ("sata", HDD_GB)):
        with home.disk(name).open("wb") as file:
            file.truncate(gigabytes << 30)
    with partition(home.disk("root")) as loop, mounted(loop, home.path / "mnt") as root:
        write_identity(lab, guest, root, match=f"MACAddress={links.front_mac(lab, guest)}")
        write(root / "etc/systemd/network/20-rail.network", render_rail(lab, guest))
    write(home.prepared, image_path(lab).name + "\n")
    return True


def render_rail(lab: Lab, guest: Server) -> str:
    """systemd-networkd: the rail's address; no route, no resolver, and nobody waits for it at boot."""
    return f"""[Match]
MACAddress={links.rail_mac(lab, guest)}

[Link]
RequiredForOnline=no

[Network]
Address={lab.rail_address(guest)}/{lab.rail.prefixlen}
LinkLocalAddressing=no
IPv6AcceptRA=no
LLMNR=no
"""


def qemu_argv(lab: Lab, guest: Server, *, accelerator: str) -> list[str]:
    """A server with a SATA SSD to boot from, an NVMe disk, a turning disk and two network cards.

    Writes that the guest's disks took are in this machine's page cache: a killed qemu is a power cut, in which
    the guest loses what it had not yet given to its disks, and nothing else.
    """
    home, name = lab.home(guest), guest.name
    return [
        "qemu-system-x86_64", "-name", lab.machine(guest), "-machine", "q35", "-accel", accelerator, "-cpu", "max",
        "-smp", str(CORES), "-m", str(MEMORY_MB), "-nodefaults", "-no-user-config", "-display", "none",
        "-rtc", "base=utc", "-serial", f"file:{home.console}",
        *_drive(home, "root"), "-device", f"ide-hd,drive=root,bus=ide.0,serial=SSD-{name},rotation_rate=1",
        *_drive(home, "nvme"), "-device", f"nvme,drive=nvme,serial=NVME-{name}",
        *_drive(home, "sata"), "-device", f"ide-hd,drive=sata,bus=ide.1,serial=HDD-{name},rotation_rate=7200",
        *_card("front", links.front(lab, guest), links.front_mac(lab, guest), speed=10_000),
        *_card("rail", links.rail(lab, guest), links.rail_mac(lab, guest), speed=100_000),
        "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
    ]  # fmt: skip


def _drive(home: Home, name: str) -> list[str]:
    options = "format=raw,if=none,cache=unsafe,discard=unmap,detect-zeroes=unmap"
    return ["-drive", f"id={name},file={home.disk(name)},{options}"]


def _card(name: str, tap: str, mac: str, *, speed: int) -> list[str]:
    device = f"virtio-net-pci,netdev={name},mac={mac},speed={speed},duplex=full"
    return ["-netdev", f"tap,id={name},ifname={tap},script=no,downscript=no", "-device", device]


def ensure_started(lab: Lab, guest: Server) -> bool:
    """Start the guest unless it runs. Whether anything was done."""
    if find_parts(lab, guest.name):
        return False
    links.ensure_taps(lab, guest)
    home = lab.home(guest)
    home.console.write_bytes(b"")
    argv = qemu_argv(lab, guest, accelerator=find_accelerator())
    launch(lab, guest.name, argv, log=home.path / "qemu.log", groups=[])
    return True


def stop(lab: Lab, guest: Server) -> int:
    """Pull the plug: kill -9 of the machine. How many processes that were."""
    ended = end_parts(lab, guest.name, thaw=lambda: None)
    links.remove(lab, guest)
    return ended


def wait_ready(lab: Lab, guest: Server, *, patience: float = BOOT_SECONDS) -> str:
    """Wait until ssh with the lab's key works; systemd's own word for the state it is in then."""
    until = time.monotonic() + patience
    while not answers(lab, guest):
        if time.monotonic() > until or is_gone(lab, guest.name):
            home = lab.home(guest)
            said = read(home.path / "qemu.log").strip().splitlines()[-1:]
            what = f"does not boot{': ' + said[0] if said else ''}"
            raise DsopsError(what, where=guest.name, mend=f"read {home.console}")
        time.sleep(0.2)
    left = max(10, until - time.monotonic())
    argv = keys.ssh_argv(lab, guest, f"timeout {left:.0f} systemctl is-system-running --wait || true", timeout=30)
    return run(argv, timeout=left + 40, where=guest.name).strip() or "still starting"


def answers(lab: Lab, guest: Server) -> bool:
    """Whether its sshd says who it is; an open port alone may be one that hangs."""
    try:
        with socket.create_connection((str(lab.address(guest)), 22), timeout=2) as door:
            door.settimeout(5)
            return door.recv(4) == b"SSH-"
    except OSError:
        return False


def disk_bytes(home: Home) -> tuple[int, int]:
    """(bytes that the guest's disks take here, bytes they say they have)."""
    files = [path for name in ("root", "nvme", "sata") if (path := home.disk(name)).exists()]
    stats = [path.stat() for path in files]
    return sum(stat.st_blocks * 512 for stat in stats), sum(stat.st_size for stat in stats)
