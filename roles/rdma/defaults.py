"""What the rdma role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rdma:
    """RDMA between servers, and which card each GPU uses. Silent: nothing is done, and all goes by TCP.

    Cards are named as RDMA devices are: `mlx5_0`, not as interfaces are. `dsops network plan NODE` shows what follows.
    """

    # none, auto (what the cards speak), infiniband, roce, or soft: RoCE in software on an ordinary card, for guests.
    rdma: str = "none"
    # system: Debian's and Ubuntu's own packages. site: NVIDIA's (DOCA, OFED), which the site installs; none of ours.
    rdma_packages: str = "system"
    # The devices for GPUs. Empty: those below a GPU's own PCIe switch, else all but the default route's.
    rdma_compute: tuple[str, ...] = ()
    # Devices that are for something else, such as storage.
    rdma_aside: tuple[str, ...] = ()
    # A map by hand, `0=mlx5_0`, one entry for each GPU. It is judged, and refused where it costs anything.
    rdma_map: tuple[str, ...] = ()
    # Every card has a subnet of its own, on purpose.
    rdma_rails: bool = False
    # A card that is not beside its GPU is accepted, such as one card for two processors.
    rdma_far: bool = False
    # How cards reach a GPU's memory: auto, dmabuf, peermem or none.
    rdma_gpudirect: str = "auto"
    # NCCL reads /etc/dsops/nccl-topology.xml instead of looking by itself: in guests whose PCI tree is hidden.
    rdma_topology_file: bool = False
    # The interface that soft-RoCE runs on.
    rdma_soft_interface: str = ""
