"""Runs on a server, from its standard input: makes a tier's file system, fills it, proves it, mounts it at its place.

A run that was cut at any point is made good by the next one, for what is done is told by the disks alone:
1. A file system bears the label `dsops-making` while it is made and filled. Whoever finds one that no mount unit
   names may make it anew.
2. The mount unit's file is written by one rename once the copy is proven. From then on the next boot mounts it.
3. The label becomes the tier's own. Then what lies under the mount point goes, and nothing can be written there.
It runs in a mount namespace of its own: what it mounts to look and to fill goes with it, however it ends.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

MAKING = "dsops-making"
SET_LABEL = 0x41009432  # FS_IOC_SETFSLABEL
GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
BLOCK = 1 << 20
PATIENCE = 10  # seconds: what a killed run had mounted is let go a moment later
SPARE = 256 << 20  # what xfs takes for itself, at least


class RefusedError(Exception):
    """It cannot be done; nothing that was there is lost."""


def main(said: dict[str, Any], alive: int | None = None) -> None:
    """said: see `render_spec` in roles/storage/tiers.py. alive: a file that gets a dot a minute, so that ssh waits."""
    if alive is not None:
        Thread(target=_tell_alive, args=(alive,), daemon=True).start()
    run = Path(said["run"])
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Tier(said).make()


class Tier:
    """One tier of this server.

    place: where it belongs. server: the root of the server's own mount namespace, which systemd mounts in.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        self.label: str = said["label"]
        self.place = Path(said["place"])
        self.disks: list[dict[str, Any]] = said["disks"]
        self.is_array: bool = said["array"]
        self.unit: str = said["unit"]
        self.file = Path(said["units"]) / said["unit"]
        self.text: str = said["text"]
        self.users: list[str] = said["users"]
        self.server = Path(f"/proc/{said['init']}/root")
        self.mounts = Path(f"/proc/{said['init']}/mountinfo")
        self.staging = Path(said["run"]) / f"{self.label}.staging"
        self.stopped = Path(said["run"]) / f"{self.label}.stopped"

    def make(self) -> None:
        """Does what is left to do."""
        if self.read_uuid():
            self.mount()
        else:
            self.fill()
        self.stamp()
        self.bury()
        self.start_users()

    def read_uuid(self) -> str:
        """Of the file system that the mount unit names; empty while there is none."""
        found = (
            re.search(r"^What=/dev/disk/by-uuid/(\S+)$", self.file.read_text(), re.M) if self.file.exists() else None
        )
        return found[1] if found else ""

    def fill(self) -> None:
        """A new file system with all that lies at its place, mounted there."""
        self.check_place()
        needed = _measure(self.place)
        room = sum(disk["size"] for disk in self.disks)
        if needed + needed // 10 + SPARE > room:
            raise RefusedError(f"{self.place} holds {_gb(needed)}; its new file system would have {_gb(room)}")
        say(f"the {self.label} tier: {', '.join(disk['path'] for disk in self.disks)}; {_gb(needed)} to copy")
        device = self.make_file_system()
        uuid = self.read(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device])
        try:
            if needed:
                self.stop_users()
                self.copy(device)
            self.commit(uuid)
            self.mount()
        except BaseException:
            self.forget(uuid)
            self.start_users()
            raise

    def check_place(self) -> None:
        """Nothing else may be mounted there, or below."""
        if self.place.is_symlink():
            raise RefusedError(f"{self.place} is a link")
        if others := [place for place, *_ in self.walk_mounts() if _is_below(place, self.place)]:
            raise RefusedError(f"{', '.join(others)} is mounted, and not by dsops")

    def make_file_system(self) -> str:
        """The device with an empty file system that is labelled as not whole."""
        for disk in self.disks:
            self.check_identity(disk)
            self.stop_array(disk)
            self.check_free(disk)
        for disk in self.disks:
            self.erase(disk)
        device = self.make_array() if self.is_array else self.disks[0]["path"]
        self.run(["mkfs.xfs", "-q", "-f", "-K", "-L", MAKING, device])
        self.settle(device)
        return str(device)

    def check_identity(self, disk: dict[str, Any]) -> None:
        """Names of devices may have changed since they were looked at; serials do not."""
        words = ["lsblk", "--nodeps", "--bytes", "--json", "--output", "SIZE,SERIAL,WWN", disk["path"]]
        (found,) = json.loads(self.read(words))["blockdevices"]
        names = [(found[key] or "").strip() for key in ("serial", "wwn")]
        if int(found["size"]) != disk["size"] or [name for name in names if name] != disk["names"]:
            raise RefusedError(f"{disk['path']} is another disk now ({' '.join(names)}); deploy again")

    def check_free(self, disk: dict[str, Any]) -> None:
        """The kernel's word that nobody uses it, and the disk's own that nothing is on it (or that it may go)."""
        until = time.monotonic() + PATIENCE
        while not _is_unused(disk["path"]):
            if time.monotonic() > until:
                raise RefusedError(f"{disk['path']} is in use")
            time.sleep(0.2)
        labels = self.read_labels(disk["path"])
        if not disk["erase"] and any(label != MAKING for label in labels):
            raise RefusedError(f"{disk['path']} is not empty any more")

    def read_labels(self, device: str) -> list[str]:
        """The label of everything that is recognised on a device."""
        said = self.read(["wipefs", "--no-act", "--json", "--output", "TYPE,LABEL", device])
        rows = json.loads(said)["signatures"] if said else []
        return [row["label"] or "" for row in rows]

    def stop_array(self, disk: dict[str, Any]) -> None:
        """Ends an array that was cut while it was made."""
        for holder in sorted(Path(f"/sys/class/block/{Path(disk['path']).resolve().name}/holders").glob("md*")):
            array = f"/dev/{holder.name}"
            if any(label != MAKING for label in self.read_labels(array)):
                raise RefusedError(f"{disk['path']} is in {array}, which is in use")
            members = [f"/dev/{path.name}" for path in (holder / "slaves").iterdir()]
            self.run(["mdadm", "--stop", array])
            self.run(["mdadm", "--zero-superblock", *members])

    def erase(self, disk: dict[str, Any]) -> None:
        """Of a disk whose data may be destroyed: all by which it is known."""
        if disk["erase"]:
            parts = self.read(["lsblk", "--noheadings", "--raw", "--paths", "--output", "NAME", disk["path"]]).split()
            for part in reversed(parts):
                self.run(["wipefs", "--all", "--force", "--quiet", part])
            self.settle(disk["path"])

    def make_array(self) -> str:
        """RAID0 over all its disks."""
        name = f"/dev/md/{self.label}"
        paths = [disk["path"] for disk in self.disks]
        words = ["mdadm", "--create", name, "--run", "--level=0", f"--raid-devices={len(paths)}"]
        self.run([*words, "--metadata=1.2", f"--name={self.label}", *paths])
        self.settle(name)
        return str(Path(name).resolve())

    def copy(self, device: str) -> None:
        """All of the place, with its hard links, compared byte by byte with what the disk gives back."""
        # It must not go on without this program: it would keep the disk.
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "cp",
            "--archive",
            "--sparse=never",
            "--one-file-system",
            "--no-target-directory",
        ]
        with self.staged(device):
            self.run([*words, str(self.place), str(self.staging)])
            self.run(["sync", "--file-system", str(self.staging)])
        with self.staged(device, "ro"):  # mounted anew: nothing of it is in memory any more
            prove(self.place, self.staging)
        say("copied and proven")

    def staged(self, device: str, options: str = "rw") -> "_Mounted":
        """The file system, mounted where only this program sees it."""
        self.staging.mkdir(mode=0o700, exist_ok=True)
        return _Mounted(self, device, options)

    def commit(self, uuid: str) -> None:
        """From here on the copy is what counts: the next boot mounts it."""
        new = self.file.with_name(f"{self.file.name}.dsops-new")
        with new.open("w") as stream:
            stream.write(self.text.replace("@UUID@", uuid))
            stream.flush()
            os.fsync(stream.fileno())
        new.chmod(0o644)
        wants = self.file.parent / "local-fs.target.wants"  # first: with a unit that is not there it means nothing
        wants.mkdir(mode=0o755, exist_ok=True)
        with suppress(FileExistsError):
            (wants / self.unit).symlink_to(self.file)
        _sync_folder(wants)
        new.rename(self.file)
        _sync_folder(self.file.parent)

    def forget(self, uuid: str) -> None:
        """Takes the commit back, where what it promised could not be mounted: the old place goes on to count."""
        if self.read_uuid() == uuid and not self.find_mounted(uuid):
            self.file.unlink()
            _sync_folder(self.file.parent)
            (self.file.parent / "local-fs.target.wants" / self.unit).unlink(missing_ok=True)
            self.run(["systemctl", "daemon-reload"])

    def mount(self) -> None:
        """By systemd, at its place, as its unit says now."""
        uuid = self.read_uuid()
        if self.file.read_text() != self.text.replace("@UUID@", uuid):
            self.commit(uuid)
        self.run(["systemctl", "daemon-reload"])
        self.run(["systemctl", "enable", "--quiet", self.unit])
        if not self.find_mounted(uuid):
            if _measure(self.place):
                self.stop_users()
            self.run(["systemctl", "reset-failed", self.unit], check=False)
            self.run(["systemctl", "start", self.unit])
        elif "noatime" not in self.find_mounted(uuid):
            self.run(["systemctl", "reload", self.unit])
        if not self.find_mounted(uuid):
            raise RefusedError(f"{self.unit} is started, but nothing is mounted at {self.place}")
        say(f"mounted at {self.place}")

    def find_mounted(self, uuid: str) -> str:
        """The options with which it is mounted at its place, for the whole server; empty when nothing is."""
        found = [(number, options) for place, number, options in self.walk_mounts() if place == str(self.place)]
        if not found:
            return ""
        number, options = found[-1]
        device = Path(self.read(["findfs", f"UUID={uuid}"])).stat().st_rdev
        if number != f"{os.major(device)}:{os.minor(device)}":
            raise RefusedError(f"what is mounted at {self.place} is not its tier; unmount it")
        return options

    def walk_mounts(self) -> Iterator[tuple[str, str, str]]:
        """(place, number of the device, options) of every mount of the server."""
        for line in self.mounts.read_text().splitlines():
            words = line.split()
            yield words[4].encode().decode("unicode_escape"), words[2], words[5]

    def stamp(self) -> None:
        """The label says from now on that it is whole."""
        folder = os.open(self.server / str(self.place)[1:], os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, SET_LABEL, self.label.encode().ljust(256, b"\0"))
        finally:
            os.close(folder)
        self.run(["sync", "--file-system", str(self.server / str(self.place)[1:])])
        source = self.read(["findmnt", "--task", self.mounts.parent.name, "-no", "SOURCE", "--mountpoint", self.place])
        self.settle(source)

    def bury(self) -> None:
        """Removes what lies under the mount point, and lets nobody write there while the disk is away."""
        while os.path.ismount(self.place):
            self.run(["umount", "--lazy", str(self.place)])  # in this namespace only
        under, above = self.place.stat(), (self.server / str(self.place)[1:]).stat()
        if under.st_dev == above.st_dev or under.st_dev != self.place.parent.stat().st_dev:
            raise RefusedError(f"what lies under {self.place} cannot be told from what is mounted there")
        flags = _get_flags(self.place)
        if flags is None or not flags & IMMUTABLE:
            for path in self.place.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if flags is None:
            say(f"{self.place} cannot be made immutable where it lies: not every file system can")
        elif not flags & IMMUTABLE:
            _set_flags(self.place, flags | IMMUTABLE)

    def stop_users(self) -> None:
        """Ends what uses the place, noted where only a reboot forgets it; refuses while somebody else does."""
        words = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,reloading"]
        active = {line.split()[0] for line in self.read([*words, *self.users]).splitlines() if line.strip()}
        noted = set(self.stopped.read_text().split()) if self.stopped.exists() else set()
        if active | noted:
            self.stopped.write_text("\n".join(sorted(active | noted)))
        for unit in self.users:
            if unit in active:
                self.run(["systemctl", "stop", unit])
        if others := find_others(self.place):
            raise RefusedError(f"{self.place} is in use by {'; '.join(others)}")

    def start_users(self) -> None:
        """What was stopped, in the other order."""
        if not self.stopped.exists():
            return
        noted = set(self.stopped.read_text().split())
        for unit in reversed(self.users):
            if unit in noted:
                self.run(["systemctl", "start", unit])
        self.stopped.unlink()

    def settle(self, device: str) -> None:
        """Until udev knows what is on a device now."""
        self.run(["udevadm", "trigger", "--action=change", "--settle", device])

    def run(self, words: list[str], *, check: bool = True) -> None:
        """A program of the server."""
        self.read(words, check=check)

    def read(self, words: list[Any], *, check: bool = True) -> str:
        """What a program says; its error as a refusal."""
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RefusedError(f"{' '.join(map(str, words))}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()


class _Mounted:
    def __init__(self, tier: Tier, device: str, options: str) -> None:
        self._tier, self._words = tier, ["mount", "--types", "xfs", "--options", options, device, str(tier.staging)]

    def __enter__(self) -> None:
        self._tier.run(self._words)

    def __exit__(self, *_: object) -> None:
        self._tier.run(["umount", str(self._tier.staging)])


def _is_unused(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise RefusedError(f"{device}: {error.strerror}") from error
        return False
    return True


def prove(here: Path, there: Path) -> None:
    """Raises unless both folders hold the same: names, modes, owners, times, links, and every byte."""
    seen, copied = _walk(here), _walk(there)
    if seen.keys() != copied.keys():
        raise RefusedError(f"{here} changed while it was copied: {sorted(seen.keys() ^ copied.keys())[:5]}")
    links: dict[int, int] = {}
    for name, status in seen.items():
        other = copied[name]
        if _describe(here / name, status) != _describe(there / name, other):
            raise RefusedError(f"{here / name} changed while it was copied, or its copy is not the same")
        if links.setdefault(status.st_ino, other.st_ino) != other.st_ino:
            raise RefusedError(f"the hard links of {here / name} were not kept")
        if stat.S_ISREG(status.st_mode) and not _is_same(here / name, there / name):
            raise RefusedError(f"the copy of {here / name} is not the same")


def _walk(folder: Path) -> dict[str, os.stat_result]:
    found = {".": folder.lstat()}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            found[str(path.relative_to(folder))] = path.lstat()
    return found


def _describe(path: Path, status: os.stat_result) -> tuple[object, ...]:
    link = path.readlink() if stat.S_ISLNK(status.st_mode) else None
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, link


def _is_same(one: Path, other: Path) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            block = a.read(BLOCK)
            if block != b.read(BLOCK):
                return False
            if not block:
                return True


def find_others(place: Path) -> list[str]:
    """Processes that have something open at a place."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
            if process.name != str(os.getpid()) and any(_is_below(_read_link(link), place) for link in links):
                found[process.name] = (process / "comm").read_text().strip()
    return [f"process {number} ({name})" for number, name in found.items()]


def _read_link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _is_below(path: str, place: Path) -> bool:
    return path == str(place) or path.startswith(f"{place}/")


def _measure(folder: Path) -> int:
    """Bytes that a folder takes, hard links once, at least one for everything in it; 0 for one with nothing in it."""
    if not folder.exists():
        return 0
    sizes = {status.st_ino: max(status.st_blocks * 512, status.st_size, 1) for status in _walk(folder).values()}
    return sum(sizes.values()) if len(sizes) > 1 else 0


def _get_flags(folder: Path) -> int | None:
    """Of chattr; None where the file system has none."""
    with suppress(OSError):
        return int(_open_folder(folder, lambda number: struct.unpack("l", fcntl.ioctl(number, GET_FLAGS, bytes(8)))[0]))
    return None


def _set_flags(folder: Path, flags: int) -> None:
    _open_folder(folder, lambda number: fcntl.ioctl(number, SET_FLAGS, struct.pack("l", flags)))


def _open_folder(folder: Path, call: Callable[[int], Any]) -> Any:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return call(number)
    finally:
        os.close(number)


def _sync_folder(folder: Path) -> None:
    _open_folder(folder, os.fsync)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def say(text: str) -> None:
    """Into the log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _tell_alive(stream: int) -> None:
    with suppress(OSError):
        while True:
            time.sleep(60)
            os.write(stream, b".")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), alive=3)
    except RefusedError as refused:
        sys.exit(f"{refused}")
