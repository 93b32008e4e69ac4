"""Does the server speak RDMA as the inventory asks, and is what NCCL and UCX are told still its own topology?"""

import pytest
from dsops.control.fleet.inventory import Server
from dsops.core.topology.compile import Compiled, compile_network
from dsops.core.topology.gpudirect import NONE, PEERMEM, choose_way
from dsops.core.topology.lines import TOPOLOGY_FILE, render_env
from dsops.core.topology.model import Topology

from roles.ops.proofs import Host, check_runs, get_owners, get_settings, is_container
from roles.rdma.defaults import Rdma
from roles.rdma.deploy import SOFT_UNIT
from roles.rdma.modules import FILE, LoadedModules, find_modules, render_modules
from roles.rdma.topology import ENV, HEAD, TRITON, TopologyFact, get_topology, read_asked, render_triton

GROUPS = ("all",)


def get_wanted(host: Host, server: Server) -> Rdma:
    """The settings. Skips where nothing is asked for, or nothing can be had."""
    said = get_settings(Rdma, server)
    if said.rdma == "none":
        pytest.skip("the inventory asks for no RDMA (rdma)")
    if is_container(host):
        pytest.skip("a container has its host's kernel and cards")
    return said


def get_seen(host: Host, server: Server) -> Topology:
    """As the role sees it."""
    return get_topology(host.check_output("sh -c %s", TopologyFact().command()), where=server.name)


def get_compiled(host: Host, server: Server) -> Compiled:
    """As the role would compile it now."""
    said = get_wanted(host, server)
    address = server.get("dsops_address", str, "")
    asked = read_asked(said, address=address, reached=server.address, where=server.name)
    return compile_network(get_seen(host, server), asked)


def test_the_map_of_gpus_and_cards_is_sound_today(host: Host, server: Server) -> None:
    made = get_compiled(host, server)
    assert [f"{one.where}: {one.what}" for one in made.problems] == []
    assert made.ports, "no RDMA port is left for GPUs"


def test_what_nccl_and_ucx_are_told_is_what_the_server_is(host: Host, server: Server) -> None:
    made = get_compiled(host, server)
    assert host.file(ENV).content_string == render_env(made.lines, head=HEAD), "a card was moved since: deploy again"
    assert host.file(TOPOLOGY_FILE).content_string == made.xml
    assert set(get_owners(host, [ENV, TOPOLOGY_FILE]).values()) == {"644 root root"}


def test_the_modules_are_loaded_and_come_back_after_a_reboot(host: Host, server: Server) -> None:
    said = get_wanted(host, server)
    seen = get_seen(host, server)
    names = find_modules(said, seen, way=choose_way(seen.software, said.rdma_gpudirect).name)
    found = LoadedModules().process(host.check_output(LoadedModules().command(names)).splitlines())
    assert found == names
    assert host.file(FILE).content_string == render_modules(names)


def test_services_may_lock_the_memory_that_cards_write_to(host: Host, server: Server) -> None:
    get_wanted(host, server)
    assert host.check_output("systemctl show -p DefaultLimitMEMLOCK --value").strip() == "infinity"
    assert host.check_output("su -s /bin/sh -c 'ulimit -l' nobody").strip() == "unlimited"


def test_cards_reach_the_gpus_memory_as_asked(host: Host, server: Server) -> None:
    said, seen = get_wanted(host, server), get_seen(host, server)
    way = choose_way(seen.software, said.rdma_gpudirect)
    if not seen.gpus or not seen.software.driver:
        pytest.skip("no GPU with a driver")
    assert way.is_possible, way.why
    if way.name == PEERMEM:
        assert host.file("/sys/module/nvidia_peermem").is_directory
    elif way.name == NONE and said.rdma_gpudirect != NONE:
        pytest.fail(f"data is staged in the host's memory: {way.why}", pytrace=False)


def test_soft_roce_runs_on_its_interface_and_comes_back(host: Host, server: Server) -> None:
    said = get_wanted(host, server)
    if said.rdma != "soft":
        pytest.skip("its cards speak RDMA themselves")
    check_runs(host, SOFT_UNIT)
    assert host.file("/sys/class/infiniband/rxe0/parent").content_string.strip() == said.rdma_soft_interface


def test_triton_is_told_and_may_open_the_cards(host: Host, server: Server) -> None:
    get_wanted(host, server)
    if "gpu" not in server.groups:
        pytest.skip("no Triton runs here")
    assert host.file(TRITON).content_string == render_triton(host.file(ENV).content_string)
    assert TRITON in host.check_output("systemctl show -p DropInPaths --value triton@a.service")
    assert "char-infiniband_verbs rw" in host.check_output("systemctl show -p DeviceAllow --value triton@a.service")
