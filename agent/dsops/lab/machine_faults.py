"""Faults of a server as a machine: its disk, its memory, its network, its clock, its kernel's log; and their mend."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import cgroups, cuts, gpu_faults, gpus, keys
from dsops.lab.metal import guest
from dsops.lab.mounts import get_mounts
from dsops.lab.place import Lab, Server
from dsops.lab.run import read, run

FULL = "/var/lib/dsops/.lab-fault-full"
HOG = "lab-fault-hog"
HOG_MB = 256
LINES = 200_000  # of a flood, at most
# Grows a file to the last free block; a file that was allocated and never written takes nothing of this machine's disk.
FILL = f"""mkdir -p /var/lib/dsops; at=0
for size in 1073741824 67108864 1048576 4096; do
  while fallocate -o $at -l $size {FULL} 2>/dev/null; do at=$((at + size)); done
done; echo $((at >> 20))"""
# `tail` holds what came of a line until that ends, which it never does. When the kernel kills for memory: not this one.
TAKE = (
    f"systemd-run --quiet --collect --unit={HOG} sh -c '"
    "echo -999 >/proc/self/oom_score_adj; { head -c %d /dev/zero; sleep infinity; } | tail -n 1'"
)
FREE_KB = "awk '/^MemAvailable/ {print $2}' /proc/meminfo"
FLOOD = """sysctl -q kernel.printk_devkmsg=on; i=0
while [ $i -lt %d ]; do i=$((i + 1)); echo "<4>lab fault: line $i of a flood"; done >/dev/kmsg
sysctl -q kernel.printk_devkmsg=ratelimit"""
MEND = f"""[ -e {FULL} ] && rm -f {FULL} && echo "the disk has room"
systemctl kill --signal=KILL {HOG} 2>/dev/null && echo "the memory is free"
systemctl list-units --plain --no-legend --state=active 'triton@*' | while read -r unit _; do
  pid=$(systemctl show --property=MainPID --value "$unit")
  grep -qs '^State:.T' /proc/"$pid"/status && systemctl kill --signal=CONT "$unit" && echo "the engine goes on"
done; true"""


def ask(lab: Lab, one: Server, command: str, *, patience: float = 60) -> str:
    """What a command says in the server, as root."""
    return run(keys.ssh_argv(lab, one, command), timeout=patience, where=one.name).strip()


def need_metal(lab: Lab, one: Server, why: str) -> None:
    if not one.is_metal:
        guests = ", ".join(guest.name for guest in lab.guests)
        raise DsopsError(why, where=one.name, mend=f"a machine of its own: {guests} (`dsops lab up --metal`)")


def get_number(words: Sequence[str], otherwise: int, *, most: int) -> int:
    """The one number behind a fault's name."""
    word = words[0] if words else str(otherwise)
    try:
        number = int(word)
    except ValueError:
        number = most + 1
    if abs(number) > most:
        raise DsopsError(f"{word!r} is no number up to {most}", mend=f"for instance {otherwise}")
    return number


# --- disk ---


def fill_disk(lab: Lab, one: Server) -> str:
    """No block is left, not even for root."""
    return f"/var/lib/dsops is full ({ask(lab, one, FILL)} MiB more)"


def slow_disk(lab: Lab, one: Server, words: Sequence[str]) -> str:
    """So many MB/s, for what its processes read, write past the cache, or wait for."""
    speed = get_number(words, 1, most=10_000) * 1_000_000
    if one.is_metal:
        limits = " ".join(f"IO{way}BandwidthMax='/var/lib/dsops {speed}'" for way in ("Read", "Write"))
        ask(lab, one, f"for slice in system user; do systemctl set-property --runtime $slice.slice {limits}; done")
        return f"/var/lib/dsops takes and gives {speed // 1_000_000} MB/s"
    limit_disk(find_groups(lab, one), find_device(lab, one), speed, where=one.name)
    return f"/var/lib/dsops takes and gives {speed // 1_000_000} MB/s; what only its cache takes is as quick as ever"


def find_device(lab: Lab, one: Server) -> str:
    """MAJOR:MINOR of the disk behind /var/lib/dsops."""
    data = lab.home(one).data
    source = next((mount.source for mount in get_mounts() if mount.point == data), "")
    number = read(Path("/sys/block", Path(source).name, "dev")).strip() if source else ""
    if not number:
        raise DsopsError(f"{data} is not mounted", where=one.name, mend="`dsops lab up`")
    return number


def find_groups(lab: Lab, one: Server) -> list[Path]:
    """The control group that holds all of the server, in every hierarchy."""
    if cgroups.has_systemd():
        tops = [Path("/sys/fs/cgroup/system.slice", lab.unit(one.name))]
    else:
        tops = [root / cgroups.branch(lab) / one.name for root in cgroups.hierarchies(get_mounts())]
    return [top for top in tops if top.is_dir()]


def limit_disk(groups: Sequence[Path], device: str, speed: int | None, *, where: str) -> bool:
    """speed: bytes a second, None: no limit. Whether there was anything to change. Limits end with their group."""
    files = {group / "io.max": f"{device} rbps={speed or 'max'} wbps={speed or 'max'}" for group in groups}
    for group in groups:  # the old hierarchy knows no parents: each group has limits of its own
        for folder in (group, *group.rglob("*/")):
            for way in ("read", "write"):
                files[folder / f"blkio.throttle.{way}_bps_device"] = f"{device} {speed or 0}"
    there = {path: said for path, said in files.items() if path.exists()}
    changed = any(speed or f"\n{device} " in f"\n{read(path)}" for path in there)
    for path, said in there.items():
        path.write_text(said)
    if speed is not None and not changed:
        raise DsopsError("this machine's control groups cannot slow a disk", where=where, mend="a guest: metal1")
    return changed


