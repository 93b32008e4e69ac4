"""Kernel modules: loaded now and at every boot."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from dsops.core.topology.gpudirect import PEERMEM
from dsops.core.topology.model import Topology
from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell
from roles.rdma.defaults import Rdma

FILE = "/etc/modules-load.d/90-dsops-rdma.conf"
MELLANOX = "0x15b3"
INFINIBAND_CARD = "0x0207"


def find_modules(said: Rdma, seen: Topology, *, way: str) -> list[str]:
    """By what the server has. way: how cards reach a GPU's memory."""
    cards = [one for one in seen.devices.values() if one.vendor == MELLANOX]
    wanted = ["ib_uverbs", "rdma_ucm"]
    wanted += ["mlx5_ib"] if cards and said.rdma != "soft" else []
    # What ibstat and a subnet manager speak through.
    wanted += ["ib_umad"] if any(one.kind.startswith(INFINIBAND_CARD) for one in cards) else []
    wanted += ["rdma_rxe"] if said.rdma == "soft" else []
    return [*wanted, *(["nvidia_peermem"] if way == PEERMEM else [])]


def render_modules(names: Sequence[str]) -> str:
    """The file that systemd reads at boot."""
    return "# Written by dsops (role rdma).\n" + "".join(f"{name}\n" for name in names)


class LoadedModules(FactBase[list[str]]):
    """Those of some modules that the kernel has, built in or loaded."""

    default = list

    def command(self, names: Sequence[str]) -> str:
        return f"for m in {shlex.join(names)}; do [ ! -d /sys/module/$m ] || echo $m; done"

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def modules(names: Sequence[str]) -> Generator[Any, None, None]:
    """Makes the kernel have these modules now.

    + names: as /sys/module has them
    """
    found = host.get_fact(LoadedModules, names=list(names))
    missing = [name for name in names if name not in found]
    if not missing:
        host.noop("all are loaded")
        return
    tell("modules", " ".join(missing), "loaded")
    for name in missing:
        yield f"modprobe {shlex.quote(name)}"
