"""The tiers on a server: what is there, what is wanted, and the program that makes the one the other."""

import json
import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.ops.changes import tell
from roles.ops.disks import Disk, Disks
from roles.ops.files import render
from roles.ops.remote import pipe
from roles.ops.upgrade import refuse
from roles.storage.choice import (
    COLD,
    HOT,
    TIERS,
    Choice,
    Problem,
    Taken,
    Tier,
    Wanted,
    check_keys,
    choose_disks,
    find_array,
    read_wanted,
    render_problems,
    unit_of,
)
from roles.storage.defaults import Storage

TEMPLATES = Path(__file__).with_name("templates")
PROGRAM = TEMPLATES / "tier.py"
UNITS = "/etc/systemd/system"
RUN = "/run/dsops-storage"
LOG = "/var/log/dsops-storage.log"
# What uses the store, in the order in which it is stopped: who brings traffic first.
USERS = (
    "dsops-gateway.service",
    "dsops-agent.service",
    "dsops-helper.socket",
    "dsops-helper.service",
    "triton@a.service",
    "triton@b.service",
)
# How far is read ahead, and in what order, by medium. lsblk shows both.
READ_AHEAD_KB = {"hdd": 4096, "ssd": 1024, "nvme": 1024}
SCHEDULER = {"hdd": "mq-deadline", "ssd": "mq-deadline", "nvme": "none"}
GUARDED = "guarded"

Commands = Generator[Any, None, None]


@dataclass(frozen=True)
class Mount:
    """What the server has of a tier.

    digest: sha256 of its mount unit's file; uuid: that it names; mounted: the UUID of what is mounted at its place.
    guard: `guarded`, or why something could be written under the mount point. pending: units that were stopped.
    """

    digest: str = ""
    uuid: str = ""
    enabled: bool = False
    mounted: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    guard: str = ""
    pending: str = ""


class Mounts(FactBase[dict[str, Mount]]):
    """tier -> what the server has of it."""

    default = dict

    def command(self) -> str:
        return "; ".join(render_look(tier) for tier in TIERS)

    def process(self, output: list[str]) -> dict[str, Mount]:
        found: dict[str, dict[str, str]] = {}
        for line in output:
            tier, _, rest = line.partition(" ")
            key, _, value = rest.partition(" ")
            found.setdefault(tier, {})[key] = value.strip()
        return {name: _read_mount(values) for name, values in found.items()}


def render_look(tier: Tier) -> str:
    """Shell that prints `tier key value` lines."""
    file, unit = shlex.quote(f"{UNITS}/{unit_of(tier)}"), shlex.quote(unit_of(tier))
    place, stopped = shlex.quote(tier.place), f"{RUN}/{tier.label}.stopped"
    # In a mount namespace that ends with the command: what lies under the mount point.
    under = f"umount --lazy {place} && lsattr -d {place} | cut -c5 && find {place} -mindepth 1 | head -n 1"
    look = (
        f"echo {tier.name} digest $(sha256sum < {file} | cut -c1-64);"
        f" echo {tier.name} uuid $(sed -n 's,^What=/dev/disk/by-uuid/,,p' {file});"
        f" echo {tier.name} enabled $(systemctl is-enabled {unit} 2>/dev/null);"
        f" echo {tier.name} pending $(cat {stopped} 2>/dev/null)"
    )
    mounted = f"findmnt --noheadings --raw --output UUID,SOURCE,OPTIONS --mountpoint {place} | tail -n 1"
    return (
        f"[ ! -f {file} ] || {{ {look}; }};"
        f" ! findmnt --mountpoint {place} >/dev/null || {{ echo {tier.name} mounted $({mounted});"
        f" echo {tier.name} under $(unshare --mount sh -c {shlex.quote(under)} 2>&1); }}"
    )


def _read_mount(values: Mapping[str, str]) -> Mount:
    uuid, source, options = (*values.get("mounted", "").split(), "", "", "")[:3]
    # `i`: lsattr's letter for immutable, alone: nothing lies there.
    under = values.get("under", "")
    return Mount(
        digest=values.get("digest", ""),
        uuid=values.get("uuid", ""),
        enabled=values.get("enabled") == "enabled",
        mounted=uuid,
        source=source,
        options=tuple(options.split(",")),
        guard=GUARDED if under == "i" or "not supported" in under else under,
        pending=values.get("pending", ""),
    )


def find_problems(
    said: Storage, disks: Sequence[Disk], mounts: Mapping[str, Mount]
) -> tuple[Choice, list[Problem], Wanted]:
    """What every tier takes, or every reason why not."""
    wanted = read_wanted(said, {name: mount.uuid for name, mount in mounts.items() if mount.uuid})
    problems = check_keys(said)
    for wish in wanted.wishes:
        mount = mounts.get(wish.tier.name, Mount())
        if mount.mounted and mount.mounted != mount.uuid:
            what = f"{mount.source} is mounted at {wish.tier.place}, and not by dsops"
            mend = f"unmount it and take it out of /etc/fstab, or leave storage_{wish.tier.name} out: it may stay"
            problems.append(Problem(what, mend))
    choice = choose_disks(disks, wanted) if not problems else Choice()
    return (choice, problems, wanted) if isinstance(choice, Choice) else (Choice(), choice, wanted)


