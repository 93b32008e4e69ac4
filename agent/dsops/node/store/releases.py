"""Releases: folders named by the hash of their manifest, made of hard links to blobs; complete or not there."""

import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.passport import get_key
from dsops.core.release import DIGEST, Release, parse_release, release_id
from dsops.node.store.blobs import PUSH_AGAIN, Blobs
from dsops.node.store.disk import Disk, is_open, on_disk, tell_os_error

MANIFEST = "release.json"
SIGNATURE = "release.json.sig"
PART_SECONDS = 7 * 86400


@dataclass(frozen=True)
class Summary:
    """What a list shows of a release, read without judging it. size in bytes; since: Unix seconds, when it came."""

    release: str
    model: str
    quantization: str
    engine: str
    size: int
    passport: bool
    since: float


@dataclass(frozen=True)
class Passport:
    """What a release showed elsewhere: JSON and its signature, as they came. name: of its file, if it has one."""

    text: str
    signature: str = ""
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class Own:
    """What a release is beside its blobs: its manifest, and the signature over it."""

    manifest: bytes
    signature: bytes


@dataclass(frozen=True)
class Detached:
    """A release that was taken away: where its files wait for their end, and the blobs that it held."""

    path: Path
    digests: frozenset[str]


class Releases:
    """The releases of one store."""

    def __init__(self, root: Path, blobs: Blobs, disk: Disk) -> None:
        self._folder = root / "releases"
        self._staging = root / "staging"
        self._passports = root / "passports"
        self._blobs = blobs
        self._disk = disk
        # One at a time counts who holds a blob, or comes to hold it; a helper is one process with many threads.
        self._content = threading.Lock()
        # Whether all names here are known to last: not of what a process before this one left.
        self._is_settled = False

    def path(self, release: str) -> Path:
        """Where a release lies, or would."""
        return self._folder / release

    def has(self, release: str) -> bool:
        """Whether it is there; then it is complete."""
        return (self.path(release) / MANIFEST).is_file()

    def get(self, release: str) -> Release:
        """Its manifest. Raises DsopsError: not there, not readable, or not the one that its name says."""
        path = self.path(release) / MANIFEST
        try:
            manifest = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            mend = f"`dsops release push {release}` brings it; `dsops node release list` shows what is here"
            raise DsopsError(f"{release} is not on this node", where=str(path), mend=mend) from error
        except OSError as error:
            raise tell_os_error(error, where=path) from error
        if release_id(manifest) != release:
            raise DsopsError(f"is not the manifest of {release}", where=str(path), mend=PUSH_AGAIN)
        return parse_release(manifest, where=str(path))

    def is_usable(self, release: str) -> bool:
        """Whether a slot could serve it: it is there and this dsops can read it."""
        try:
            self.get(release)
        except DsopsError:
            return False
        return True

    def check_whole(self, release: str) -> Release:
        """Every file there, of its size, with the content of its blob. Raises DsopsError naming the file.

        Content is hashed once after each boot (R1). Its names last from now on, whatever cut short who built it.
        """
        found = self.get(release)
        self._blobs.prove(sum_sizes(found))
        self._sync_names()
        for name, entry in found.files.items():
            file, blob = self.path(release) / name, self._blobs.path(entry.sha256)
            if not _is_same(file, blob):
                raise DsopsError("is not the file that the manifest names", where=str(file), mend=PUSH_AGAIN)
        return found

    def build(self, manifest: bytes, signature: bytes) -> tuple[str, bool]:
        """Puts a release together from its blobs; (id, whether it is new). The signature was checked before (R2)."""
        with self._content:
            return self._build(manifest, signature)

    def _build(self, manifest: bytes, signature: bytes) -> tuple[str, bool]:
        release = parse_release(manifest, where=MANIFEST)
        self._blobs.prove(sum_sizes(release))
        self._blobs.release_wanted(sum_sizes(release))
        if self.has(release.id):
            self._mend(release, {MANIFEST: manifest, SIGNATURE: signature})
            self._sync_names()
            return release.id, False
        self._blobs.sync()
        folder = self._staging / f"{release.id}.build-{os.getpid()}-{os.urandom(3).hex()}"
        try:
            with on_disk(folder):
                self._fill(folder, release, {MANIFEST: manifest, SIGNATURE: signature})
            return release.id, self._move_in(folder, release.id)
        finally:
            with suppress(OSError):
                self._disk.remove_tree(folder)

    def repair(self) -> list[str]:
        """Gives damaged releases their files back from good blobs; one sentence for each that was mended.

        A blob that was spoilt in place spoils every release that holds it; once it came again, they can be mended.
        """
        mended = []
        for path in sorted(self._folder.iterdir()):
            if damage := self.find_damage(path.name):
                with suppress(DsopsError), self._content:
                    self._repair(path.name)
                    mended.append(damage)
        return mended

    def _repair(self, release: str) -> None:
        found = self.get(release)
        self._blobs.prove(sum_sizes(found))
        own = self.read_own(release)
        self._mend(found, {MANIFEST: own.manifest, SIGNATURE: own.signature})

    def read_own(self, release: str) -> Own:
        """Manifest and signature as they lie there. Raises DsopsError."""
        path = self.path(release)
        with on_disk(path):
            return Own((path / MANIFEST).read_bytes(), (path / SIGNATURE).read_bytes())

    def find_damage(self, release: str) -> str:
        """What can be seen without reading its content: the first thing that is not as it was built, or nothing."""
        try:
            found = self.get(release)
        except DsopsError as error:
            return str(error)
        path = self.path(release)
        for name, entry in found.files.items():
            if not _is_same(path / name, self._blobs.path(entry.sha256)) or _seen(path / name) != (0o444, entry.size):
                return f"{path / name} is not as the manifest says"
        for name in (MANIFEST, SIGNATURE):
            if _seen(path / name)[0] != 0o444:
                return f"{path / name} is missing, or its mode is wrong"
        return ""

    def keep_passport(self, release: str, passport: Passport, *, instead_of: Sequence[Passport] = ()) -> None:
        """Beside the release and the other passports that it has; those that it takes the place of go then."""
        name = _name_passport(release, passport)
        with on_disk(self._passports):
            for path, text in ((f"{name}.sig", passport.signature), (name, passport.text)):
                new = self._staging / f"{path}.{os.urandom(3).hex()}"
                self._disk.write_file(new, text.encode())
                self._disk.rename(new, self._passports / path)
            self._disk.sync_folder(self._passports)
            for old in (one for one in instead_of if one.name != name):
                self._drop_passport(release, old)

    def find_passports(self, release: str) -> tuple[Passport, ...]:
        """All that lie beside the release, as they are; without a signature where none can be read."""
        found = []
        for path in find_passport_files(self._passports, release):
            with suppress(OSError):
                text = path.read_bytes().decode(errors="replace")
                found.append(Passport(text, _read_text(path.with_name(f"{path.name}.sig")), path.name))
        return tuple(found)

    def find_passport(self, release: str) -> Passport | None:
        """The first of them."""
        return next(iter(self.find_passports(release)), None)

    def _drop_passport(self, release: str, passport: Passport) -> None:
        name = passport.name or _name_passport(release, passport)
        for path in (name, f"{name}.sig"):
            with suppress(OSError):
                self._disk.unlink(self._passports / path)

    def check_closed(self, release: str) -> None:
        """Raises DsopsError while a process has a file of it open that no other release holds (R8)."""
        for name, digest in _read_files(self.path(release)).items():
            file = self.path(release) / name
            if self._blobs.count_links(digest) <= 1 and is_open(file):
                mend = "something still runs on it: `fuser -v` on the file names it; stop that first"
                raise DsopsError(f"{release} is open in a process of this node", where=str(file), mend=mend)

    def detach(self, release: str) -> Detached:
        """Takes a release away as a whole: no half of it is ever seen. Whether it may go is the brain's to say."""
        path, away = self.path(release), self._staging / f"{release}.gone-{os.urandom(3).hex()}"
        digests = frozenset(_read_files(path).values())
        with on_disk(path):
            self._disk.rename(path, away)
            self._disk.sync_folder(self._folder)
        for passport in self.find_passports(release):
            self._drop_passport(release, passport)
        return Detached(away, digests)

    def destroy(self, detached: Detached, *, spare_wanted: bool = False) -> int:
        """Removes its files, and the blobs that no other release holds; returns the bytes that came free.

        The manifest is the last to go: after a kill it says to `clean_staging` which blobs are left.
        """
        with self._content, on_disk(detached.path):
            # Nothing of it may go while the release itself could come back: a kill may have been before this.
            self._disk.sync_folder(self._folder)
            for child in sorted(detached.path.iterdir()):
                if child.is_dir() and not child.is_symlink():
                    self._disk.remove_tree(child)
                elif child.name != MANIFEST:
                    self._disk.unlink(child)
            freed = self._blobs.drop(detached.digests, spare_wanted=spare_wanted)
            self._disk.remove_tree(detached.path)
            return freed

    def find_all(self) -> Iterator[Summary]:
        """Every release that is here, also one that this dsops cannot serve."""
        for path in sorted(self._folder.iterdir()):
            if (path / MANIFEST).is_file():
                yield self._summarize(path)

    def clean_staging(self, *, at: float) -> None:
        """Takes away what a kill left there, and half a push that nobody went on with. For a helper that starts."""
        self._blobs.begin_boot()
        for path in self._staging.iterdir():
            with suppress(OSError, DsopsError):
                if path.name.startswith("r") and path.is_dir():
                    self._end(path)
                elif path.is_file() and (path.suffix != ".part" or at - path.stat().st_mtime > PART_SECONDS):
                    self._disk.unlink(path)
        self._blobs.drop_forgotten(before=at - PART_SECONDS)

    def _end(self, path: Path) -> None:
        """A release that was being taken away goes wholly; one that was being built was never there."""
        if ".gone-" in path.name and all(map(DIGEST.fullmatch, found := set(_read_files(path).values()))):
            self.destroy(Detached(path, frozenset(found)))
        else:
            self._disk.remove_tree(path)

    def _fill(self, folder: Path, release: Release, own: Mapping[str, bytes]) -> None:
        self._disk.mkdir(folder)
        folders = {folder}
        for name, entry in release.files.items():
            file = folder / name
            for parent in reversed([p for p in file.parents if p not in folders and folder in p.parents]):
                self._disk.mkdir(parent)
                folders.add(parent)
            self._disk.link(self._blobs.path(entry.sha256), file)
        for name, data in own.items():
            self._disk.write_file(folder / name, data)
        for path in sorted(folders, reverse=True):  # bottom-up
            self._disk.sync_folder(path)

    def _mend(self, release: Release, own: Mapping[str, bytes]) -> None:
        """Puts each file that is not as it was built in its place again, by rename: whoever reads sees no gap."""
        path = self.path(release.id)
        new = self._staging / f"{release.id}.file-{os.urandom(3).hex()}"
        folders = {path / parent for name in release.files for parent in Path(name).parents}
        with on_disk(path):
            for name, entry in release.files.items():
                blob, file = self._blobs.path(entry.sha256), path / name
                if not _is_same(file, blob):
                    self._disk.link(blob, new)
                    self._disk.rename(new, file)
                elif _seen(file)[0] != 0o444:
                    self._protect(file)
            for name, data in own.items():
                if _seen(path / name) != (0o444, len(data)) or (path / name).read_bytes() != data:
                    self._disk.write_file(new, data)
                    self._disk.rename(new, path / name)
            for folder in sorted(folders, reverse=True):
                self._disk.sync_folder(folder)

    def settle(self) -> None:
        """What is here is here after a power cut too. Somebody may have moved a release in and died, or failed to sync.

        Raises DsopsError.
        """
        if not self._is_settled:
            self._sync_names()

    def _sync_names(self) -> None:
        self._blobs.sync()
        with on_disk(self._folder):
            self._disk.sync_folder(self._folder)
        self._is_settled = True

    def _protect(self, file: Path) -> None:
        with self._disk.opened(file, os.O_RDONLY) as fd:
            self._disk.chmod(fd, 0o444)

    def _move_in(self, folder: Path, release: str) -> bool:
        path = self.path(release)
        with on_disk(path):
            if path.is_dir() and not self.has(release):  # nothing of ours: what we put here is complete
                self._disk.rename(path, self._staging / f"{release}.gone-{os.urandom(3).hex()}")
            try:
                self._disk.rename(folder, path)
            except OSError:
                if self.has(release):  # another push was quicker
                    return False
                raise
            was, self._is_settled = self._is_settled, False
            self._disk.sync_folder(self._folder)
            self._is_settled = was
        return True

    def _summarize(self, path: Path) -> Summary:
        data = _read_json(path / MANIFEST)
        words = {key: str(data.get(key, "?")) for key in ("model", "quantization", "engine")}
        return Summary(
            release=path.name,
            size=sum(_read_sizes(data).values()),
            passport=bool(find_passport_files(self._passports, path.name)),
            since=(path / MANIFEST).stat().st_mtime,
            **words,
        )


