"""Releases that this control host holds: found by id or folder, and proven whole and signed before they travel."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.release import MANIFEST
from dsops.control.bundle.sign import RELEASE_NAMESPACES, verify
from dsops.control.bundle.verify import hash_file, walk
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.release import Release, parse_release, release_id

SIGNATURE = f"{MANIFEST}.sig"
AGAIN = "build it again (`dsops release build`), or fetch the bundle again"


@dataclass(frozen=True)
class Held:
    """A release in a folder of this machine. manifest, signature: the bytes of the files."""

    path: Path
    id: str
    release: Release
    manifest: bytes
    signature: bytes

    def file_of(self, sha256: str) -> Path:
        """A file of it that has this content. Raises DsopsError when it has none."""
        for name, entry in self.release.files.items():
            if entry.sha256 == sha256:
                return self.path / name
        raise DsopsError(f"no file of it has the sum {sha256}", where=str(self.path))


def find_held(word: str, *, places: Iterable[Path]) -> Held | None:
    """The release in a folder, or of an id in one of the places. Raises DsopsError when it cannot be read."""
    if "/" in word or Path(word, MANIFEST).is_file():
        return read_held(Path(word))
    found = next((place / word for place in places if (place / word / MANIFEST).is_file()), None)
    return read_held(found) if found else None


def get_held(word: str, *, places: Sequence[Path]) -> Held:
    """The same. Raises DsopsError, naming what there is, when there is none."""
    held = find_held(word, places=places)
    if held is None:
        known = sorted({found.parent.name for place in places for found in place.glob(f"*/{MANIFEST}")})
        raise DsopsError(f"no release {word!r} here", where=", ".join(map(str, places)), mend=suggest(word, known))
    return held


def read_held(folder: Path) -> Held:
    """Reads manifest and signature; the files are not looked at. Raises DsopsError."""
    folder = folder.resolve()
    manifest = _read(folder / MANIFEST, mend="give an id, or the folder of a release")
    release = parse_release(manifest, where=str(folder / MANIFEST))
    signature = _read(folder / SIGNATURE, mend=AGAIN)
    return Held(folder, release_id(manifest), release, manifest, signature)


def check_held(
    held: Held, *, allowed_signers: Path, namespace: str, tick: Callable[[int], None] = lambda _: None
) -> str:
    """The signer's name when signature and every file are as they must be. Raises DsopsError else.

    namespace: the bundle's (the site's or the lab's). tick gets bytes read.
    """
    name = RELEASE_NAMESPACES.get(namespace, namespace)
    signer = verify(held.path / MANIFEST, allowed_signers=allowed_signers, namespace=name)
    found = {name: file for name, file in walk(held.path) if name not in {MANIFEST, SIGNATURE}}
    for name in sorted(held.release.files.keys() | found.keys()):
        _check_file(held, name, found.get(name), tick=tick)
    return signer


def _check_file(held: Held, name: str, file: Path | None, *, tick: Callable[[int], None]) -> None:
    entry = held.release.files.get(name)
    if entry is None:
        raise DsopsError("a file that the manifest does not list", where=str(held.path / name), mend=AGAIN)
    if file is None:
        raise DsopsError("a file of the release is missing", where=str(held.path / name), mend=AGAIN)
    if file.stat().st_size != entry.size or hash_file(file, tick=tick) != entry.sha256:
        raise DsopsError("a file of the release was altered", where=str(file), mend=AGAIN)


def _read(file: Path, *, mend: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(file), mend=mend) from error
