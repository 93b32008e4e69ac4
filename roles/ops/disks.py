"""A server's disks, read in one command: medium, size, serial, and all that shows that something lies on them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase

# All of them are known to the util-linux of Ubuntu 22.04 (2.37) and later.
COLUMNS = "NAME,PATH,TYPE,SIZE,ROTA,TRAN,MODEL,SERIAL,WWN,RM,RO,FSTYPE,LABEL,UUID,MOUNTPOINTS,RA,SCHED"
SIGNATURES = "=signatures"
# Of what lsblk calls a disk. Memory (zram) and disks of other machines (nbd, rbd, drbd) are none of this server's.
NAME = re.compile(r"sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+")


@dataclass(frozen=True)
class Signature:
    """What stands at the beginning (or the end) of a device: a file system, a partition table, a member of an array."""

    kind: str
    label: str = ""
    uuid: str = ""

    @property
    def text(self) -> str:
        """As people say it, such as `ext4 'data'`."""
        return f"{self.kind} {self.label!r}" if self.label else self.kind


@dataclass(frozen=True)
class Volume:
    """What lies on a disk and is a block device too: a partition, an array, a logical volume.

    kind: as lsblk says it (part, raid0, lvm, crypt, mpath ...); mounts: where it is mounted, `[SWAP]` for swap.
    """

    path: str
    kind: str
    holds: Signature | None = None
    mounts: tuple[str, ...] = ()
    volumes: tuple["Volume", ...] = ()

    def walk(self) -> Iterator["Volume"]:
        """It and everything on it."""
        yield self
        for volume in self.volumes:
            yield from volume.walk()


@dataclass(frozen=True)
class Disk:
    """A whole disk.

    size: bytes. transport: nvme, sata, sas, usb, virtio ..., empty behind many RAID controllers.
    signatures: of the whole disk, read from the disk itself; None when it could not be read.
    """

    path: str
    size: int
    rotational: bool = False
    transport: str = ""
    model: str = ""
    serial: str = ""
    wwn: str = ""
    removable: bool = False
    read_only: bool = False
    signatures: tuple[Signature, ...] | None = ()
    mounts: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    read_ahead_kb: int = 0
    scheduler: str = ""

    @property
    def medium(self) -> str:
        """nvme, ssd or hdd."""
        if self.transport == "nvme":
            return "nvme"
        return "hdd" if self.rotational else "ssd"

    @property
    def names(self) -> tuple[str, ...]:
        """By which an inventory may name it: its serial, and its WWN."""
        return tuple(name for name in (self.serial, self.wwn) if name)

    @property
    def gigabytes(self) -> int:
        """As it is written on the disk: 10^9 bytes."""
        return self.size // 10**9

    @property
    def text(self) -> str:
        """One line for people."""
        names = f"serial {self.serial}" if self.serial else f"WWN {self.wwn}" if self.wwn else "no serial"
        words = (self.path, f"{self.gigabytes} GB {self.medium}", self.model, names)
        return ", ".join(word for word in words if word)

    def walk(self) -> Iterator[Volume]:
        """Everything that is on it."""
        for volume in self.volumes:
            yield from volume.walk()


class Disks(FactBase[tuple[Disk, ...]]):
    """Every disk of the server. CD drives, loop devices, memory and disks of other machines are none."""

    default = tuple

    def command(self) -> str:
        names = "lsblk --nodeps --noheadings --paths --raw --output NAME,TYPE | sed -n 's/ disk$//p'"
        # lsblk says what udev remembers; what really stands on a disk is read from it, without a change.
        look = f'echo "{SIGNATURES} $disk"; wipefs --no-act --json --output TYPE,LABEL,UUID "$disk" 2>/dev/null'
        return (
            f"lsblk --json --bytes --output {COLUMNS} && {names} | while read -r disk; do {look} || echo unread; done"
        )

    def process(self, output: list[str]) -> tuple[Disk, ...]:
        return parse_disks("\n".join(output))


def parse_disks(text: str) -> tuple[Disk, ...]:
    """From what the fact's command prints."""
    listing, *parts = text.split(f"\n{SIGNATURES} ")
    signatures = dict(_read_signatures(part) for part in parts)
    rows = [row for row in json.loads(listing)["blockdevices"] if row["type"] == "disk" and NAME.fullmatch(row["name"])]
    found = [_read_disk(row, signatures.get(row["path"])) for row in rows]
    return tuple(sorted(found, key=lambda disk: disk.path))


def _read_signatures(part: str) -> tuple[str, tuple[Signature, ...] | None]:
    """(disk, what it holds); None for one that could not be read: nobody knows that it is empty."""
    path, _, said = part.partition("\n")
    if said.strip().endswith("unread"):
        return path, None
    rows = json.loads(said)["signatures"] if said.strip() else []
    return path, tuple(Signature(_text(row["type"]), _text(row["label"]), _text(row["uuid"])) for row in rows)


def _read_disk(row: Mapping[str, Any], signatures: tuple[Signature, ...] | None) -> Disk:
    return Disk(
        path=row["path"],
        size=int(row["size"] or 0),
        rotational=_yes(row["rota"]),
        transport=_text(row["tran"]),
        model=_text(row["model"]),
        serial=_text(row["serial"]),
        wwn=_text(row["wwn"]),
        removable=_yes(row["rm"]),
        read_only=_yes(row["ro"]),
        signatures=signatures,
        mounts=_mounts(row),
        volumes=_volumes(row.get("children", ())),
        read_ahead_kb=int(row["ra"] or 0),
        scheduler=_text(row["sched"]),
    )


def _volumes(rows: Sequence[Mapping[str, Any]]) -> tuple[Volume, ...]:
    return tuple(
        Volume(
            path=row["path"],
            kind=row["type"],
            holds=Signature(row["fstype"], _text(row["label"]), _text(row["uuid"])) if row["fstype"] else None,
            mounts=_mounts(row),
            volumes=_volumes(row.get("children", ())),
        )
        for row in rows
    )


def _mounts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(place for place in row["mountpoints"] or () if place)


def _text(value: object) -> str:
    return str(value or "").strip()


def _yes(value: object) -> bool:
    """Older lsblk writes 1 where newer ones write true."""
    return value in {True, "1"}  # and 1, which equals True
