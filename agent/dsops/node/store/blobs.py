"""Blobs: files named by their sha256, root-owned, never changed. What comes in counts only once it was read back."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.release import DIGEST
from dsops.core.tiers import SPARE
from dsops.node.store.disk import CHUNK, Disk, Tick, count_nothing, hash_file, on_disk

SYNC_EVERY = 64 * CHUNK
PUSH_AGAIN = "push the release again"


class AlteredError(DsopsError):
    """What was read back is not what its name says."""


def forget_time(count: int, seconds: float) -> None:
    """For a store whose speed nobody asks for."""


@dataclass(frozen=True)
class Missing:
    """A blob that is not here. held: bytes of it that wait in staging, from which a push goes on."""

    sha256: str
    held: int


class Blobs:
    """The blobs of one store. seen: a file that remembers, until the next boot, what was hashed since the last one.

    timed: hears how many bytes were read and hashed, and the seconds that took.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        *,
        seen: Path | None = None,
        timed: Callable[[int, float], None] = forget_time,
    ) -> None:
        self._folder = root / "blobs"
        self._staging = root / "staging"
        self._disk = disk
        self._seen = seen
        self._timed = timed
        # What a push counts on finding here: it goes no more by itself.
        self._wanted: set[str] = set()

    def path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self._folder / check_digest(digest)

    def has(self, digest: str) -> bool:
        """Whether there is a file of that name; `prove` says whether it is what its name says."""
        return self.path(digest).is_file()

    def find_missing(self, digests: Iterable[str]) -> tuple[Missing, ...]:
        """Those that must still come. The others are kept until their release was built, or this process ends."""
        asked = list(digests)
        self.sync()  # what a kill, or a failed sync, left there unsynced counts from now on
        missing = [digest for digest in asked if not self.has(digest)]
        self._wanted |= set(asked) - set(missing)
        return tuple(Missing(digest, self.count_held(digest)) for digest in missing)

    def count_held(self, digest: str) -> int:
        """Bytes of a blob that wait in staging."""
        return _size(self._part(digest)) or 0

    def count_missing(self, sizes: Mapping[str, int]) -> int:
        """Bytes that must still come. sizes: sha256 -> bytes."""
        return sum(max(0, size - self.count_held(digest)) for digest, size in sizes.items() if not self.has(digest))

    def count_links(self, digest: str) -> int:
        """How many files of releases a blob is."""
        try:
            return self.path(digest).stat().st_nlink - 1
        except OSError:
            return 0

    def count_free(self) -> int:
        """Bytes that are free beside them. Raises DsopsError."""
        with on_disk(self._folder):
            room = os.statvfs(self._folder)
        return room.f_bavail * room.f_frsize

    def receive(self, digest: str, *, size: int, offset: int, read: Callable[[int], bytes]) -> tuple[int, bool]:
        """Takes bytes from `offset` on until `read` has no more; (bytes held, whether the blob is whole now).

        size, offset: bytes of the whole blob. A cut keeps what came. Raises DsopsError when the hash is another.
        """
        if self.has(digest):
            self.sync()
            return size, True
        part = self._part(digest)
        with self._locked_part(part) as fd:
            if self.has(digest):  # another push was quicker, and its part is the blob now
                return size, True
            held = os.fstat(fd).st_size
            self._check_offset(part, size=size, offset=offset, held=held)
            with on_disk(part):
                held = self._fill(fd, size=size, offset=offset, read=read)
            if held < size:
                with on_disk(part):
                    self._disk.sync_folder(self._staging)
                return held, False
            self._keep(fd, part, digest)
            return size, True

    def begin_boot(self) -> None:
        """After a power cut the end of a push may be nothing but zeros: each goes on from where it surely lasted.

        For a helper that starts; only its first start after a boot does anything. Costs a push 65 MiB at most.
        """
        if self._seen is not None and self._seen.exists():
            return
        for part in self._staging.glob("*.part"):
            with suppress(OSError), self._disk.opened(part, os.O_RDWR) as fd:
                seen = os.fstat(fd)
                self._disk.truncate(fd, max(0, seen.st_size - SYNC_EVERY - CHUNK))
                os.utime(fd, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # nobody went on with it: it still grows old
                self._disk.fsync(fd)
        self._write_seen({})

    def adopt(self, file: Path, digest: str) -> None:
        """Gives a file of this file system its blob's name, without copying. Raises DsopsError when it is another.

        A blob of that name that is here is proven again, and gives way when it is spoilt.
        """
        with self._opened(file, os.O_RDONLY) as fd:
            with on_disk(file):
                self._prove(fd, file, digest)
            size = os.fstat(fd).st_size
        with suppress(DsopsError):
            self.prove({digest: size})
            return
        with on_disk(file):
            self._disk.link(file, self.path(digest))
        self.sync()

    def sync(self) -> None:
        """Makes the blobs' names last."""
        with on_disk(self._folder):
            self._disk.sync_folder(self._folder)

    def prove(self, sizes: Mapping[str, int], *, afresh: Collection[str] = (), tick: Tick = count_nothing) -> None:
        """Hashes every blob that was not yet since the boot. sizes: sha256 -> bytes. Raises DsopsError.

        A rotten one is put aside, so that the next push brings it again. afresh: are hashed in any case.
        """
        known = self._read_seen()
        for digest, size in sizes.items():
            path = self.path(digest)
            if digest not in afresh and self._is_proven(digest, known) and _size(path) == size:
                continue
            self._check_blob(path, digest, size=size, tick=tick)
            known[digest] = _fingerprint(path)
        self._write_seen(known)

    def find_unproven(self, sizes: Mapping[str, int]) -> tuple[str, ...]:
        """Those that are here and were not hashed since the boot; none where nothing remembers that."""
        if self._seen is None:
            return ()
        known = self._read_seen()
        return tuple(digest for digest in sizes if self.has(digest) and not self._is_proven(digest, known))

    def read_stamp(self, digest: str) -> list[int] | None:
        """Which file it is; None when there is none."""
        return _fingerprint(self.path(digest))

    def keep_proven(self, digest: str, stamp: list[int]) -> None:
        """Somebody hashed it and found it good; stamp: as it was before, so that another file counts for nothing."""
        self._write_seen(self._read_seen() | {digest: stamp})

    def set_aside(self, digest: str) -> None:
        """A rotten one goes, so that the next push brings it again; what is made of it still has its own names."""
        with on_disk(self.path(digest)):
            self._disk.rename(self.path(digest), self._staging / f"{digest}.rotten")

    def release_wanted(self, digests: Iterable[str]) -> None:
        """Their release is built, and holds them from now on."""
        self._wanted -= set(digests)

    def drop(self, digests: Iterable[str], *, spare_wanted: bool = False) -> int:
        """Removes those that no release holds any more; returns the bytes that came free.

        spare_wanted: what a push was told is here stays.
        """
        freed = 0
        for digest in set(digests) - (self._wanted if spare_wanted else set()):
            path = self.path(digest)
            if path.is_file() and path.stat().st_nlink == 1:
                freed += path.stat().st_size
                self._disk.unlink(path)
        self.sync()
        return freed

    def drop_forgotten(self, *, before: float) -> None:
        """Removes what came for a push, or was left by a kill, and that no release has held since `before`."""
        for path in self._folder.iterdir():
            with suppress(OSError):
                seen = path.stat()
                if seen.st_nlink == 1 and seen.st_ctime < before:
                    self._disk.unlink(path)

    @contextmanager
    def reading(self, digest: str, *, offset: int, tick: Tick = count_nothing) -> Iterator[Callable[[int], bytes]]:
        """read(count) over a blob from `offset` on, for another store's `receive`. A failure names this file."""
        path = self.path(digest)
        if not path.is_file():
            raise DsopsError(f"the blob {digest[:12]} is not here", where=str(path), mend=PUSH_AGAIN)
        place = offset

        def read(count: int) -> bytes:
            nonlocal place
            with on_disk(path):
                data = self._disk.read(fd, count, place)
            place += len(data)
            tick(len(data))
            return data

        with self._opened(path, os.O_RDONLY) as fd:
            yield read

    def _is_proven(self, digest: str, known: Mapping[str, list[int] | None]) -> bool:
        return digest in known and known[digest] == _fingerprint(self.path(digest))

    def _check_blob(self, path: Path, digest: str, *, size: int, tick: Tick) -> None:
        if not path.is_file():
            raise DsopsError(f"the blob {digest[:12]} is not here", where=str(path), mend=PUSH_AGAIN)
        with self._opened(path, os.O_RDONLY) as fd, on_disk(path):
            is_good = os.fstat(fd).st_size == size and self._hash(fd, tick=tick) == digest
        if not is_good:
            self.set_aside(digest)
            what = f"the blob {digest[:12]} is not what its name says"
            raise DsopsError(what, where=str(path), mend=f"{PUSH_AGAIN}; look at the disk, it may be dying")

    def _fill(self, fd: int, *, size: int, offset: int, read: Callable[[int], bytes]) -> int:
        synced, lasts = offset, 0
        while offset < size and (data := read(min(CHUNK, size - offset))):
            self._disk.write(fd, data, offset)
            offset += len(data)
            if offset - synced >= SYNC_EVERY:
                with self._or_cut(fd, lasts):
                    self._disk.fdatasync(fd)
                synced = lasts = offset
        with self._or_cut(fd, lasts):
            self._disk.fsync(fd)
        return offset

    @contextmanager
    def _or_cut(self, fd: int, lasts: int) -> Iterator[None]:
        """R6: what could not be synced is forgotten, though the kernel may still show it; it comes again."""
        try:
            yield
        except OSError:
            with suppress(OSError):
                self._disk.truncate(fd, lasts)
            raise

    def _keep(self, fd: int, part: Path, digest: str) -> None:
        """R1: what was read back has the name; then it lasts; then it is there."""
        try:
            with on_disk(part):
                self._prove(fd, part, digest)
        except DsopsError:
            with suppress(OSError):
                self._disk.unlink(part)
            raise
        with on_disk(part):
            self._disk.rename(part, self.path(digest))
        self.sync()
        self._write_seen(self._read_seen() | {digest: _fingerprint(self.path(digest))})

    def _hash(self, fd: int, *, tick: Tick = count_nothing) -> str:
        self._disk.drop_cache(fd)
        began = time.monotonic()
        found = hash_file(fd, tick=tick)
        self._timed(os.fstat(fd).st_size, time.monotonic() - began)
        return found

    def _prove(self, fd: int, file: Path, digest: str) -> None:
        """Raises DsopsError unless the file is what its name will say; then nobody can write it, and it lasts."""
        self._disk.fsync(fd)
        if self._hash(fd) != digest:
            raise AlteredError(f"came altered: it is not {digest[:12]}", where=str(file), mend=PUSH_AGAIN)
        self._disk.chown_own(fd)
        self._disk.chmod(fd, 0o444)
        self._disk.fsync(fd)

    def _check_offset(self, part: Path, *, size: int, offset: int, held: int) -> None:
        if not 0 <= offset <= size or offset > held:
            mend = "ask again what is missing, and go on from there"
            raise DsopsError(f"{held} bytes are held, {offset} is no place to go on from", where=str(part), mend=mend)
        need = size - offset
        room = os.statvfs(self._staging)
        free = room.f_bavail * room.f_frsize
        if need * SPARE > free:
            what = f"the disk has {free / 1e9:.2f} GB left, this blob needs {need * SPARE / 1e9:.2f} GB"
            raise DsopsError(
                what, where=str(self._staging), mend="`dsops node release list`, then `dsops node release remove ID`"
            )

    @contextmanager
    def _locked_part(self, part: Path) -> Iterator[int]:
        """One push at a time writes a part; a second one is told so."""
        with self._opened(part, os.O_RDWR | os.O_CREAT) as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                what = "this blob is just coming in from another push"
                raise DsopsError(what, where=str(part), mend="wait for it") from error
            yield fd

    @contextmanager
    def _opened(self, path: Path, flags: int) -> Iterator[int]:
        with on_disk(path):
            fd = self._disk.open(path, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _part(self, digest: str) -> Path:
        return self._staging / f"{check_digest(digest)}.part"

    def _read_seen(self) -> dict[str, list[int] | None]:
        try:
            data = json.loads(self._seen.read_text()) if self._seen else {}
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write_seen(self, known: Mapping[str, list[int] | None]) -> None:
        if self._seen is None:
            return
        with suppress(OSError):  # only costs hashing again
            new = self._seen.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
            new.write_text(json.dumps({key: value for key, value in known.items() if (self._folder / key).exists()}))
            new.rename(self._seen)


def check_digest(digest: object) -> str:
    """64 hex digits. Raises DsopsError else: it becomes the name of a file."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise DsopsError(f"{digest!r} is no sha256", mend="64 hex digits, in small letters")
    return digest


def _fingerprint(path: Path) -> list[int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
