"""What a server said of itself, as typed facts; pure."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from dsops.control.doctor.answer import Answer, read_answer
from dsops.control.doctor.clock import Clock, read_clock
from dsops.control.doctor.drivers import Drivers, read_drivers
from dsops.control.doctor.gpus import Gpu, read_gpus, read_switches
from dsops.control.doctor.iommu import Iommu, read_iommu
from dsops.control.doctor.kernel import Kernel, read_kernel
from dsops.control.doctor.network import Nic, RdmaPort, read_nics, read_rdma
from dsops.control.doctor.ports import Listener
from dsops.control.doctor.processor import Processor, read_processor
from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Disk:
    """Free space for a path. mount: the filesystem that holds it, or will."""

    path: str
    mount: str
    total: int
    free: int


@dataclass(frozen=True)
class Facts:
    """What a server said of itself. Bytes; times in Unix seconds of the server's own clock."""

    now: float
    uid: int
    arch: str
    system: str
    systemd: str
    failed: tuple[str, ...]
    has_avx2: bool
    memory: int
    swap_total: int
    swap_free: int
    disks: tuple[Disk, ...]
    have: tuple[str, ...]
    mounts: Mapping[str, tuple[str, ...]]
    listeners: tuple[Listener, ...] | None
    ours: tuple[str, ...]
    locks: tuple[tuple[str, str], ...]
    has_upgrades: bool
    gpus_nvml: str
    routes: tuple[str, ...]
    resolvers: tuple[str, ...] = ()
    egress: str = ""
    kernel: Kernel = field(default_factory=lambda: Kernel(""))
    processor: Processor = field(default_factory=Processor)
    gpus: tuple[Gpu, ...] = ()
    switches: tuple[str, ...] = ()
    drivers: Drivers = field(default_factory=Drivers)
    iommu: Iommu = field(default_factory=Iommu)
    nics: tuple[Nic, ...] = ()
    rdma: tuple[RdmaPort, ...] = ()
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class Seen:
    """The facts, and when this machine's clock showed what before and after they were asked for."""

    facts: Facts
    started: float
    ended: float


class AnswerError(DsopsError):
    """It answered, and the answer is of no use."""


def parse(text: str, *, where: str) -> Facts:
    """The facts out of the script's lines. Pure. Raises DsopsError when they are cut short or no such lines."""
    answer = read_answer(text)
    if not answer.all("end"):
        raise AnswerError("its answer was cut short", where=where, mend="try again")
    try:
        return _build(answer)
    except (KeyError, ValueError, IndexError) as error:
        raise AnswerError(f"its answer is not understood ({error!r})", where=where, mend="a bug of dsops") from error


def _build(answer: Answer) -> Facts:
    mounts = [line.split() for line in answer.all("mount")]
    locks = [line.split() for line in answer.all("lock")]
    return Facts(
        now=float(answer.get("now")),
        uid=int(answer.get("uid")),
        arch=answer.get("arch"),
        system=f"{answer.find('os.ID') or 'unknown'} {answer.find('os.VERSION_ID')}".strip(),
        systemd=answer.get("systemd"),
        failed=answer.all("failed"),
        has_avx2=answer.get("avx2") == "yes",
        memory=int(answer.get("kib.MemTotal")) * 1024,
        swap_total=int(answer.get("kib.SwapTotal")) * 1024,
        swap_free=int(answer.get("kib.SwapFree")) * 1024,
        disks=tuple(_disk(line) for line in answer.all("disk")),
        have=answer.all("have"),
        mounts={words[0]: tuple(words[1].split(",")) for words in mounts},
        listeners=tuple(_listener(line) for line in answer.all("listen")) if answer.all("listeners") else None,
        ours=answer.all("ours"),
        locks=tuple((words[0], " ".join(words[1:])) for words in locks),
        has_upgrades=answer.get("upgrades") == "yes",
        gpus_nvml=answer.find("gpus.nvml"),
        routes=tuple(dict.fromkeys(answer.all("route"))),
        resolvers=answer.all("resolver"),
        egress=answer.find("egress"),
        kernel=read_kernel(answer),
        processor=read_processor(answer),
        gpus=read_gpus(answer),
        switches=read_switches(answer),
        drivers=read_drivers(answer),
        iommu=read_iommu(answer),
        nics=read_nics(answer),
        rdma=read_rdma(answer),
        clock=read_clock(answer),
    )


def _disk(line: str) -> Disk:
    path, mount, total, free = line.split()
    return Disk(path, mount, int(total) * 1024, int(free) * 1024)


def _listener(line: str) -> Listener:
    local, pid, unit, *name = line.split()
    address, _, number = local.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    if address != "*":
        ipaddress.ip_address(address)
    return Listener(address, int(number), " ".join(name), pid.strip("-"), unit.strip("-"))
