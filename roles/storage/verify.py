"""Do the tiers lie where the inventory promises, and are they mounted so that a server without them does no harm?"""

import shlex

import pytest
from dsops.control.fleet.inventory import Server

from roles.ops.disks import Disk, Disks
from roles.ops.proofs import Host, get_settings, get_unit, is_container
from roles.storage.choice import Choice, Tier, check_keys, choose_disks, find_array, read_wanted, unit_of
from roles.storage.defaults import Storage
from roles.storage.tiers import GUARDED, Mount, Mounts, find_tier_disks, is_tuned, render_unit

GROUPS = ("all",)
FREE = 0.05  # of a tier: below that nothing new comes in


def get_disks(host: Host) -> tuple[Disk, ...]:
    """As the role sees them."""
    return Disks().process(host.check_output(Disks().command()).splitlines())


def get_mounts(host: Host) -> dict[str, Mount]:
    """As the role sees them."""
    return Mounts().process(host.check_output(Mounts().command()).splitlines())


def get_tiers(host: Host, server: Server) -> list[tuple[Tier, tuple[Disk, ...], Mount]]:
    """Every tier that is wanted, its disks and its mount. Skips where there is nothing to look at."""
    said = get_settings(Storage, server)
    if (said.storage_hot, said.storage_cold) == ("none", "none"):
        pytest.skip("the inventory asks for no tier (storage_hot, storage_cold)")
    if is_container(host):
        pytest.skip("a container has no disks of its own")
    mounts = get_mounts(host)
    assert not check_keys(said)
    found = choose_disks(
        get_disks(host), read_wanted(said, {name: one.uuid for name, one in mounts.items() if one.uuid})
    )
    assert isinstance(found, Choice), [problem.what for problem in found]
    return [(taken.tier, taken.disks, mounts.get(taken.tier.name, Mount())) for taken in found.taken]


def test_each_tier_is_mounted_by_its_uuid_and_comes_back_after_a_reboot(host: Host, server: Server) -> None:
    for tier, _, mount in get_tiers(host, server):
        assert mount.uuid, f"{unit_of(tier)} is not there"
        assert mount.mounted == mount.uuid, f"at {tier.place} is {mount.source or 'nothing'}, not {mount.uuid}"
        assert mount.enabled, f"{unit_of(tier)} is not enabled"
        text = host.file(f"/etc/systemd/system/{unit_of(tier)}").content_string
        assert text == render_unit(tier).replace("@UUID@", mount.uuid)
        assert {"noatime", "nosuid", "nodev"} <= set(mount.options)
        assert "discard" not in mount.options


def test_each_tier_is_whole_and_on_the_medium_that_was_promised(host: Host, server: Server) -> None:
    said = get_settings(Storage, server)
    media = {"hot": said.storage_hot, "cold": said.storage_cold}
    for tier, disks, mount in get_tiers(host, server):
        kind = host.check_output(f"blkid --probe --output export {shlex.quote(mount.source)}")
        assert {"TYPE=xfs", f"LABEL={tier.label}"} <= set(kind.splitlines())
        assert {disk.medium for disk in disks} == {media[tier.name]}
        assert all(disk.rotational is (media[tier.name] == "hdd") for disk in disks)
        assert len(disks) == 1 or all(find_array(disk) for disk in disks)


def test_nothing_can_be_written_under_a_mount_point(host: Host, server: Server) -> None:
    for tier, _, mount in get_tiers(host, server):
        assert mount.guard == GUARDED, f"under {tier.place}: {mount.guard}"
        assert not mount.pending, f"still stopped: {mount.pending}"


def test_the_disks_are_read_as_their_medium_asks_for(host: Host, server: Server) -> None:
    get_tiers(host, server)
    wrong = [disk for disk in find_tier_disks(get_disks(host)) if not is_tuned(disk)]
    assert not [f"{disk.path}: read-ahead {disk.read_ahead_kb} KiB, {disk.scheduler}" for disk in wrong]


def test_free_blocks_are_told_to_the_disks_once_a_week(host: Host, server: Server) -> None:
    places = [tier.place for tier, disks, _ in get_tiers(host, server) if disks[0].medium != "hdd"]
    if not places:
        pytest.skip("no tier is on SSD or NVMe")
    timer = get_unit(host, "fstrim.timer")
    assert (timer["ActiveState"], timer["UnitFileState"]) == ("active", "enabled")
    service = host.check_output("systemctl show --property ExecStart fstrim.service")
    assert not [place for place in places if f" {place} " not in service]


def test_each_tier_has_room(host: Host, server: Server) -> None:
    for tier, _, _ in get_tiers(host, server):
        lines = host.check_output(f"df --output=avail,size --block-size=1 {tier.place}").splitlines()
        available, size = map(int, lines[-1].split())
        assert available > FREE * size, f"{tier.place} has {available / 1e9:.1f} of {size / 1e9:.1f} GB left"
