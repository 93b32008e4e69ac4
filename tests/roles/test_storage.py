"""Which disks a tier takes: what lsblk and wipefs say of servers as they come, and any others that can be thought of.

The files in disks/ hold what the fact's command prints, in the form of util-linux 2.38. metal1*.txt were recorded on a
machine; the others were written in that form, for machines that nobody here has.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.ops.disks import Disk, Signature, Volume, parse_disks
from roles.storage.choice import (
    COLD,
    HOT,
    MAKING,
    Choice,
    Problem,
    Wanted,
    check_keys,
    choose_disks,
    find_reasons,
    is_half_made,
    read_wanted,
    render_problems,
    unit_of,
)
from roles.storage.defaults import Storage

RECORDED = Path(__file__).parent / "disks"
TWO = {"storage_hot": "nvme", "storage_cold": "nvme"}


def read(name: str) -> tuple[Disk, ...]:
    return parse_disks((RECORDED / f"{name}.txt").read_text())


def want(uuids: dict[str, str] | None = None, **keys: Any) -> Wanted:
    said = Storage(**keys)
    assert not check_keys(said)
    return read_wanted(said, uuids or {})


def choose(name: str, uuids: dict[str, str] | None = None, **keys: Any) -> dict[str, list[str]]:
    """tier -> the paths of its disks."""
    found = choose_disks(read(name), want(uuids, **keys))
    assert isinstance(found, Choice), found
    return {taken.tier.name: [disk.path for disk in taken.disks] for taken in found.taken}


def refuse(name: str, uuids: dict[str, str] | None = None, **keys: Any) -> str:
    """The one refusal, as an operator reads it."""
    disks, wanted = read(name), want(uuids, **keys)
    found = choose_disks(disks, wanted)
    assert isinstance(found, list), found
    (problem,) = found
    text = render_problems(found, disks, wanted)
    assert problem.what in text
    assert problem.mend in text
    assert all(disk.path in text for disk in disks)
    return problem.what


def reasons(name: str, path: str, **keys: Any) -> str:
    disks = read(name)
    (disk,) = [disk for disk in disks if disk.path == path]
    return "; ".join(find_reasons(disk, disks, want(**keys)))


def test_a_disk_is_read_with_all_that_matters() -> None:
    boot, *_, data = read("h100-md-root")
    assert (data.path, data.gigabytes, data.medium, data.serial) == ("/dev/nvme5n1", 3840, "nvme", "S64HNX0T5")
    assert not data.signatures
    assert [volume.kind for volume in boot.walk()] == ["part", "part", "raid1"]
    assert [place for volume in boot.walk() for place in volume.mounts] == ["/boot/efi", "/"]


def test_a_real_machine_with_both_tiers_is_read() -> None:
    nvme, boot, hdd = read("metal1-tiers")
    assert [disk.medium for disk in (nvme, boot, hdd)] == ["nvme", "ssd", "hdd"]
    found = [(disk.signatures[0].label, disk.read_ahead_kb, disk.scheduler) for disk in (nvme, hdd) if disk.signatures]
    assert found == [("dsops-hot", 1024, "none"), ("dsops-cold", 4096, "mq-deadline")]
    assert reasons("metal1-tiers", "/dev/sda", storage_erase_serials=("SSD-metal1",)).startswith(
        "/dev/sda1 on it is mounted"
    )


def test_what_is_no_disk_of_the_server_is_left_out() -> None:
    assert [disk.path for disk in read("t4-hdd")] == ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde"]


def test_older_lsblk_writes_numbers_for_yes_and_no() -> None:
    text = (RECORDED / "t4-hdd.txt").read_text()
    older = text.replace('"rota": true', '"rota": "1"').replace('"rota": false', '"rota": "0"')
    assert parse_disks(older) == read("t4-hdd")


# An H100 server: two small NVMe in a RAID1 for the system, four big ones.


def test_four_big_ones_and_one_is_wanted_is_refused_because_nothing_says_which() -> None:
    what = "storage_hot asks for nvme: 4 are free and fit, and nothing says which"
    assert refuse("h100-md-root", storage_hot="nvme") == what


def test_a_serial_says_which() -> None:
    assert choose("h100-md-root", storage_hot="nvme", storage_hot_serials=("S64HNX0T4",)) == {"hot": ["/dev/nvme4n1"]}


def test_a_count_says_that_any_will_do() -> None:
    assert choose("h100-md-root", storage_hot="nvme", storage_hot_count=1) == {"hot": ["/dev/nvme2n1"]}


def test_hot_over_three_and_cold_on_the_fourth() -> None:
    found = choose("h100-md-root", **TWO, storage_raid0=True, storage_hot_count=3, storage_cold_count=1)
    assert found == {"cold": ["/dev/nvme2n1"], "hot": ["/dev/nvme3n1", "/dev/nvme4n1", "/dev/nvme5n1"]}


def test_hot_over_all_that_cold_does_not_name() -> None:
    found = choose("h100-md-root", **TWO, storage_raid0=True, storage_cold_serials=("S64HNX0T3",))
    assert found == {"cold": ["/dev/nvme3n1"], "hot": ["/dev/nvme2n1", "/dev/nvme4n1", "/dev/nvme5n1"]}


def test_the_systems_disks_are_never_free() -> None:
    for path in ("/dev/nvme0n1", "/dev/nvme1n1"):
        assert "/dev/md0 on it is mounted at /" in reasons("h100-md-root", path)
    keys = {"storage_hot": "nvme", "storage_hot_serials": ("S5Y1NA0W1",), "storage_erase_serials": ("S5Y1NA0W1",)}
    assert "disk S5Y1NA0W1 of the hot tier is not free" in refuse("h100-md-root", **keys)


def test_more_than_there_are_is_refused() -> None:
    what = "storage_hot asks for 5 x nvme of 3000 GB or more: 4 is free and fits"
    keys = TWO | {"storage_cold_serials": ("S5Y1NA0W1",)}
    assert what in str(
        choose_disks(
            read("h100-md-root"), want(**keys, storage_raid0=True, storage_hot_count=5, storage_hot_min_gb=3000)
        )
    )


# An A100 server: the system on LVM, a SATA SSD with data, one NVMe.


def test_the_only_nvme_is_taken() -> None:
    assert choose("a100-lvm-root", storage_hot="nvme") == {"hot": ["/dev/nvme0n1"]}


def test_a_disk_with_data_is_not_taken() -> None:
    assert refuse("a100-lvm-root", storage_hot="ssd") == "storage_hot asks for ssd: none is free and fits"
    assert reasons("a100-lvm-root", "/dev/sdb") == "holds gpt; holds PMBR; holds /dev/sdb1: ext4 'datasets'"


def test_a_disk_with_data_that_is_named_is_refused_in_words() -> None:
    what = refuse("a100-lvm-root", storage_hot="ssd", storage_hot_serials=("PHYF002",))
    assert what == "disk PHYF002 of the hot tier has data: holds gpt; holds PMBR; holds /dev/sdb1: ext4 'datasets'"


@pytest.mark.parametrize("serial", ["PHYF002", "0x55cd2e41537a0002"])
def test_a_disk_with_data_is_taken_when_its_data_may_be_destroyed(serial: str) -> None:
    found = choose_disks(read("a100-lvm-root"), want(storage_hot="ssd", storage_erase_serials=(serial,)))
    assert isinstance(found, Choice)
    assert found.taken[0].erase == ("/dev/sdb",)


def test_the_systems_lvm_and_swap_are_never_erased() -> None:
    text = reasons("a100-lvm-root", "/dev/sda", storage_erase_serials=("PHYF001",))
    assert "ubuntu--vg-ubuntu--lv on it is mounted at /" in text
    assert "ubuntu--vg-swap on it is swap" in text


# A T4 server: a small SSD for the system, two HDDs, and what a BMC and an operator plug in.


def test_the_empty_one_of_two_hdds_is_taken() -> None:
    assert choose("t4-hdd", storage_cold="hdd") == {"cold": ["/dev/sdb"]}


def test_a_stick_and_a_bmcs_virtual_disk_are_never_taken() -> None:
    assert "not a disk of this server's own (usb)" in reasons("t4-hdd", "/dev/sde")
    assert "has no medium" in reasons("t4-hdd", "/dev/sdd")
    assert "cannot be read" in reasons("t4-hdd", "/dev/sdd")
    what = refuse("t4-hdd", storage_cold="hdd", storage_cold_serials=("4C53",))
    assert "is not free: not a disk of this server's own (usb); removable" in what


def test_a_file_system_without_a_partition_is_data() -> None:
    assert "has data: holds xfs 'backup'" in refuse("t4-hdd", storage_cold="hdd", storage_cold_serials=("Z1A2",))


# Refusals of what is named.


def test_a_serial_that_is_not_there() -> None:
    assert (
        refuse("t4-hdd", storage_cold="hdd", storage_cold_serials=("X",))
        == "disk X of the cold tier is not in this server"
    )


def test_a_serial_of_another_medium() -> None:
    what = refuse("t4-hdd", storage_hot="ssd", storage_hot_serials=("Z1A1",))
    assert what == "disk Z1A1 of the hot tier is hdd, not ssd"


def test_a_serial_of_a_disk_that_is_too_small() -> None:
    what = refuse("t4-hdd", storage_cold="hdd", storage_cold_serials=("Z1A1",), storage_cold_min_gb=8000)
    assert what == "disk Z1A1 of the cold tier is smaller than 8000 GB"


def test_two_paths_to_one_disk_are_refused() -> None:
    assert refuse("multipath", storage_cold="hdd") == "storage_cold asks for hdd: none is free and fits"
    assert reasons("multipath", "/dev/sdb") == "the same disk as /dev/sdc, by another path"
    assert "is there 2 times" in refuse("multipath", storage_cold="hdd", storage_cold_serials=("WBN1",))
    assert "/dev/mapper/mpatha (mpath) is active on it" in reasons("multipath-active", "/dev/sdb")


def test_odd_disks() -> None:
    assert choose("odd", storage_hot="nvme", storage_cold="hdd") == {"hot": ["/dev/nvme0n1"], "cold": ["/dev/sdf"]}
    everything = {"storage_erase_serials": tuple(f"B{n}" for n in range(1, 9))}
    why = {
        path: reasons("odd", f"/dev/{path}", **everything) for path in ("sda", "sdb", "sdc", "sdd", "sde", "sdg", "sdh")
    }
    assert "mounted at /" in why["sda"]
    assert "part of a file system that is mounted" in why["sdb"]
    assert "zfs_member: whether it is in use cannot be seen" in why["sdc"]
    assert "swap" in why["sdd"]
    assert "cannot be read" in why["sde"]
    assert "not a disk of this server's own (fc)" in why["sdg"]
    assert "read-only" in why["sdh"]
    assert refuse("odd", storage_hot="ssd", **everything).endswith("none is free and fits")


def test_two_namespaces_of_one_nvme_are_two_disks() -> None:
    one = Disk("/dev/nvme0n1", 10**12, transport="nvme", serial="S", wwn="eui.1")
    two = replace(one, path="/dev/nvme0n2", wwn="eui.2")
    wanted = want(storage_hot="nvme", storage_hot_serials=("eui.2",))
    found = choose_disks((one, two), wanted)
    assert isinstance(found, Choice)
    assert found.taken[0].disks == (two,)


# Tiers that are there.

UUIDS = {"hot": "11111111-aaaa-4aaa-8aaa-111111111111", "cold": "22222222-bbbb-4bbb-8bbb-222222222222"}


def test_a_tier_that_is_there_is_found_again_whatever_else_fits() -> None:
    found = choose("h100-tiers", UUIDS, **TWO, storage_raid0=True, storage_hot_count=3)
    assert found == {"cold": ["/dev/nvme5n1"], "hot": ["/dev/nvme2n1", "/dev/nvme3n1", "/dev/nvme4n1"]}


def test_a_tier_that_is_there_is_not_erased_though_its_serial_still_says_so() -> None:
    found = choose_disks(
        read("h100-tiers"), want(UUIDS, **TWO, storage_raid0=True, storage_erase_serials=("S64HNX0T5", "S64HNX0T2"))
    )
    assert isinstance(found, Choice)
    assert [taken.erase for taken in found.taken] == [(), ()]
    assert [taken.label for taken in found.taken] == [COLD.label, HOT.label]


def test_a_tiers_disk_is_not_taken_for_the_other_tier_though_it_may_be_erased() -> None:
    keys = {"storage_hot": "nvme", "storage_hot_serials": ("S64HNX0T5",), "storage_erase_serials": ("S64HNX0T5",)}
    disks = tuple(replace(disk, mounts=()) for disk in read("h100-tiers"))
    found = choose_disks(disks, want({"cold": UUIDS["cold"]}, **keys))
    assert isinstance(found, list)
    assert "a tier of this server" in found[0].what


def test_a_tier_whose_disk_is_away_is_refused_and_never_made_anew_by_itself() -> None:
    what = refuse("h100-md-root", {"hot": UUIDS["hot"]}, storage_hot="nvme", storage_hot_count=1)
    assert what == f"the hot tier's file system {UUIDS['hot']} is on none of the disks"


def test_a_tier_that_is_not_where_the_inventory_wants_it_is_refused() -> None:
    what = refuse("h100-tiers", {"cold": UUIDS["cold"]}, storage_cold="hdd")
    assert what == "the cold tier lies on disks that are not those wanted (/dev/nvme5n1: nvme, not hdd)"
    what = refuse("h100-tiers", {"cold": UUIDS["cold"]}, storage_cold="nvme", storage_cold_serials=("S64HNX0T2",))
    assert "S64HNX0T2 is not among them" in what
    what = refuse("h100-tiers", {"hot": UUIDS["hot"]}, storage_hot="nvme")
    assert what.endswith("(it lies on 3)")


def test_a_copy_of_a_tiers_disk_is_refused() -> None:
    cold = read("h100-tiers")[-1]
    copy = replace(cold, path="/dev/nvme6n1", serial="other", wwn="other", mounts=())
    found = choose_disks((cold, copy), want({"cold": UUIDS["cold"]}, storage_cold="nvme"))
    assert isinstance(found, list)
    assert "is there more than once" in found[0].what


def test_a_tier_of_an_earlier_system_is_data() -> None:
    text = refuse("h100-tiers", storage_cold="nvme", storage_cold_serials=("S64HNX0T5",))
    assert "mounted at /var/lib/dsops-cold" in text
    (cold,) = [replace(disk, mounts=()) for disk in read("h100-tiers") if disk.serial == "S64HNX0T5"]
    assert find_reasons(cold, (cold,), want()) == ("holds xfs 'dsops-cold'",)


# What was cut while it was made.


def test_one_that_was_cut_while_it_was_made_is_taken_again_among_others_that_fit() -> None:
    assert choose("h100-half-made", storage_hot="nvme") == {"hot": ["/dev/nvme3n1"]}


@pytest.mark.parametrize("name", ["h100-raid-half-made", "h100-raid-without-fs"])
def test_an_array_that_was_cut_while_it_was_made_is_made_anew(name: str) -> None:
    found = choose(name, **TWO, storage_raid0=True, storage_hot_count=3, storage_cold_count=1)
    assert found == {"hot": ["/dev/nvme2n1", "/dev/nvme3n1", "/dev/nvme4n1"], "cold": ["/dev/nvme5n1"]}


def test_an_array_with_a_store_is_not_half_made() -> None:
    assert not any(is_half_made(disk) for disk in read("h100-tiers"))
    assert not any(is_half_made(replace(disk, mounts=())) for disk in read("h100-tiers"))


def test_half_made_but_mounted_is_in_use() -> None:
    disk = Disk("/dev/sdb", 10**12, signatures=(Signature("xfs", MAKING, "u"),), mounts=("/mnt",))
    assert find_reasons(disk, (disk,), Wanted()) == ("mounted at /mnt", f"holds xfs '{MAKING}'")


# Keys that contradict each other.


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"storage_hot": "ssds"}, "storage_hot = 'ssds' is no medium"),
        ({"storage_hot_serials": ("S",)}, "storage_hot is none, yet disks are named or counted for it"),
        ({"storage_hot": "ssd", "storage_hot_count": -1}, "storage_hot_count = -1"),
        ({"storage_hot": "ssd", "storage_hot_count": 2}, "storage_hot asks for 2 disks"),
        ({"storage_cold": "hdd", "storage_cold_serials": ("a", "b")}, "storage_cold asks for 2 disks"),
        ({"storage_hot": "nvme", "storage_raid0": True}, "storage_raid0 without a hot and a cold tier"),
        (TWO | {"storage_raid0": True, "storage_hot_count": 1}, "storage_raid0 with one disk"),
        (TWO | {"storage_hot_serials": ("a",), "storage_cold_serials": ("a",)}, "a is named for both tiers"),
        (
            {"storage_hot": "ssd", "storage_hot_serials": ("a",), "storage_hot_count": 3},
            "storage_hot_count = 3, but 1 serials",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], what: str) -> None:
    assert what in [problem.what for problem in check_keys(Storage(**keys))]


def test_units_are_named_as_systemd_names_them() -> None:
    assert [unit_of(tier) for tier in (HOT, COLD)] == ["var-lib-dsops.mount", r"var-lib-dsops\x2dcold.mount"]


# Whatever the disks are.

signatures = st.builds(
    Signature,
    kind=st.sampled_from(["ext4", "xfs", "gpt", "linux_raid_member", "LVM2_member", "swap", "zfs_member"]),
    label=st.sampled_from(["", "mine", HOT.label, COLD.label, MAKING, "gpu1:dsops-hot"]),
    uuid=st.sampled_from(["", "u1", "u2", "u3"]),
)
volumes = st.recursive(
    st.builds(
        Volume,
        path=st.sampled_from(["/dev/x1", "/dev/x2", "/dev/md0"]),
        kind=st.sampled_from(["part", "lvm", "raid0", "raid1", "crypt"]),
        holds=st.none() | signatures,
        mounts=st.sampled_from([(), (), ("/",), ("[SWAP]",), ("/data",)]),
    ),
    lambda inner: st.builds(
        Volume,
        path=st.just("/dev/y"),
        kind=st.sampled_from(["part", "lvm", "raid0"]),
        holds=st.none() | signatures,
        volumes=st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=3,
)
some_disks = st.lists(
    st.builds(
        Disk,
        path=st.sampled_from([f"/dev/sd{letter}" for letter in "abcdefgh"]),
        size=st.sampled_from([0, 480 * 10**9, 4000 * 10**9]),
        rotational=st.booleans(),
        transport=st.sampled_from(["", "nvme", "nvme", "sata", "usb", "fc"]),
        serial=st.sampled_from(["", "S1", "S2", "S3", "S4"]),
        wwn=st.sampled_from(["", "", "W1", "W2"]),
        removable=st.sampled_from([False, False, False, True]),
        signatures=st.none() | st.just(()) | st.just(()) | st.lists(signatures, max_size=2).map(tuple),
        mounts=st.sampled_from([(), (), (), ("/",)]),
        volumes=st.just(()) | st.lists(volumes, max_size=2).map(tuple),
    ),
    unique_by=lambda disk: disk.path,
    max_size=6,
).map(tuple)
serials = st.lists(st.sampled_from(["S1", "S2", "S3", "S9"]), unique=True, max_size=2).map(tuple)
keys = st.builds(
    Storage,
    storage_hot=st.sampled_from(["none", "nvme", "ssd", "hdd"]),
    storage_hot_count=st.integers(0, 3),
    storage_hot_min_gb=st.sampled_from([0, 1000]),
    storage_hot_serials=serials,
    storage_cold=st.sampled_from(["none", "nvme", "ssd", "hdd"]),
    storage_cold_count=st.integers(0, 1),
    storage_cold_serials=serials,
    storage_raid0=st.booleans(),
    storage_erase_serials=serials,
)
tiers = st.fixed_dictionaries({}, optional={"hot": st.sampled_from(["u1", "u2"]), "cold": st.just("u3")})


@given(some_disks, keys, tiers)
def test_nothing_in_use_and_nothing_with_data_is_ever_taken(
    disks: tuple[Disk, ...], said: Storage, uuids: dict[str, str]
) -> None:
    wanted = read_wanted(said, uuids)
    found = choose_disks(disks, wanted)
    if isinstance(found, list):
        assert all(isinstance(problem, Problem) and problem.mend for problem in found)
        render_problems(found, disks, wanted)
        return
    paths = [disk.path for taken in found.taken for disk in taken.disks]
    assert len(found.taken) == len(wanted.wishes)
    for taken, wish in zip(found.taken, wanted.wishes, strict=True):
        assert taken.disks
        for disk in taken.disks:
            assert disk.medium == wish.medium
            assert disk.size >= wish.min_gb * 10**9
            if taken.label:
                assert wish.uuid
                continue
            assert len(paths) == len(set(paths)), "one disk for two tiers"
            assert not disk.mounts
            assert not any(volume.mounts for volume in disk.walk())
            assert disk.transport in {"", "nvme", "sata"}
            assert disk.size
            assert disk.signatures is not None
            held = [*disk.signatures, *(volume.holds for volume in disk.walk() if volume.holds)]
            assert not {one.uuid for one in held} & set(uuids.values()), "a tier of this server"
            if not is_half_made(disk) and (held or disk.volumes):
                assert set(disk.names) & set(said.storage_erase_serials)
                assert disk.path in taken.erase


@given(some_disks, keys)
def test_the_order_in_which_disks_are_seen_does_not_matter(disks: tuple[Disk, ...], said: Storage) -> None:
    wanted = read_wanted(said, {})
    assert choose_disks(disks, wanted) == choose_disks(disks[::-1], wanted)
