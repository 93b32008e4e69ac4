"""RDMA: its packages and modules, soft-RoCE for guests, and which network card each GPU uses."""

import re
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.topology.asked import NONE, SOFT, TRANSPORTS, Asked
from dsops.core.topology.compile import compile_network
from dsops.core.topology.gpudirect import CHOICES, Way, choose_way
from dsops.core.topology.model import Topology
from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.ops.files import Owner, config_file, folders, render
from roles.ops.machine import is_container, skip
from roles.ops.packages import install_packages
from roles.ops.site import settings
from roles.ops.units import unit
from roles.rdma.defaults import Rdma
from roles.rdma.modules import FILE, find_modules, modules, render_modules
from roles.rdma.reload import known
from roles.rdma.topology import TRITON, TopologyFact, get_topology, network_files, read_asked, render_problems
from roles.storage.tiers import refuse_host

HERE = Path(__file__).parent
SOFT_UNIT = "dsops-rxe.service"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")


@deploy("rdma")
def rdma() -> None:
    """Makes the server speak RDMA as the inventory asks; does nothing where it does not."""
    said = settings(Rdma)
    if problem := find_problem(said):
        raise DeployError(f"{host.name}/{problem}\n  mend: see roles/rdma/README.md; nothing was changed")
    if said.rdma == NONE:
        return
    if is_container():
        skip("rdma", "a container has its host's kernel and cards")
        return
    try:
        asked = read_asked(
            said,
            address=str(host.data.get("dsops_address") or ""),
            reached=str(host.data.get("ssh_hostname") or ""),
            where=host.name,
        )
        seen = get_topology(host.get_fact(TopologyFact), where=host.name)
    except DsopsError as error:
        raise DeployError(f"{error}\n  mend: {error.mend}; nothing was changed") from error
    way = choose_way(seen.software, said.rdma_gpudirect)
    if not way.is_possible:
        refuse_host(f"rdma_gpudirect asks for {way.name}: {way.why}\n  mend: auto takes what there is")
    elif check_map(seen, asked):
        _make(said, seen, asked, way)


def _make(said: Rdma, seen: Topology, asked: Asked, way: Way) -> None:
    if said.rdma_packages == "system":
        install_packages(role="rdma")
    else:
        skip("rdma: packages", "the site brings NVIDIA's own (rdma_packages)")
    names = find_modules(said, seen, way=way.name)
    config_file(name="rdma: modules at boot", path=FILE, content=render_modules(names))
    modules(name="rdma: modules", names=names)
    if said.rdma == SOFT:
        values = {"interface": said.rdma_soft_interface, "device": name_device(said.rdma_soft_interface)}
        content = render(HERE / "templates/dsops-rxe.service.j2", **values)
        config_file(name="rdma: soft-RoCE at boot", path=f"/etc/systemd/system/{SOFT_UNIT}", content=content)
        unit(name="rdma: soft-RoCE", unit_name=SOFT_UNIT)
    has_triton = "gpu" in host.groups
    if has_triton:
        folders(name="rdma: folder of Triton's unit", wanted={str(Path(TRITON).parent): Owner("755")})
    network_files(name="rdma: what NCCL and UCX are told", asked=asked, has_triton=has_triton)
    if has_triton:
        known(name="rdma: systemd knows it", units=["triton@a.service", "triton@b.service"], path=TRITON)


def check_map(seen: Topology, asked: Asked) -> bool:
    """Whether the map is sound, as far as it can be seen before any change; says why, and leaves the server out.

    Without any RDMA device the modules may be missing still: it is looked at again once they are loaded.
    """
    if asked.transport == SOFT or not seen.ports:
        return True
    problems = compile_network(seen, asked).problems
    if problems:
        refuse_host(f"{render_problems(problems)}\n  nothing was changed on this server")
    return not problems


def find_problem(said: Rdma) -> str:
    """What is wrong with the settings, `key: why`; empty when nothing is."""
    for key, words in (
        ("rdma", TRANSPORTS),
        ("rdma_packages", ("system", "site")),
        ("rdma_gpudirect", CHOICES),
    ):
        if getattr(said, key) not in words:
            return f"{key}: should be {', '.join(words[:-1])} or {words[-1]}, is {getattr(said, key)!r}"
    if said.rdma == SOFT and not NAME.fullmatch(said.rdma_soft_interface):
        return f"rdma_soft_interface: should be the name of an interface, is {said.rdma_soft_interface!r}"
    if said.rdma != SOFT and said.rdma_soft_interface:
        return f'rdma_soft_interface: is given, and rdma is {said.rdma!r}, not "soft"'
    return ""


def name_device(interface: str) -> str:
    """The unit by which systemd calls an interface."""
    return "sys-subsystem-net-devices-" + interface.replace("-", r"\x2d") + ".device"
