"""Room: disks against what the bundle brings, memory, swap, and where programs may run."""

from typing import Any

import pytest
from dsops.control.doctor.facts import Disk
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.kernel import Kernel
from dsops.control.doctor.room import (
    GIB,
    find_mount,
    find_needs,
    judge_mounts,
    judge_swap,
    judge_swap_room,
    render_size,
)
from dsops.control.doctor.server import judge_space
from dsops.control.doctor.site import BundleFacts

from tests.control.doctor.sites import MIB, SIZES, make_facts, make_patient, make_server, make_site

ONE = tuple(Disk(path, "/", 100 * GIB, 2 * GIB) for path in ("/var/lib/dsops", "/var/lib", "/opt/dsops"))


def judged(check: str, **changes: Any) -> Finding:
    (found,) = [f for f in judge_space(make_patient(**changes)) if f.check == check]
    return found


def test_a_fresh_server_needs_all_that_the_bundle_brings_unpacked_too() -> None:
    server = make_server()
    needs = list(find_needs(make_site(server), server, make_facts(have=())))
    total = {path: sum(size for at, size in needs if at == path) // MIB for path, _ in needs}
    assert total == {"/var/lib/dsops": 40 + 2 + 40 + 1 + 80 + 5, "/var/lib": 4 * 42, "/opt/dsops": 4 * 121 + 110}


def test_a_deployed_server_needs_nothing_more() -> None:
    server = make_server()
    assert list(find_needs(make_site(server), server, make_facts())) == []


def test_what_will_lie_on_a_tier_of_its_own_needs_no_room_on_the_systems_disk() -> None:
    server, one = make_server(storage_hot="nvme"), make_facts(have=(), disks=ONE)
    needs = [size for at, size in find_needs(make_site(server), server, one) if at == "/var/lib/dsops"]
    assert sum(needs) == (40 + 40 + 1) * MIB
    tier = make_facts(have=(), disks=(Disk("/var/lib/dsops", "/var/lib/dsops", 9 * GIB, 9 * GIB), *ONE[1:]))
    needs = [size for at, size in find_needs(make_site(server), server, tier) if at == "/var/lib/dsops"]
    assert sum(needs) == (40 + 2 + 40 + 1 + 80 + 5) * MIB


def test_no_room_for_the_swap_that_is_asked_for_is_a_warning() -> None:
    def judge(**data: int) -> list[Finding]:
        server = make_server(**{"swap_gb": 4, "swap_disk_reserve_gb": 1, **data})
        return judge_swap_room(make_site(server), server, make_facts(disks=ONE, swap_total=0))

    (found,) = judge()
    assert found.what == "2.0 GiB free on /, and role swap wants 4 GiB there and 1 GiB left"
    assert found.status is Status.WARNING
    assert judge(swap_gb=1) == judge(swap_gb=0) == []
    server = make_server(swap_gb=4)
    has = make_facts(disks=ONE, swap_total=4 * GIB - 4096)
    assert judge_swap_room(make_site(server), server, has) == []
    container = make_facts(disks=ONE, kernel=Kernel("6.1", virtual="systemd-nspawn"))
    assert judge_swap_room(make_site(server), server, container) == []


def test_monitoring_needs_room_for_its_figures() -> None:
    mon = make_server("mon1", "mon")
    needs = list(find_needs(make_site(mon), mon, make_facts()))
    assert ("/var/lib", 2 * GIB) in needs
    assert ("/var/lib/dsops", 30 * MIB) in needs


def test_one_filesystem_for_all_needs_the_sum() -> None:
    found = judged("disk", disks=ONE, have=())
    assert found.status is Status.OK
    full = tuple(Disk(d.path, d.mount, d.total, GIB + 800 * MIB) for d in ONE)
    found = judged("disk", disks=full, have=())
    assert found.what == ("1.8 GiB free on / (for /var/lib/dsops, /var/lib, /opt/dsops), and 1.9 GiB are needed")
    assert judged("disk", disks=full).status is Status.OK


def test_a_full_disk_is_a_problem_even_when_nothing_comes() -> None:
    full = (Disk("/var/lib/dsops", "/var/lib/dsops", GIB, 5 * MIB), *ONE[1:])
    found = judged("disk", disks=full)
    assert (found.status, found.what[:28]) == (Status.PROBLEM, "5 MiB free on /var/lib/dsops")


def test_without_a_bundle_nobody_knows_the_need() -> None:
    assert judged("disk", bundle=None).status is Status.SKIPPED


def test_memory_holds_the_weights_once_a_slot() -> None:
    big = BundleFacts("r1", "debian 12", "0.1.0", {**SIZES, "releases/r1": 20 * GIB})
    found = judged("memory", bundle=big)
    assert (found.status, found.what) == (Status.PROBLEM, "has 24 GiB of memory, and 42 GiB are needed")
    assert judged("memory", bundle=big, server=make_server("lb1", "lb")).status is Status.OK


def test_what_the_kernel_keeps_of_a_small_machine_is_not_missing() -> None:
    assert judged("memory", memory=2 * GIB - 150 * MIB).status is Status.OK
    assert judged("memory", memory=2 * GIB - 300 * MIB).status is Status.PROBLEM


@pytest.mark.parametrize(
    ("total", "free", "status", "what"),
    [
        (0, 0, Status.OK, "none"),
        (32 * GIB, 32 * GIB, Status.OK, "32 GiB, hardly used"),
        (2 * GIB, GIB, Status.WARNING, "1.0 GiB of 2.0 GiB swap are in use: memory is short already"),
    ],
)
def test_swap_is_a_problem_only_in_use(total: int, free: int, status: Status, what: str) -> None:
    (found,) = judge_swap("gpu1", make_facts(swap_total=total, swap_free=free))
    assert (found.status, found.what) == (status, what)


def test_noexec_matters_only_where_programs_of_ours_run() -> None:
    mounts = {"/": ("rw",), "/tmp": ("noexec",), "/run": ("noexec",)}
    (found,) = judge_mounts("gpu1", make_facts(mounts=mounts))
    assert (found.status, "which is fine" in found.what) == (Status.OK, True)
    (opt, var) = judge_mounts("gpu1", make_facts(mounts={**mounts, "/opt": ("noexec",), "/var": ("noexec",)}))[:2]
    assert (opt.status, opt.what) == (Status.PROBLEM, "/opt is mounted noexec, and programs run from /opt/dsops")
    assert var.mend.startswith("mount -o remount,exec /var")


def test_the_nearest_mount_counts() -> None:
    mounts: dict[str, object] = {"/": 1, "/opt": 1, "/opt/ds": 1}
    assert find_mount("/opt/dsops", mounts) == "/opt"
    assert find_mount("/var/x", mounts) == "/"


def test_sizes_are_short() -> None:
    assert [render_size(size) for size in (5 * MIB, 1536 * MIB, 63 * GIB + 600 * MIB)] == ["5 MiB", "1.5 GiB", "64 GiB"]
