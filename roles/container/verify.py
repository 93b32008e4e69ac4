"""Do slots run from the image that the inventory names, as it was built, and in the same sandbox as from the wheel?"""

import pytest
from dsops.control.fleet.inventory import Server

from roles.container.defaults import Container
from roles.container.deploy import OFF
from roles.container.image import DROP_IN, IMAGES
from roles.ops.proofs import Host, check_sandboxed, get_settings, get_unit

GROUPS = ("gpu",)
SLOTS = ("a", "b")


def get_root(server: Server) -> str:
    """Where the wanted image lies. Skips where none is asked for."""
    said = get_settings(Container, server)
    if said.container_image in ("", OFF):
        pytest.skip("the inventory asks for no image (container_image)")
    return f"{IMAGES}/{said.container_digest.removeprefix('sha256:')}"


def find_running(host: Host) -> list[str]:
    """Slots that run."""
    return [slot for slot in SLOTS if get_unit(host, f"triton@{slot}.service")["ActiveState"] == "active"]


def test_the_image_is_there_and_whole(host: Host, server: Server) -> None:
    root = get_root(server)
    assert host.file(root).is_directory, "it was never unpacked"
    assert not host.run(f"ls -d {IMAGES}/*.part").stdout, "half an image was left"


def test_slots_that_run_have_the_image_for_their_root(host: Host, server: Server) -> None:
    root = get_root(server)
    wanted = host.check_output(f"stat -c '%d %i' {root}")
    for slot in find_running(host):
        pid = get_unit(host, f"triton@{slot}.service")["MainPID"]
        assert host.check_output(f"stat -c '%d %i' /proc/{pid}/root/.") == wanted, f"slot {slot}"


def test_slots_have_no_more_rights_than_from_the_wheel(host: Host, server: Server) -> None:
    get_root(server)
    for slot in find_running(host):
        check_sandboxed(host, f"triton@{slot}.service", user="triton")


def test_nothing_in_an_image_gives_rights_or_can_be_written(host: Host, server: Server) -> None:
    root = get_root(server)
    assert not host.check_output(f"find {root} -xdev \\( -perm /6000 -o ! -uid 0 \\) -print -quit")
    assert not host.check_output(f"find {root} -xdev -type f -perm /002 -print -quit")


def test_slots_run_from_the_wheel_where_no_image_is_named(host: Host, server: Server) -> None:
    if get_settings(Container, server).container_image != OFF:
        pytest.skip("the inventory does not say that slots run from the wheel")
    assert not host.file(DROP_IN).exists
