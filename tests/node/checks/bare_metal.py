"""A server's /proc and /sys as files, all healthy, which a test spoils; and its days in seconds."""

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.core.status import Finding, Gpu, Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.host import CHECKS
from dsops.node.checks.rules import get_shipped
from dsops.node.sources.counters import Counters
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.machine import HostSeen, Machine, MachineReader, Storage, StorageReader
from dsops.node.sources.timekeeping import Clock
from dsops.node.sources.units import Unit

RULES = get_shipped()
WALL = 1.8e9
BOOT, DOWN = b"reboot", b"shutdown"
STORE, COLD = "/var/lib/dsops", "/var/lib/dsops-cold"
CARD = "sys/class/net/eth0"
PORT = "sys/class/infiniband/mlx5_0/ports/1"
PCI = "sys/bus/pci/devices/0000:3b:00.0"
MOUNTS = "proc/self/mountinfo"
GPU = Gpu(3, "NVIDIA H100 80GB HBM3", "GPU-1", 40, 0, 1, 0, 90.0, "00000000:3B:00.0")
FILES = {
    "proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 600000 kB\nSwapTotal: 500000 kB\n",
    "proc/vmstat": "pswpin 100\npswpout 900\noom_kill 0\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.50 total=3\n",
    # As the agent sees it below ProtectSystem=strict: every mount is `ro`, the file systems behind are not.
    MOUNTS: (
        "27 1 8:1 / / ro,relatime - ext4 /dev/sda1 rw,errors=remount-ro\n"
        "58 27 259:1 / /var/lib/dsops ro,nosuid shared:4 - xfs /dev/nvme0n1 rw,attr2\n"
        "59 27 8:16 / /var/lib/dsops-cold rw - xfs /dev/sdb rw\n"
        "60 27 0:50 / /run/lab\\040disk ro - tmpfs tmpfs ro\n"
    ),
    "proc/mdstat": (
        "Personalities : [raid0] [raid1]\n"
        "md0 : active raid1 sda2[0] sdb2[1]\n      1047552 blocks super 1.2 [2/2] [UU]\n      \n"
        "md1 : active raid0 nvme1n1[1] nvme0n1[0]\n      7813770240 blocks super 1.2 512k chunks\n\n"
        "unused devices: <none>\n"
    ),
    "proc/pressure/cpu": "some avg10=0.00 avg60=20.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 total=3\n",
    "proc/diskstats": (
        "   8       1 sda1 100 0 800 1000 50 0 400 500 0 900 1500 0 0 0 0\n"
        " 259       1 nvme0n1 1000 0 8000 300 500 0 4000 200 0 400 500 0 0 0 0\n"
        "   8      16 sdb 10 0 80 100 5 0 40 50 0 90 150 0 0 0 0\n"
    ),
    "sys/class/block/nvme0n1/queue/rotational": "0\n",
    "proc/sys/fs/file-nr": "4000\t0\t100000\n",
    "proc/sys/net/netfilter/nf_conntrack_count": "10\n",
    "proc/sys/net/netfilter/nf_conntrack_max": "1000\n",
    "proc/1/stat": "1 (systemd) S 0 1 1 0\n",
    "proc/77/stat": "77 (tritonserver) S 1 77 77 0\n",
    "proc/77/task/77/stat": "77 (tritonserver) S 1 77 77 0\n",
    "proc/77/task/78/stat": "78 (triton (x) y) R 1 77 77 0\n",
    "proc/88/stat": "88 (bash) D 1 88 88 0\n",
    "etc/chrony/chrony.conf": "server 192.0.2.1 iburst\n",
    "sys/fs/pstore/dmesg-old": "",
    f"{CARD}/device/vendor": "0x15b3\n",
    f"{CARD}/operstate": "up\n",
    f"{CARD}/speed": "25000\n",
    f"{CARD}/carrier_changes": "2\n",
    **{f"{CARD}/statistics/{name}": "7\n" for name in ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")},
    "sys/class/net/veth0/operstate": "down\n",
    f"{PORT}/state": "4: ACTIVE\n",
    f"{PORT}/phys_state": "5: LinkUp\n",
    f"{PORT}/rate": "400 Gb/sec (4X NDR)\n",
    f"{PORT}/counters/link_downed": "1\n",
    f"{PORT}/counters/symbol_error": "20\n",
    f"{PORT}/hw_counters/local_ack_timeout_err": "3\n",
    f"{PCI}/class": "0x030200\n",
    f"{PCI}/aer_dev_fatal": "Undefined 0\nTOTAL_ERR_FATAL 0\n",
    f"{PCI}/aer_dev_nonfatal": "TOTAL_ERR_NONFATAL 0\n",
    f"{PCI}/aer_dev_correctable": "RxErr 4\nTOTAL_ERR_COR 4\n",
    "sys/devices/system/edac/mc/mc0/ue_count": "0\n",
    "sys/devices/system/edac/mc/mc0/ce_count": "5\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "3\n",
}


Change = Callable[["Server"], object]


def make_utmp(user: bytes, seconds: int) -> bytes:
    """One record of wtmp as glibc lays it out on x86-64."""
    kind = 2 if user == BOOT else 1
    words = (kind, 0, b"~", b"~~", user, b"6.1", 0, 0, 0, seconds, 0, b"", b"")
    return struct.pack("<hxxi32s4s32s256shhiii16s20s", *words)


def leave(server: "Server") -> None:
    """Nothing changes."""


@dataclass
class Server:
    """One server. now: seconds of the monotonic clock. free: path -> (bytes, inodes) of a thousand each."""

    root: Path
    checks: Sequence[Check] = CHECKS
    now: float = 1000.0
    boot: str = "b1"
    boots: tuple[float, ...] = (WALL,)
    baseline: dict[tuple[str, str], float] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=lambda: {"triton@a.service": Unit("triton@a.service", "active")})
    free: dict[str, tuple[float, float]] = field(default_factory=dict)
    clock: Callable[[], Clock] = lambda: Clock(is_followed=True, error_seconds=0.01)
    statvfs_fails: bool = False
    hangs: bool = False

    def __post_init__(self) -> None:
        for name, text in FILES.items():
            self.write(name, text)
        os.utime(self.root / "sys/fs/pstore/dmesg-old", (WALL - 9e5, WALL - 9e5))
        self.log_boots(BOOT, DOWN, BOOT)
        self.checkup = Checkup(RULES, checks=self.checks)
        self.checkup.take_kept(None, boot=self.boot)
        self._restarts = Counters()
        self.start_agent()

    def start_agent(self) -> None:
        """Readers remember nothing of an earlier life."""
        paths = {"/": False, STORE: False, COLD: True}
        self._machine = MachineReader(self.root, paths=paths, ticks=lambda: self.now, ask_clock=lambda: self.clock())
        self._storage = StorageReader(self.root, paths, ticks=lambda: self.now, statvfs=self._statvfs)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def swap(self, name: str, before: str, after: str) -> None:
        """Changes a word of a file."""
        text = (self.root / name).read_text()
        assert before in text
        self.write(name, text.replace(before, after))

    def break_file(self, name: str) -> None:
        """It cannot be read any more, and says something else than that it is not there."""
        (self.root / name).unlink()
        (self.root / name).mkdir()

    def log_boots(self, *marks: bytes) -> None:
        """wtmp, as systemd writes it; its last mark is of this boot."""
        path = self.root / "var/log/wtmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        began = int(self.boots[-1])
        records = [make_utmp(mark, began - 50 * (len(marks) - 1 - n)) for n, mark in enumerate(marks)]
        path.write_bytes(b"".join(records))

    def see(self) -> HostSeen:
        self._machine.boots = self.boots
        if self.hangs:
            return self._seen(self._machine.otherwise("/proc hangs"), self._storage.otherwise("a disk hangs"))
        return self._seen(self._machine.read(), self._storage.read())

    def find_scene(self) -> Scene:
        return Scene(
            at=WALL + self.now,
            ticks=self.now,
            boot=self.boot,
            gpus=Reading(Sweep.OK, (GPU,)),
            limits=RULES.limits,
            baseline=self.baseline,
            host=self.see(),
        )

    def look(self) -> Scene:
        """One tick."""
        scene = self.find_scene()
        self.checkup.look(scene)
        return scene

    def live(self, seconds: float, change: Change = leave, *, step: int = 5) -> set[str]:
        """So long, with a change in every step; what is wrong at the end, as `entity code`."""
        for _ in range(int(seconds) // step):
            self.now += step
            change(self)
            self.look()
        return {f"{one.entity} {one.code}" for one in self.find() if one.status is Verdict.BAD}

    def find(self) -> tuple[Finding, ...]:
        return self.checkup.find(now=self.now, wall=WALL + self.now)

    def _seen(self, machine: Machine, storage: Storage) -> HostSeen:
        counts = {name: one.restarts for name, one in self.units.items() if one.active != "unknown"}
        self._restarts = self._restarts.add(self.now, counts)
        return HostSeen(machine, storage, self.units, self._restarts)

    def _statvfs(self, path: str) -> os.statvfs_result:
        if self.statvfs_fails:
            raise OSError(5, "Input/output error", path)
        name = f"/{Path(path).relative_to(self.root)}".removesuffix(".") or "/"
        free, inodes = self.free.get(name, (500.0, 500.0))
        size = 1 << 30
        share = int(free / 1000 * size)
        return os.statvfs_result((4096, 1, size, share, share, 100000, int(inodes * 100), int(inodes * 100), 0, 255))

    def set_unit(self, **words: object) -> None:
        name = "triton@a.service"
        self.units[name] = replace(self.units[name], **words)  # type: ignore[arg-type]


def raise_counter(name: str, step: int, *, key: str = "") -> Change:
    """The counter grows by so much. key: begins its line, in a file with many."""

    def grow(server: Server) -> None:
        text = (server.root / name).read_text()
        old = next(line for line in text.splitlines() if line.startswith(key))
        words = old.split()
        server.write(name, text.replace(old, " ".join((*words[:-1], str(int(words[-1]) + step))), 1))

    return grow
