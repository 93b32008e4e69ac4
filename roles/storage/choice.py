"""Which disks a tier takes. Pure: what the server has and what the inventory wants in, a choice or its refusals out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from roles.ops.disks import Disk, Signature, Volume
from roles.storage.defaults import Storage

MEDIA = ("nvme", "ssd", "hdd")
# A file system bears this label until all is in it; from then on its tier's own. So the label is the stamp.
MAKING = "dsops-making"
# How a disk is reached that sits in this server. Behind many RAID controllers lsblk names nothing.
HERE = ("", "nvme", "sata", "ata", "sas", "scsi", "spi", "virtio")
# Held by a driver that does not show as a volume on the disk; nothing here can see whether it is at work.
HIDDEN = ("zfs_member", "ceph_bluestore", "drbd", "VMFS_volume_member")


@dataclass(frozen=True)
class Tier:
    """A tier: where it is mounted, and the label of its file system."""

    name: str
    place: str

    @property
    def label(self) -> str:
        """Of its file system, once it is whole."""
        return f"dsops-{self.name}"


HOT = Tier("hot", "/var/lib/dsops")
COLD = Tier("cold", "/var/lib/dsops-cold")
TIERS = (COLD, HOT)


@dataclass(frozen=True)
class Wish:
    """What the inventory wants of one tier.

    count: 0 for the only one that fits. several: spread over all of them (RAID0).
    uuid: of the file system that this server's mount unit names; empty while there is none.
    """

    tier: Tier
    medium: str
    count: int = 0
    min_gb: int = 0
    serials: tuple[str, ...] = ()
    several: bool = False
    uuid: str = ""


@dataclass(frozen=True)
class Wanted:
    """What the inventory wants of a server's disks, and what the server has of it already."""

    wishes: tuple[Wish, ...] = ()
    erase: tuple[str, ...] = ()
    # Of the file systems that this server's mount units name, whether they are wanted or not.
    uuids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Taken:
    """The disks of a tier.

    label: of its file system, when that is there already. erase: paths of those whose data goes.
    """

    tier: Tier
    disks: tuple[Disk, ...]
    label: str = ""
    erase: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The disks of every tier that is wanted."""

    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Why a tier cannot have its disks."""

    what: str
    mend: str


def read_wanted(said: Storage, uuids: Mapping[str, str]) -> Wanted:
    """From the inventory's keys. uuids: tier -> UUID in this server's mount unit, where it has one."""
    hot = Wish(
        HOT,
        said.storage_hot,
        said.storage_hot_count,
        said.storage_hot_min_gb,
        said.storage_hot_serials,
        said.storage_raid0,
        uuids.get("hot", ""),
    )
    cold = Wish(
        COLD,
        said.storage_cold,
        said.storage_cold_count,
        said.storage_cold_min_gb,
        said.storage_cold_serials,
        uuid=uuids.get("cold", ""),
    )
    wishes = tuple(wish for wish in (cold, hot) if wish.medium != "none")
    return Wanted(wishes, said.storage_erase_serials, frozenset(uuids.values()))


def check_keys(said: Storage) -> list[Problem]:
    """What contradicts itself in the inventory, whatever the disks are."""
    found = []
    for name, medium, count, serials in (
        ("hot", said.storage_hot, said.storage_hot_count, said.storage_hot_serials),
        ("cold", said.storage_cold, said.storage_cold_count, said.storage_cold_serials),
    ):
        key = f"storage_{name}"
        if medium not in {"none", *MEDIA}:
            found.append(Problem(f"{key} = {medium!r} is no medium", f"one of none, {', '.join(MEDIA)}"))
        if medium == "none" and (serials or count):
            found.append(Problem(f"{key} is none, yet disks are named or counted for it", f"say its medium in {key}"))
        if count < 0:
            found.append(Problem(f"{key}_count = {count}", "0 or more"))
        if serials and count not in {0, len(serials)}:
            found.append(Problem(f"{key}_count = {count}, but {len(serials)} serials", f"leave {key}_count out"))
        if max(count, len(serials)) > 1 and not (name == "hot" and said.storage_raid0):
            mend = "one disk for each tier; only the hot one may be spread over several, by storage_raid0"
            found.append(Problem(f"{key} asks for {max(count, len(serials))} disks", mend))
    if said.storage_raid0 and "none" in {said.storage_hot, said.storage_cold}:
        mend = "say storage_cold, or leave storage_raid0 out: with one of its disks gone all of a RAID0 is gone"
        found.append(Problem("storage_raid0 without a hot and a cold tier", mend))
    if said.storage_raid0 and 1 in {said.storage_hot_count, len(said.storage_hot_serials)}:
        found.append(Problem("storage_raid0 with one disk", "name or count two or more, or leave storage_raid0 out"))
    if both := sorted(set(said.storage_hot_serials) & set(said.storage_cold_serials)):
        found.append(Problem(f"{', '.join(both)} is named for both tiers", "name it for one of them"))
    return found


