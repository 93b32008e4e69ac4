"""What the system role takes from the inventory."""

from dataclasses import dataclass

# Regular expressions, as unattended-upgrades reads them: kernel, GPU driver and its libraries, network drivers and
# firmware. Each needs a reboot or a reload of the driver, and must fit what the engine was proven with.
HELD = (
    "^linux-(image|headers|modules|generic|signed|firmware)",
    "^(lib)?nvidia-",
    "^cuda",
    "^lib(nccl|cudnn|cublas)",
    "^datacenter-gpu-manager",
    "^(mlnx-|doca-|rdma-core|libibverbs|ibverbs-)",
    "^(intel|amd64)-microcode",
    "^(docker|containerd|runc)",
)


@dataclass(frozen=True)
class SystemTuning:
    """Keys of the system role. Why these values: README.md and the files in templates/."""

    # More lines for /etc/sysctl.d/90-dsops.conf, `key = value`; one that stands in it already is replaced.
    system_sysctl: tuple[str, ...] = ()
    # Huge pages of 2 MiB, set aside for programs that ask for them by name; memory that nothing else can use.
    system_hugepages: int = 0
    # madvise, always or never; empty: left as it is.
    system_transparent_hugepages: str = "madvise"
    # Empty: left as it is.
    system_governor: str = "performance"
    # Such as "iommu=pt". Live after the next reboot, which is asked for and never done here.
    system_kernel_options: tuple[str, ...] = ()
    # What the journal may take on disk, and for how long; whichever is met first.
    system_journal_gb: int = 4
    system_journal_days: int = 30
    # What unattended-upgrades must not touch, besides what the roles install.
    system_held_packages: tuple[str, ...] = HELD