def find_passport_files(folder: Path, release: str) -> list[Path]:
    """The passports of a release, each beside its signature; the first name is that of an older dsops."""
    return sorted(folder.glob(f"{release}.json")) + sorted(folder.glob(f"{release}.*.json"))


def sum_sizes(release: Release) -> dict[str, int]:
    """sha256 -> bytes of every blob that a release needs."""
    return {entry.sha256: entry.size for entry in release.files.values()}


def _name_passport(release: str, passport: Passport) -> str:
    """Its file is named by its content: a new one never lies beside the signature of an older one."""
    return f"{release}.{get_key(passport.text.encode())}.json"


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _is_same(file: Path, other: Path) -> bool:
    try:
        return os.path.samestat(file.lstat(), other.lstat())
    except OSError:
        return False


def _seen(file: Path) -> tuple[int, int]:
    """(mode, size); (0, 0) when it is not there."""
    try:
        seen = file.lstat()
    except OSError:
        return 0, 0
    return stat.S_IMODE(seen.st_mode), seen.st_size


def _read_files(path: Path) -> dict[str, str]:
    """name -> sha256 of what the manifest lists; nothing where it cannot be read."""
    files = _read_json(path / MANIFEST).get("files")
    entries = files.items() if isinstance(files, dict) else ()
    return {name: str(entry.get("sha256")) for name, entry in entries if isinstance(entry, dict)}


def _read_sizes(data: Mapping[str, Any]) -> dict[str, int]:
    files = data.get("files")
    entries = files.items() if isinstance(files, dict) else ()
    sizes = {name: entry.get("size") for name, entry in entries if isinstance(entry, dict)}
    return {name: size for name, size in sizes.items() if isinstance(size, int)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
