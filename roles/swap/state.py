"""What a server says of its swap, and what follows from it: what is dsops's, what must be made, what is refused."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pyinfra.api import FactBase

from roles.swap.defaults import Swap

GIB = 1 << 30
# In the header of every swap file that dsops makes: so a file says itself whose it is.
LABEL = "dsops"
MARK = "# Written by dsops (role swap)."
UNITS = "/etc/systemd/system"
OWNER = "600 root root"
# Where the kernel takes a preallocated file (both by iomap, xfs since 4.18, ext4 since 5.10).
GOOD = ("ext4", "xfs")
WHY_NOT = {
    "btrfs": "it moves blocks, and a swap file there forbids snapshots of its subvolume",
    "overlay": "it has no blocks of its own",
    "tmpfs": "it lives in the very memory that swap relieves",
    "ramfs": "it lives in the very memory that swap relieves",
    "nfs": "paging over the network can wait for itself",
    "nfs4": "paging over the network can wait for itself",
    "zfs": "it allocates memory in order to write, and can wait for itself",
}
# What memory must keep after pages were read back, as a share of all of it.
MEMORY_RESERVE = 20
# The header's page, and what else the kernel does not count.
UNCOUNTED = 1 << 20


@dataclass(frozen=True)
class SwapFile:
    """A file: bytes by its name and on disk, its owner as `stat -c '%a %U %G'` prints it, and its header."""

    kind: str
    size: int
    allocated: int
    owner: str
    is_swap: bool
    label: str

    @property
    def is_ours(self) -> bool:
        return self.kind == "regular file" and self.is_swap and self.label == LABEL

    @property
    def has_holes(self) -> bool:
        return self.allocated < self.size


@dataclass(frozen=True)
class Active:
    """Swap in use: bytes in all, and bytes that hold something."""

    path: str
    size: int
    used: int


@dataclass(frozen=True)
class SwapState:
    """filesystem and free: of the folder that swap_file is in. ours: paths in units that dsops wrote."""

    filesystem: str = ""
    free: int = 0
    memory: int = 0
    available: int = 0
    enabled: bool = False
    reload: bool = False
    files: Mapping[str, SwapFile] = field(default_factory=dict)
    active: Mapping[str, Active] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    fstab: tuple[str, ...] = ()

    def find_ours(self, path: str) -> SwapFile | None:
        """The file at `path` when dsops made it."""
        file = self.files.get(path)
        return file if file and file.is_ours else None

    def find_foreign(self, path: str) -> list[Active]:
        """Swap in use that dsops did not make."""
        ours = {*self.ours, new_path(path), *(known for known in self.files if self.find_ours(known))}
        return [one for one in self.active.values() if one.path not in ours]


def new_path(path: str) -> str:
    """Where a swap file is made before it takes its place."""
    return f"{path}.dsops-new"


def unit_name(path: str) -> str:
    """The unit that systemd wants for a swap file. Paths are checked before: they hold nothing else to escape."""
    return path.strip("/").replace("-", "\\x2d").replace("/", "-") + ".swap"


class SwapFact(FactBase[SwapState]):
    """All that the role's operations look at, in one command."""

    default = SwapState

    def command(self, path: str) -> str:
        folder, unit = shlex.quote(str(PurePosixPath(path).parent)), shlex.quote(unit_name(path))
        ours = f"{shlex.quote(path)} {shlex.quote(new_path(path))}"
        return (
            f"echo filesystem=$(findmnt -n -o FSTYPE -T {folder} 2>/dev/null);"
            f" echo free=$(df -B1 --output=avail {folder} 2>/dev/null | tail -n 1);"
            " sed -n 's/^MemTotal: *\\([0-9]*\\) kB/memory=\\1/p;s/^MemAvailable: *\\([0-9]*\\) kB/available=\\1/p'"
            " /proc/meminfo;"
            f" echo enabled=$(systemctl is-enabled {unit} 2>/dev/null);"
            f" echo reload=$(systemctl show -p NeedDaemonReload --value {unit} 2>/dev/null);"
            " swapon --show=USED,SIZE,NAME --bytes --noheadings --raw | sed 's/^/active=/';"
            ' awk \'$1 !~ /^#/ && $3 == "swap" {print "fstab=" $1}\' /etc/fstab 2>/dev/null;'
            f" ours=$(grep -lsF {shlex.quote(MARK)} {UNITS}/*.swap | tr '\\n' '\\0' | xargs -0r sed -n 's/^What=//p');"
            f" for f in $ours; do echo ours=$f; done; for f in {ours} $ours; do"
            ' [ -e "$f" ] || [ -L "$f" ] || continue;'
            ' echo "file=$(stat -c \'%F|%s|%b|%B|%a %U %G\' "$f")'
            '|$(blkid -p -o value -s TYPE "$f" 2>/dev/null)|$(blkid -p -o value -s LABEL "$f" 2>/dev/null)|$f";'
            " done; true"
        )

    def process(self, output: list[str]) -> SwapState:
        rows = [line.partition("=")[::2] for line in output]
        one = dict(rows)
        return SwapState(
            filesystem=one.get("filesystem", ""),
            free=int(one.get("free") or 0),
            memory=int(one.get("memory") or 0) << 10,
            available=int(one.get("available") or 0) << 10,
            enabled=one.get("enabled") == "enabled",
            reload=one.get("reload") == "yes",
            files=dict(_read_file(value) for key, value in rows if key == "file"),
            active={found.path: found for found in (_read_active(value) for key, value in rows if key == "active")},
            ours=tuple(value for key, value in rows if key == "ours"),
            fstab=tuple(value for key, value in rows if key == "fstab"),
        )


