"""Does every server have the swap that the inventory asks for, and no more of ours?"""

import pytest
from dsops.control.fleet.inventory import Server

from roles.ops.proofs import Host, get_settings, get_unit, is_container
from roles.swap.defaults import Swap
from roles.swap.state import GIB, OWNER, UNCOUNTED, SwapFact, SwapState, find_unwanted, gib, new_path, unit_name

GROUPS = ("all",)


def get_state(host: Host, said: Swap) -> SwapState:
    """What the role itself looks at. Skips in a container."""
    if is_container(host):
        pytest.skip("a container pages out to its host's swap")
    return SwapFact().process(host.check_output(SwapFact().command(said.swap_file)).splitlines())


def get_wanted(server: Server) -> Swap:
    """The settings. Skips where no swap is asked for."""
    said = get_settings(Swap, server)
    if not said.swap_gb:
        pytest.skip("the inventory asks for no swap (swap_gb = 0)")
    return said


def test_the_swap_file_is_in_use_in_its_whole_size(host: Host, server: Server) -> None:
    said = get_wanted(server)
    state = get_state(host, said)
    active = state.active.get(said.swap_file)
    assert active, f"{said.swap_file} is not in use; in use are {sorted(state.active)}"
    assert 0 <= said.swap_gb * GIB - active.size <= UNCOUNTED, f"{gib(active.size)} of {said.swap_gb} GiB are in use"


def test_the_swap_file_is_whole_and_root_alone_reads_it(host: Host, server: Server) -> None:
    said = get_wanted(server)
    file = get_state(host, said).find_ours(said.swap_file)
    assert file, f"{said.swap_file} was not made by dsops"
    assert file.owner == OWNER
    assert not file.has_holes


def test_the_swap_comes_back_after_a_reboot(host: Host, server: Server) -> None:
    said = get_wanted(server)
    state = get_state(host, said)
    found = get_unit(host, unit_name(said.swap_file))
    assert state.enabled, f"{unit_name(said.swap_file)} is {found['UnitFileState']}"
    assert found["ActiveState"] == "active"


def test_no_swap_of_ours_is_left_that_nobody_asked_for(host: Host, server: Server) -> None:
    said = get_settings(Swap, server)
    state = get_state(host, said)
    assert not find_unwanted(said, state)
    assert new_path(said.swap_file) not in state.files, "left over; deploy again"


def test_cached_files_go_before_programs_are_paged_out(host: Host, server: Server) -> None:
    if is_container(host):
        pytest.skip("a container has its host's vm.swappiness")
    assert int(host.check_output("cat /proc/sys/vm/swappiness")) == get_settings(Swap, server).swap_swappiness