def choose_disks(disks: Sequence[Disk], wanted: Wanted) -> Choice | list[Problem]:
    """The disks of every tier that is wanted, or every reason why not."""
    seen = _Seen(tuple(sorted(disks, key=lambda disk: disk.path)), wanted)
    taken: list[Taken] = []
    problems: list[Problem] = []
    for wish in wanted.wishes:
        found = seen.find(wish, taken)
        taken += [found] if isinstance(found, Taken) else []
        problems += found if isinstance(found, list) else []
    return problems or Choice(tuple(taken))


def find_reasons(disk: Disk, disks: Sequence[Disk], wanted: Wanted) -> tuple[str, ...]:
    """Why a disk is not free to be taken, whoever would want it; empty when it is."""
    seen = _Seen(tuple(sorted(disks, key=lambda disk: disk.path)), wanted)
    return (*seen.find_use(disk), *seen.find_data(disk))


def find_file_system(disk: Disk) -> tuple[str, Signature | None]:
    """(device, what it holds): of the disk itself, or of the array that it is in."""
    for volume in disk.volumes:
        if volume.kind == "raid0":
            return volume.path, volume.holds
    return disk.path, disk.signatures[0] if disk.signatures else None


def find_array(disk: Disk) -> Volume | None:
    """The array of ours that a disk is in, by the name that its members bear."""
    members = [one for one in disk.signatures or () if one.kind == "linux_raid_member"]
    if any(one.label.rpartition(":")[2] == HOT.label for one in members):
        return next((volume for volume in disk.volumes if volume.kind == "raid0"), None)
    return None


def is_half_made(disk: Disk) -> bool:
    """Whether what is on it is a tier that was cut while it was made: nothing on it counts yet."""
    if any(volume.mounts for volume in disk.walk()) or disk.mounts:
        return False
    if array := find_array(disk):
        return not array.volumes and (array.holds is None or array.holds.label == MAKING)
    return [one.label for one in disk.signatures or ()] == [MAKING] and not disk.volumes