# --- memory ---


def hog_memory(lab: Lab, one: Server, words: Sequence[str]) -> str:
    """All but so many MiB are taken. The bound: the server's own control group, the guest's own memory."""
    left = get_number(words, 64, most=1 << 20)
    if one.is_metal:
        take = int(ask(lab, one, FREE_KB)) * 1024 - (left << 20)
        if take <= 0:
            raise DsopsError(f"fewer than {left} MiB are free anyway", where=one.name)
        ask(lab, one, TAKE % take)
        return f"{take >> 20} MiB are taken, {left} are left"
    bound_memory(find_groups(lab, one), HOG_MB + left, where=one.name)
    ask(lab, one, TAKE % (HOG_MB << 20))
    return f"its control group may take {left} MiB more and no bit beyond; its /proc/meminfo is this machine's"


def bound_memory(groups: Sequence[Path], megabytes: int, *, where: str) -> None:
    """A limit so much above what is in use and could not be given back."""
    for group in groups:
        for use, limit, cached in (
            ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file total_active_file"),
            ("memory.current", "memory.max", "inactive_file active_file"),
        ):
            if (group / limit).exists() and read(group / use).strip():
                stat = dict(line.split()[:2] for line in read(group / "memory.stat").splitlines())
                in_use = int(read(group / use)) - sum(int(stat.get(name, 0)) for name in cached.split())
                _write(group / limit, str(max(0, in_use) + (megabytes << 20)), where=where)
                return
    raise DsopsError("this machine's control groups cannot bound memory", where=where, mend="a guest: metal1")


def _write(limit: Path, text: str, *, where: str) -> None:
    try:
        limit.write_text(text)
    except OSError as error:  # the kernel could not take back so much of its cache
        raise DsopsError(f"{limit} does not take {text}: {error.strerror}", where=where, mend="again") from error


def free_memory(groups: Sequence[Path]) -> None:
    for group in groups:
        for limit, none in (("memory.limit_in_bytes", "-1"), ("memory.max", "max")):
            if (group / limit).exists():
                (group / limit).write_text(none)


# --- clock, kernel ---


def jump_clock(lab: Lab, one: Server, words: Sequence[str]) -> str:
    need_metal(lab, one, "it has no clock of its own: every server of the lab reads this machine's")
    seconds = get_number(words, 3600, most=10 * 365 * 86400)
    ask(lab, one, f"date -s @$(($(date +%s) + {seconds}))")
    return f"its clock has jumped by {seconds} s"


def flood_log(lab: Lab, one: Server, words: Sequence[str]) -> str:
    need_metal(lab, one, "it has no kernel of its own, and this machine's log is not for floods")
    many = get_number(words, 20_000, most=LINES)
    ask(lab, one, FLOOD % many, patience=300)
    return f"{many} lines are in its kernel's log"


def log_xids(lab: Lab, one: Server, words: Sequence[str]) -> str:
    """The driver's lines alone, where there is a kernel and no simulated GPU."""
    numbers = [get_number([word], 79, most=100_000) for word in words]
    for number in numbers:
        line = gpu_faults.render_xid("0000:10:00", number)
        ask(lab, one, f"echo {shlex.quote(f'<4>{line}')} >/dev/kmsg")
    return f"its kernel's log says Xid {', '.join(map(str, numbers))}"


# --- network ---


def cut_cable(lab: Lab, one: Server) -> str:
    cuts.pull_cable(lab, one)
    return "its cable is out" + ("; its card still says that the link is up" if one.is_metal else "")


def part(lab: Lab, one: Server, words: Sequence[str]) -> str:
    others = cuts.part(lab, one, list(words))
    return f"on {lab.bridge}, cut off from {', '.join(other.name for other in others)}; this machine still reaches it"


# --- mend ---


def mend(lab: Lab, one: Server) -> str:
    """End every fault of a server that runs; what was ended, in words."""
    done = ["it runs again"] if cgroups.is_frozen(lab, one) else []
    cgroups.thaw(lab, one)
    if cuts.plug_cable(lab, one):
        wait_answer(lab, one)
        done.append("its cable is in")
    done += ["it is cut off no more"] if cuts.join(lab, one) else []
    groups = [] if one.is_metal else find_groups(lab, one)
    if groups and limit_disk(groups, find_device(lab, one), None, where=one.name):
        done.append("its disk is quick")
    free_memory(groups)
    done += ask(lab, one, MEND).splitlines()
    done += _mend_guest(lab, one) if one.is_metal else []
    if one.gpus:
        gpus.mend(lab.home(one).gpus, one)
        gpus.install(lab, one)
        done.append("its GPUs are healthy")
    return "; ".join(done) or "nothing was broken"


def wait_answer(lab: Lab, one: Server, *, patience: float = 30) -> None:
    """A card that finds its link again gets its address only then."""
    until = time.monotonic() + patience
    while not guest.answers(lab, one):
        if time.monotonic() > until:
            raise DsopsError("does not answer", where=one.name, mend="look at it with `dsops lab status`, and again")
        time.sleep(0.2)


def _mend_guest(lab: Lab, one: Server) -> list[str]:
    done = []
    limits = "IOReadBandwidthMax= IOWriteBandwidthMax="
    ask(lab, one, f"for slice in system user; do systemctl set-property --runtime $slice.slice {limits}; done")
    if abs(float(ask(lab, one, "date +%s.%N")) - time.time()) > 5:
        ask(lab, one, f"date -s @{time.time():.3f}")
        done.append("its clock is right")
    return done
