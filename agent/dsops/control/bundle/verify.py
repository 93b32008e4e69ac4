"""Verifies a bundle: the signature over SHA256SUMS, then every file; nothing changed, extra or missing."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.sign import verify as verify_signature
from dsops.core.errors import DsopsError
from dsops.core.sums import Sums, compare, make_sums, parse_sums

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"


@dataclass(frozen=True)
class Verified:
    """A bundle that was proven whole: where it lies, its content address, who signed it."""

    path: Path
    sums: Sums
    signer: str


def verify_bundle(
    path: Path, *, allowed_signers: Path, namespace: str, tick: Callable[[int], None] = lambda _: None
) -> Verified:
    """Proves the bundle at `path`, or raises DsopsError naming every difference. tick gets bytes read."""
    if not (path / SUMS).is_file():
        raise DsopsError(
            "not a bundle (it has no SHA256SUMS)",
            where=str(path),
            mend="give the folder that `dsops bundle build` made",
        )
    signer = verify_signature(path / SUMS, allowed_signers=allowed_signers, namespace=namespace)
    expected = parse_sums((path / SUMS).read_text(), where=str(path / SUMS))
    problems = compare(expected, read_sums(path, tick=tick))
    if problems:
        shown = problems[:20] + ([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise DsopsError(
            f"{len(problems)} of {len(expected.files)} files are not as signed\n  " + "\n  ".join(shown),
            where=str(path),
            mend="do not use it; fetch the bundle again",
        )
    return Verified(path=path, sums=expected, signer=signer)


def read_sums(path: Path, *, tick: Callable[[int], None] = lambda _: None) -> Sums:
    """Hashes every file below `path`, without the sums and their signature. Refuses links and devices."""
    skip = {SUMS, SIGNATURE}
    return make_sums((name, hash_file(file, tick=tick)) for name, file in walk(path) if name not in skip)


def walk(path: Path) -> Iterator[tuple[str, Path]]:
    """(relative POSIX path, file) for every regular file below `path`. Raises DsopsError on anything else."""
    for file in sorted(path.rglob("*")):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise DsopsError(
                "neither a plain file nor a folder", where=str(file), mend="a bundle holds plain files only"
            )
        if file.is_file():
            yield file.relative_to(path).as_posix(), file


def hash_file(file: Path, *, tick: Callable[[int], None] = lambda _: None) -> str:
    """sha256 of a file in hex, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            tick(len(block))
    return digest.hexdigest()