@dataclass(frozen=True)
class _Seen:
    """All disks of a server beside each other."""

    disks: tuple[Disk, ...]
    wanted: Wanted
    uuids: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Notes the file systems that are mounted: another disk with one of them is part of the same."""
        object.__setattr__(self, "uuids", frozenset(_walk_mounted(self.disks)))

    def find(self, wish: Wish, taken: Sequence[Taken]) -> Taken | list[Problem]:
        if wish.uuid:
            return self._find_again(wish)
        others = {disk.path for one in taken for disk in one.disks} | self._find_named_for_another(wish)
        return self._find_named(wish) if wish.serials else self._find_fitting(wish, others)

    def find_use(self, disk: Disk) -> tuple[str, ...]:
        """Why a disk is never touched, whatever the inventory says."""
        found = [_say_mount(place) for place in disk.mounts]
        found += [f"{v.path} on it is {_say_mount(place)}" for v in disk.walk() for place in v.mounts]
        half_made = is_half_made(disk)
        for volume in disk.walk():
            if volume.kind != "part" and not volume.mounts and not half_made:
                found.append(f"{volume.path} ({volume.kind}) is active on it")
        if not found and self._holds(disk, self.uuids):
            found.append("part of a file system that is mounted")
        if not found and self._holds(disk, self.wanted.uuids):
            found.append("a tier of this server")
        found += [f"{one.kind}: whether it is in use cannot be seen" for one in _walk_held(disk) if one.kind in HIDDEN]
        if disk.signatures is None:
            found.append("cannot be read")
        if disk.transport not in HERE:
            found.append(f"not a disk of this server's own ({disk.transport})")
        found += [word for word, is_so in (("removable", disk.removable), ("read-only", disk.read_only)) if is_so]
        if not disk.size:
            found.append("has no medium")
        if twins := [other.path for other in self.disks if other.path != disk.path and _is_same(disk, other)]:
            found.append(f"the same disk as {', '.join(twins)}, by another path")
        return tuple(found)

    def find_data(self, disk: Disk) -> tuple[str, ...]:
        """What would be lost; empty for a disk that holds nothing, and for one that may be made anew."""
        if is_half_made(disk):
            return ()
        parts = [f"{v.path}: {v.holds.text if v.holds else v.kind}" for v in disk.volumes]
        return tuple(dict.fromkeys(f"holds {text}" for text in (*(one.text for one in disk.signatures or ()), *parts)))

    def may_erase(self, disk: Disk) -> bool:
        return bool(set(disk.names) & set(self.wanted.erase))

    def _holds(self, disk: Disk, uuids: frozenset[str]) -> bool:
        return any(one.uuid in uuids for one in _walk_held(disk) if one.uuid)

    def _find_again(self, wish: Wish) -> Taken | list[Problem]:
        """The disks on which the tier lies already. They are never changed for others."""
        holders = [(disk, *find_file_system(disk)) for disk in self.disks]
        found = [(disk, device, held) for disk, device, held in holders if held and held.uuid == wish.uuid]
        tier = wish.tier
        if not found:
            mend = f"bring its disk back; or, given up: chattr -i {tier.place}; rm /etc/systemd/system/{unit_of(tier)}"
            return [Problem(f"the {tier.name} tier's file system {wish.uuid} is on none of the disks", mend)]
        disks, (_, _, held) = tuple(disk for disk, _, _ in found), found[0]
        if len({path for _, path, _ in found}) > 1:
            mend = "take the copy out, or the second path away"
            return [Problem(f"the {tier.name} tier's file system {wish.uuid} is there more than once", mend)]
        names = {name for disk in disks for name in disk.names}
        unfit = [f"{disk.path}: {why}" for disk in disks if (why := _find_unfit(disk, wish))]
        unfit += [f"{serial} is not among them" for serial in wish.serials if serial not in names]
        if len(disks) != (len(wish.serials) or wish.count or len(disks)) or (len(disks) > 1) != wish.several:
            unfit.append(f"it lies on {len(disks)}")
        if unfit:
            mend = f"say in the inventory what is there; a {tier.name} tier that is in use is never moved by itself"
            return [Problem(f"the {tier.name} tier lies on disks that are not those wanted ({'; '.join(unfit)})", mend)]
        return Taken(tier, disks, label=held.label)

    def _find_named(self, wish: Wish) -> Taken | list[Problem]:
        found: list[Disk] = []
        problems: list[Problem] = []
        for serial in wish.serials:
            named = [disk for disk in self.disks if serial in disk.names]
            why = self._judge_named(serial, named, wish)
            problems += [why] if why else []
            found += named
        return problems or self._take(wish, found)

    def _judge_named(self, serial: str, named: Sequence[Disk], wish: Wish) -> Problem | None:
        where = f"disk {serial} of the {wish.tier.name} tier"
        if not named:
            return Problem(f"{where} is not in this server", "mend the serial, or put the disk in")
        if len(named) > 1:
            return Problem(f"{where} is there {len(named)} times", "name it by its WWN, or take the second path away")
        (disk,) = named
        if why := _find_unfit(disk, wish):
            return Problem(f"{where} is {why}", f"mend storage_{wish.tier.name} or the serial")
        if use := self.find_use(disk):
            return Problem(f"{where} is not free: {'; '.join(use)}", "name another; what is in use is never touched")
        if (data := self.find_data(disk)) and not self.may_erase(disk):
            mend = f"name another, or add {serial} to storage_erase_serials: then all of it is destroyed"
            return Problem(f"{where} has data: {'; '.join(data)}", mend)
        return None

    def _find_fitting(self, wish: Wish, others: set[str]) -> Taken | list[Problem]:
        fits = [disk for disk in self.disks if disk.path not in others and self._is_free(disk, wish)]
        asked = _say_asked(wish)
        least = max(wish.count, 2 if wish.several else 1)
        if len(fits) < least:
            mend = "put it in, or mend the inventory; one with data is taken only by storage_erase_serials"
            return [Problem(f"{asked}: {len(fits) or 'none'} is free and fits", mend)]
        begun = [disk for disk in fits if _rank(disk, wish) == 0]
        if not wish.count and not wish.several and len(fits) > 1 and len(begun) != 1:
            mend = f"name one in storage_{wish.tier.name}_serials, or say storage_{wish.tier.name}_count"
            return [Problem(f"{asked}: {len(fits)} are free and fit, and nothing says which", mend)]
        ranked = sorted(fits, key=lambda disk: (_rank(disk, wish), disk.serial, disk.wwn, disk.path))
        return self._take(wish, ranked[: wish.count or (len(ranked) if wish.several else 1)])

    def _is_free(self, disk: Disk, wish: Wish) -> bool:
        if _find_unfit(disk, wish) or self.find_use(disk):
            return False
        return not self.find_data(disk) or self.may_erase(disk)

    def _take(self, wish: Wish, disks: Sequence[Disk]) -> Taken:
        ordered = tuple(sorted(disks, key=lambda disk: disk.path))
        return Taken(wish.tier, ordered, erase=tuple(disk.path for disk in ordered if self.find_data(disk)))

    def _find_named_for_another(self, wish: Wish) -> set[str]:
        others = [other for other in self.wanted.wishes if other.tier != wish.tier]
        names = {serial for other in others for serial in other.serials}
        return {disk.path for disk in self.disks if set(disk.names) & names}


def unit_of(tier: Tier) -> str:
    """The tier's mount unit, as systemd names it by its place."""
    return tier.place.strip("/").replace("-", r"\x2d").replace("/", "-") + ".mount"


