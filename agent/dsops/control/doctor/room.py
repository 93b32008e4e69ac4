"""Is there room: on the disks for what the bundle brings, in memory for the slots, and may programs run there?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from dsops.control.doctor.facts import Facts
from dsops.control.doctor.finding import Finding, ok, problem, skipped, warning
from dsops.control.doctor.site import PLACES, Site
from dsops.control.fleet.inventory import Server

MIB, GIB = 1 << 20, 1 << 30
# Left free after a deploy, for logs, journals and the next release.
HEADROOM = GIB
# Wheels and packages grow when they are unpacked; measured 3.2 and 4.5, and 3 for packages.
UNPACKED = 4
# Prometheus' own files.
FIGURES = 2 * GIB
# The system, our daemons and an engine without its weights.
MEMORY = {"gpu": 2 * GIB, "lb": GIB // 2, "mon": GIB // 2}
SLOTS = 2
# Of the bundle, what role base brings, which runs before role storage.
FIRST = ("apt/base", "wheels/node", "wheels/dsops")
# Of the memory that was bought, firmware and kernel keep some: a machine of 2 GiB shows 1.9.
KEPT = 0.1
# Share of the swap that may be in use: more means that memory is short already.
SWAPPED = 0.25
# Where programs of ours run from; /tmp and /run are not among them on purpose.
RUNS_FROM = ("/opt/dsops", "/var/cache/dsops-triton", "/var/lib/dpkg/info")


def find_needs(site: Site, server: Server, facts: Facts) -> Iterator[tuple[str, int]]:
    """(path, bytes) that a deploy will add, without what is there already."""
    assert site.bundle
    sizes, have = site.bundle.sizes, set(facts.have)
    release = f"/var/lib/dsops/releases/{site.bundle.release}"
    waits = awaits_tier(site, server, facts)
    for part in find_parts(site, server):
        if f"/var/lib/dsops/bundle/{part}" not in have:
            # What comes before the tier lies on the system's disk until it moves there.
            yield "/var/lib/dsops", 0 if waits and part not in FIRST else sizes.get(part, 0)
            yield ("/opt/dsops" if part.startswith("wheels/") else "/var/lib"), UNPACKED * sizes.get(part, 0)
    if site.has_role(server, "engine") and release not in have and not waits:
        yield "/var/lib/dsops", sizes.get(f"releases/{site.bundle.release}", 0)
    if site.has_role(server, "triton") and "/opt/dsops/triton" not in have:
        yield "/opt/dsops", sizes.get("triton", 0)
    if site.has_role(server, "monitoring"):
        yield "/var/lib", FIGURES


def awaits_tier(site: Site, server: Server, facts: Facts) -> bool:
    """Whether role storage will give /var/lib/dsops disks of its own, and has not yet; it judges their size itself."""
    asked = site.value(server, "storage_hot") not in (None, "none") and not facts.kernel.is_container
    return asked and not any(disk.path == disk.mount == "/var/lib/dsops" for disk in facts.disks)


def find_parts(site: Site, server: Server) -> list[str]:
    """The folders of the bundle that are copied to this server before they are installed."""
    assert site.bundle
    engine = f"wheels/engine-{site.value(server, 'engine_name')}"
    parts = ["wheels/node", "wheels/dsops", *([engine] if site.has_role(server, "engine") else [])]
    parts += [f"apt/{role}" for role in PLACES if site.has_role(server, role)]
    return [part for part in parts if part in site.bundle.sizes]


def judge_disks(site: Site, server: Server, facts: Facts) -> list[Finding]:
    """Free space on each filesystem against the sum of what comes to it."""
    if site.bundle is None:
        return [skipped("disk", server.name, "no bundle could be read, so nobody knows how much comes")]
    mounts = {disk.path: disk for disk in facts.disks}
    needs: dict[str, int] = defaultdict(int)
    for path, size in find_needs(site, server, facts):
        needs[mounts[path].mount] += size
    by_mount = {disk.mount: disk for disk in facts.disks}
    short = [disk for mount, disk in by_mount.items() if disk.free < needs[mount] + HEADROOM]
    for_whom = {mount: ", ".join(d.path for d in facts.disks if d.mount == mount) for mount in by_mount}
    wrong = [
        problem(
            "disk",
            server.name,
            f"{render_size(disk.free)} free on {disk.mount} (for {for_whom[disk.mount]}), "
            f"and {render_size(needs[disk.mount] + HEADROOM)} are needed",
            mend=f"free or add space on {disk.mount} (`du -xh --max-depth=2 {disk.mount} | sort -h | tail`)",
        )
        for disk in short
    ]
    free = ", ".join(f"{render_size(disk.free)} free on {mount}" for mount, disk in sorted(by_mount.items()))
    return wrong or [ok("disk", server.name, free)]


def judge_memory(site: Site, server: Server, facts: Facts) -> list[Finding]:
    """Against the floor of its roles; engine openvino holds the weights in memory, once a slot."""
    need = sum(size for group, size in MEMORY.items() if group in server.groups) or GIB // 2
    if site.bundle and site.has_role(server, "engine") and site.value(server, "engine_name") == "openvino":
        need += SLOTS * site.bundle.sizes.get(f"releases/{site.bundle.release}", 0)
    if facts.memory < (1 - KEPT) * need:
        what = f"has {render_size(facts.memory)} of memory, and {render_size(need)} are needed"
        return [problem("memory", server.name, what, mend="add memory, or take a smaller model")]
    return [ok("memory", server.name, f"{render_size(facts.memory)}, {render_size(need)} needed")]


def judge_swap(where: str, facts: Facts) -> list[Finding]:
    """None is fine. In use, it says that the server is too small."""
    used, total = facts.swap_total - facts.swap_free, facts.swap_total
    if total and used > SWAPPED * total:
        what = f"{render_size(used)} of {render_size(total)} swap are in use: memory is short already"
        return [warning("swap", where, what, mend="find who uses it: `ps -eo rss,comm --sort -rss | head`")]
    return [ok("swap", where, f"{render_size(total)}, hardly used" if total else "none")]


def judge_swap_room(site: Site, server: Server, facts: Facts) -> list[Finding]:
    """For the file that role swap will make. That role refuses for itself, in the run, and knows more."""
    size, reserve = (site.value(server, key) for key in ("swap_gb", "swap_disk_reserve_gb"))
    if facts.kernel.is_container or not isinstance(size, int) or not isinstance(reserve, int):
        return []
    mount = find_mount(str(site.value(server, "swap_file")), facts.mounts)
    disk = next((disk for disk in facts.disks if disk.mount == mount), None)
    if disk is None or facts.swap_total >= (1 - KEPT) * size * GIB or disk.free >= (size + reserve) * GIB:
        return []
    what = f"{render_size(disk.free)} free on {mount}, and role swap wants {size} GiB there and {reserve} GiB left"
    return [warning("swap", server.name, what, mend="a smaller swap_gb, or swap_file on another disk")]


def judge_mounts(where: str, facts: Facts) -> list[Finding]:
    """noexec where our programs or the packages' scripts run."""
    wrong = {path: find_mount(path, facts.mounts) for path in RUNS_FROM}
    wrong = {path: mount for path, mount in wrong.items() if "noexec" in facts.mounts.get(mount, ())}
    found = [
        problem(
            "noexec",
            where,
            f"{mount} is mounted noexec, and programs run from {path}",
            mend=f"mount -o remount,exec {mount}, and take noexec out of /etc/fstab",
        )
        for path, mount in wrong.items()
    ]
    elsewhere = [path for path in ("/tmp", "/run") if "noexec" in facts.mounts.get(path, ())]  # noqa: S108
    fine = f" ({' and '.join(elsewhere)} are, which is fine)" if elsewhere else ""
    return found or [ok("noexec", where, f"not where programs of ours run{fine}")]


def find_mount(path: str, mounts: Mapping[str, object]) -> str:
    """The mount that a path is on; `/` when nothing nearer is."""
    above = [mount for mount in mounts if path == mount or path.startswith(mount.rstrip("/") + "/")]
    return max(above, key=len, default="/")


def render_size(size: int) -> str:
    """In the unit that keeps it short."""
    if size < GIB:
        return f"{size / MIB:.0f} MiB"
    return f"{size / GIB:.0f} GiB" if size >= 10 * GIB else f"{size / GIB:.1f} GiB"