def _read_file(value: str) -> tuple[str, SwapFile]:
    kind, size, blocks, unit, owner, type_, label, path = value.split("|", 7)
    return path, SwapFile(kind, int(size), int(blocks) * int(unit), owner, type_ == "swap", label)


def _read_active(value: str) -> Active:
    used, size, path = value.split(" ", 2)
    return Active(path, int(size), int(used))


def want_new(said: Swap, state: SwapState) -> bool:
    """Whether the file must be made (anew): not there, of another size, with holes, or used only in part."""
    file = state.find_ours(said.swap_file)
    if file is None or file.size != said.swap_gb * GIB or file.has_holes:
        return True
    active = state.active.get(said.swap_file)
    return active is not None and file.size - active.size > UNCOUNTED


def find_unwanted(said: Swap, state: SwapState) -> list[str]:
    """Paths of swap files that dsops made and that the inventory no longer asks for."""
    known = {*state.ours, *(path for path in state.files if state.find_ours(path))}
    return sorted(known - ({said.swap_file, new_path(said.swap_file)} if said.swap_gb else set()))


def find_refusal(said: Swap, state: SwapState) -> str:
    """Why nothing may be changed, with figures; empty when all is well."""
    wanted = (_find_bad_place(said, state) or _find_no_room(said, state)) if said.swap_gb else ""
    return wanted or _find_fstab(said, state) or _find_no_memory(said, state)


def _find_bad_place(said: Swap, state: SwapState) -> str:
    path, file = said.swap_file, state.files.get(said.swap_file)
    if not state.filesystem:
        return f"{path}: its folder is not there; name another swap_file"
    if state.filesystem not in GOOD:
        why = WHY_NOT.get(state.filesystem, "not tried")
        return f"{path}: no swap file on {state.filesystem} ({why}); name a swap_file on {' or '.join(GOOD)}"
    if file is None or file.is_ours:
        return ""
    if file.kind != "regular file":
        return f"{path} is a {file.kind}; name another swap_file"
    if file.is_swap and not file.has_holes:
        return (
            f"{path} is a swap file that dsops did not make; remove it, name another swap_file,"
            f" or hand it over: swaplabel -L {LABEL} {path}"
        )
    holes = f", with holes: {gib(file.allocated)} of {gib(file.size)} on disk" if file.has_holes else ""
    return f"{path} is there, and dsops did not make it{holes}; remove it, or name another swap_file"


def _find_no_room(said: Swap, state: SwapState) -> str:
    if not want_new(said, state):
        return ""
    left = state.files.get(new_path(said.swap_file))
    free = state.free + (left.allocated if left else 0)
    wanted, reserve = said.swap_gb * GIB, said.swap_disk_reserve_gb * GIB
    if free >= wanted + reserve:
        return ""
    old = " (the old file goes only when the new one is there)" if state.find_ours(said.swap_file) else ""
    return (
        f"{said.swap_file}: {gib(wanted)} do not fit{old}: {gib(free)} are free and {gib(reserve)} must stay so;"
        " make room, or lower swap_gb or swap_disk_reserve_gb"
    )


def _find_fstab(said: Swap, state: SwapState) -> str:
    named = [path for path in find_unwanted(said, state) if path in state.fstab]
    if not named:
        return ""
    return f"/etc/fstab names {named[0]}: the next boot would miss it; remove that line first"


def _find_no_memory(said: Swap, state: SwapState) -> str:
    leaves = set(find_unwanted(said, state))
    if said.swap_gb and state.find_ours(said.swap_file) and want_new(said, state):
        leaves.add(said.swap_file)
    used = sum(one.used for path, one in state.active.items() if path in leaves)
    spare = max(0, state.available - state.memory // MEMORY_RESERVE)
    if used <= spare:
        return ""
    return (
        f"{gib(used)} are paged out to {', '.join(sorted(leaves))} and would have to come back: {gib(spare)} of memory"
        f" can take them ({gib(state.available)} are available, {100 // MEMORY_RESERVE} % of {gib(state.memory)} must"
        " stay free);"
        " drain the node and stop its engine first"
    )


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB"