def render_problems(problems: Sequence[Problem], disks: Sequence[Disk], wanted: Wanted) -> str:
    """All that an operator needs to mend it: each refusal, then every disk and why it was not free."""
    lines = ["the disks are not as the inventory wants them; nothing was changed on this server"]
    for problem in problems:
        lines += [f"  {problem.what}", f"    mend: {problem.mend}"]
    lines.append("  its disks:")
    for disk in disks:
        reasons = find_reasons(disk, disks, wanted)
        lines.append(f"    {disk.text}: {'; '.join(reasons) if reasons else 'free'}")
    return "\n".join(lines if disks else [*lines, "    none"])


def _walk_mounted(disks: Sequence[Disk]) -> Iterator[str]:
    for disk in disks:
        if disk.mounts:
            yield from (one.uuid for one in disk.signatures or () if one.uuid)
        yield from (v.holds.uuid for v in disk.walk() if v.mounts and v.holds and v.holds.uuid)


def _walk_held(disk: Disk) -> Iterator[Signature]:
    yield from disk.signatures or ()
    yield from (volume.holds for volume in disk.walk() if volume.holds)


def _is_same(one: Disk, other: Disk) -> bool:
    """Two paths to one disk. Two namespaces of one NVMe have its serial and each a WWN of its own."""
    if one.wwn and other.wwn:
        return one.wwn == other.wwn
    return bool(one.serial) and one.serial == other.serial


def _find_unfit(disk: Disk, wish: Wish) -> str:
    if disk.medium != wish.medium:
        return f"{disk.medium}, not {wish.medium}"
    return f"smaller than {wish.min_gb} GB" if disk.size < wish.min_gb * 10**9 else ""


def _rank(disk: Disk, wish: Wish) -> int:
    """What was begun for such a tier comes first, what was begun for the other one last."""
    if not is_half_made(disk):
        return 1
    return 0 if bool(find_array(disk)) == wish.several else 2


def _say_asked(wish: Wish) -> str:
    number = f"{wish.count} x " if wish.count else ""
    size = f" of {wish.min_gb} GB or more" if wish.min_gb else ""
    return f"storage_{wish.tier.name} asks for {number}{wish.medium}{size}"


def _say_mount(place: str) -> str:
    return "swap" if place == "[SWAP]" else f"mounted at {place}"