def refuse_host(text: str) -> None:
    """Leaves the server at hand out of this run, before anything is changed on it; the others go on."""
    logger.error(f"[{host.name}] {text}")
    state = host.state
    state.fail_hosts({state.inventory.get_host(host.name)})  # type: ignore[no-untyped-call]


def check_disks(said: Storage) -> bool:
    """Whether the server has the disks that the inventory wants; says why, and leaves the server out, when not."""
    disks, mounts = host.get_fact(Disks), host.get_fact(Mounts)
    _, problems, wanted = find_problems(said, disks, mounts)
    if problems:
        refuse_host(render_problems(problems, disks, wanted))
    return not problems


def render_unit(tier: Tier) -> str:
    """The tier's mount unit, but for the UUID."""
    return render(TEMPLATES / "tier.mount.j2", tier=tier.name, place=tier.place)


def render_spec(taken: Taken) -> str:
    """What the program on the server is told."""
    disks = [
        {"path": disk.path, "size": disk.size, "names": list(disk.names), "erase": disk.path in taken.erase}
        for disk in taken.disks
    ]
    said = {
        "label": taken.tier.label,
        "place": taken.tier.place,
        "disks": disks,
        "array": len(disks) > 1,
        "unit": unit_of(taken.tier),
        "units": UNITS,
        "text": render_unit(taken.tier),
        "users": list(USERS),
        "run": RUN,
        "init": 1,
    }
    return json.dumps(said)


def render_change(taken: Taken) -> str:
    """What becomes of the disks, in words."""
    disks = "; ".join(f"{disk.text}{' (ITS DATA IS DESTROYED)' * (disk.path in taken.erase)}" for disk in taken.disks)
    return f"mended on {disks}" if taken.label else f"made on {disks}, filled with what lies there"


def is_as_wanted(taken: Taken, mount: Mount) -> bool:
    """Whether there is nothing left to do for a tier."""
    text = render_unit(taken.tier).replace("@UUID@", mount.uuid)
    return (
        bool(mount.uuid)
        and mount.mounted == mount.uuid
        and taken.label == taken.tier.label
        and mount.digest == sha256(text.encode()).hexdigest()
        and mount.enabled
        and "noatime" in mount.options
        and mount.guard == GUARDED
        and not mount.pending
    )


@operation()
def tier(which: str, *, said: Storage, python: str) -> Commands:
    """Makes a tier be there: made, filled with what lies at its place, proven, mounted.

    + which: hot or cold
    + said: what the inventory wants
    + python: the interpreter on the server
    """
    disks, mounts = host.get_fact(Disks), host.get_fact(Mounts)
    choice, problems, wanted = find_problems(said, disks, mounts)
    if problems:  # else it was said before anything was changed: the disks are others now
        yield FunctionCommand(refuse, (render_problems(problems, disks, wanted),), {})
        return
    (taken,) = (one for one in choice.taken if one.tier.name == which)
    if is_as_wanted(taken, mounts.get(which, Mount())):
        host.noop(f"{taken.tier.place} is on {', '.join(disk.path for disk in taken.disks)}")
        return
    tell("tier", taken.tier.place, render_change(taken))
    words = f"unshare --mount {python} -I - {shlex.quote(render_spec(taken))}"
    # To a file: were the output a connection, it would die with it.
    logged = f"{{ {words}; }} 3>&2 > {LOG} 2>&1 || {{ tail -n 20 {LOG} >&2; exit 1; }}"
    yield FunctionCommand(pipe, (logged, partial(_write, PROGRAM.read_bytes())), {})


@operation()
def tuned() -> Commands:
    """Makes the disks of the tiers be read as their udev rule says, at once."""
    disks = host.get_fact(Disks)
    wrong = [disk.path for disk in find_tier_disks(disks) if not is_tuned(disk)]
    if not wrong:
        host.noop("all are read as their medium asks for")
        return
    tell("disks", " ".join(wrong), "read-ahead and scheduler by medium")
    yield f"udevadm control --reload && udevadm trigger --action=change --settle {shlex.join(wrong)}"


def find_tier_disks(disks: Sequence[Disk]) -> list[Disk]:
    """Those that bear a tier of ours."""
    labels = {HOT.label, COLD.label}
    return [disk for disk in disks if find_array(disk) or {one.label for one in disk.signatures or ()} & labels]


def is_tuned(disk: Disk) -> bool:
    """Whether a disk is read as its medium asks for."""
    return disk.read_ahead_kb == READ_AHEAD_KB[disk.medium] and disk.scheduler == SCHEDULER[disk.medium]


def _write(program: bytes, out: IO[bytes]) -> None:
    out.write(program)
