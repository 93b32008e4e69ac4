"""`dsops lab down`: ends all of a lab, from what is really there and not from what was written down."""

import shutil
import time
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import base, cgroups, gpus, network, owner
from dsops.lab.keys import ssh_argv
from dsops.lab.metal import links
from dsops.lab.mounts import detach_loops, find_loops, get_mounts, mounts_below, remove_tree, unmount_below
from dsops.lab.place import Lab
from dsops.lab.processes import end_parts, find_parts
from dsops.lab.progress import Show, step
from dsops.lab.run import run


def down(
    lab: Lab,
    show: Show,
    *,
    purge: bool = False,
    keep_disks: bool = False,
    take_over: bool = False,
    checkout: str = "",
) -> None:
    """End it. The servers' disks go too, unless kept; keys stay; purge: the base systems go as well."""
    with owner.changing(lab, checkout=checkout, take_over=take_over):
        if keep_disks:
            with step(show, "power off"):
                power_off(lab)
        _end(lab, show, disks=not keep_disks)
        if find_leftovers(lab):  # an `up` that was killed just now may have had one more child on its way
            _end(lab, show, disks=not keep_disks)
        if left := find_leftovers(lab):
            raise DsopsError(f"still there: {', '.join(left)}", where=str(lab.root), mend="`dsops lab down` again")
        if purge:
            with step(show, "purge") as notes:
                base.purge_bases(lab)
                remove_tree(gpus.cache(lab))
                notes.append("base systems deleted")
        owner.forget(lab)


def _end(lab: Lab, show: Show, *, disks: bool) -> None:
    with step(show, "processes") as notes:
        notes.append(f"{end_parts(lab, thaw=lambda: cgroups.thaw_all(lab))} ended")
    with step(show, "mounts") as notes:
        notes.append(f"{unmount_below(lab.root)} mounts, {detach_loops(lab.root)} stray loop devices")
    with step(show, "network") as notes:
        notes.append(f"{links.remove_rail(lab) + network.remove_network(lab)} links and tables")
    with step(show, "files") as notes:
        remove_files(lab, disks=disks)
        notes.append("servers' disks deleted" if disks else "servers' disks kept")


def find_leftovers(lab: Lab) -> list[str]:
    """Everything of a lab that the kernel still knows; [] after `down`."""
    groups = [root / cgroups.branch(lab) for root in cgroups.hierarchies(get_mounts())]
    return [
        *(f"process {part.pid} ({part.part})" for part in find_parts(lab)),
        *(f"mount {point}" for point in mounts_below(lab.root)),
        *(f"loop device {loop}" for loop in find_loops(lab.root)),
        *(f"link {name}" for name in links.find(lab)),
        *network.find_network(lab),
        *(f"control group {group}" for group in groups if group.exists()),
        *(f"{folder}" for folder in _nspawn_folders(lab) if folder.exists()),
    ]


def _nspawn_folders(lab: Lab) -> list[Path]:
    """systemd-nspawn's own, which a kill -9 leaves."""
    return [Path("/run/systemd/nspawn/propagate", lab.machine(one)) for one in lab.servers]


def power_off(lab: Lab, *, patience: float = 15) -> None:
    """Ask every server to go cleanly; who does not answer or does not go is killed afterwards."""
    for one in lab.everyone:
        if find_parts(lab, one.name) and not cgroups.is_frozen(lab, one):
            run(ssh_argv(lab, one, "systemctl poweroff", timeout=2), timeout=10, check=False)
    until = time.monotonic() + patience
    while any(find_parts(lab, one.name) for one in lab.everyone) and time.monotonic() < until:
        time.sleep(0.1)


def remove_files(lab: Lab, *, disks: bool) -> None:
    cgroups.remove_groups(lab)
    remove_tree(lab.sink)
    if disks:
        remove_tree(lab.hosts)
    for folder in _nspawn_folders(lab):
        shutil.rmtree(folder, ignore_errors=True)
