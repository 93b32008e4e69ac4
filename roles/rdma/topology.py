"""The server's topology as a fact, compiled into the files that NCCL and UCX read; refused before they are written."""

from collections.abc import Generator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.topology.asked import Asked, parse_map
from dsops.core.topology.compile import compile_network
from dsops.core.topology.lines import TOPOLOGY_FILE, render_env
from dsops.core.topology.model import Problem, Software, Topology
from dsops.core.topology.probe import SCRIPT, split_answer
from dsops.core.topology.read import read_software, read_topology
from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.ops.changes import tell
from roles.ops.files import config_file, render
from roles.ops.upgrade import refuse
from roles.rdma.defaults import Rdma

ENV = "/etc/dsops/network.env"
TRITON = "/etc/systemd/system/triton@.service.d/90-dsops-network.conf"
HEAD = "# Written by dsops (role rdma): what NCCL and UCX are told, each line below its reason. `dsops network plan`\n"


class TopologyFact(FactBase[str]):
    """What the probe says, as it came: it is read with the server's name, which a fact does not know."""

    default = str

    def command(self) -> str:
        return SCRIPT

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


def read_asked(said: Rdma, *, address: str, reached: str, where: str) -> Asked:
    """The inventory's words. address, reached: dsops_address and ssh_hostname. Raises DsopsError."""
    return Asked(
        transport=said.rdma,
        compute=said.rdma_compute,
        aside=said.rdma_aside,
        by_hand=parse_map(said.rdma_map, where=f"{where}/rdma_map"),
        rails=said.rdma_rails,
        far=said.rdma_far,
        address=address,
        reached=reached,
        topology_file=said.rdma_topology_file,
    )


def get_topology(text: str, *, where: str) -> Topology:
    """Raises DsopsError on an answer that is none."""
    return read_topology(split_answer(text, where=where), node=where)


def get_software(text: str, *, where: str) -> Software:
    """Of the same answer. Raises DsopsError."""
    return read_software(split_answer(text, where=where).get("kernel", ""))


def render_problems(problems: Sequence[Problem]) -> str:
    """All of them, for the operator."""
    lines = ["its map of GPUs and network cards is refused"]
    for one in problems:
        lines += [f"  {one.where}: {one.what}", f"    mend: {one.mend}"]
    return "\n".join(lines)


@operation()
def network_files(asked: Asked, *, has_triton: bool) -> Generator[Any, None, None]:
    """Makes the files say what the server's own topology asks for; a map that is refused leaves the older files.

    Read when its turn comes: before the modules of a first deploy are loaded there is nothing to see.

    + asked: the inventory's words
    + has_triton: Triton runs here and is to read them
    """
    try:
        made = compile_network(get_topology(host.get_fact(TopologyFact), where=host.name), asked)
    except DsopsError as error:
        yield from _refuse(f"{error}; mend: {error.mend}")
        return
    if made.problems:
        yield from _refuse(render_problems(made.problems))
        return
    env = render_env(made.lines, head=HEAD)
    yield from config_file._inner(path=ENV, content=env)
    yield from config_file._inner(path=TOPOLOGY_FILE, content=made.xml)
    if has_triton:
        yield from config_file._inner(path=TRITON, content=render_triton(env))


def render_triton(env: str) -> str:
    """The drop-in of Triton's unit; another one with every other text of network.env."""
    digest = sha256(env.encode()).hexdigest()[:16]
    return render(Path(__file__).parent / "templates/triton.conf.j2", digest=digest)


def _refuse(why: str) -> Generator[Any, None, None]:
    tell("refused", "map of GPUs and network cards", why)
    yield FunctionCommand(refuse, (why,), {})
