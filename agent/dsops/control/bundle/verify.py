"""Verifies a bundle: the signature over SHA256SUMS, then every file; nothing changed, extra or missing."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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
    expected = read_list(path / SUMS)
    check_same(expected, read_sums(path, tick=tick), where=str(path))
    return Verified(path=path, sums=expected, signer=signer)


def check_same(expected: Sums, found: Sums, *, where: str) -> None:
    """Raises DsopsError with the first 20 differences."""
    problems = compare(expected, found)
    if problems:
        shown = problems[:20] + ([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise DsopsError(
            f"{len(problems)} of {len(expected.files)} files are not as signed\n  " + "\n  ".join(shown),
            where=where,
            mend="do not use it; fetch the bundle again",
        )


def read_list(file: Path) -> Sums:
    """The sums that a SHA256SUMS lists. Raises DsopsError when it lists nothing or is no such file."""
    try:
        # Not read_text(): it would hide changed line ends.
        sums = parse_sums(file.read_bytes().decode("ascii"), where=str(file))
    except UnicodeDecodeError as error:
        raise DsopsError("not a list of sha256 sums", where=str(file), mend="fetch the bundle again") from error
    if not sums.files:
        raise DsopsError("it lists no file", where=str(file), mend="fetch the bundle again")
    return sums


def read_sums(path: Path, *, tick: Callable[[int], None] = lambda _: None) -> Sums:
    """Hashes every file below `path`, without the sums and their signature. Refuses links and devices."""
    skip = {SUMS, SIGNATURE}
    files = [(name, file) for name, file in walk(path) if name not in skip]
    return make_sums((name, hash_file(file, tick=tick)) for name, file in files)


def walk(path: Path) -> Iterator[tuple[str, Path]]:
    """(relative POSIX path, file) for every regular file below `path`. Raises DsopsError on anything else."""
    for folder, folders, names in os.walk(path, onerror=_refuse):
        folders.sort()
        for file in sorted(Path(folder, name) for name in folders + names):
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode):
                yield file.relative_to(path).as_posix(), file
            elif not stat.S_ISDIR(mode):
                mend = "only plain files can be carried: replace it by a copy"
                raise DsopsError("neither a plain file nor a folder", where=str(file), mend=mend)


def hash_file(file: Path, *, tick: Callable[[int], None] = lambda _: None) -> str:
    """sha256 of a file in hex, read in blocks of 1 MiB. Raises DsopsError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                tick(len(block))
    except OSError as error:
        _refuse(error)
    return digest.hexdigest()


def _refuse(error: OSError) -> NoReturn:
    """A folder that cannot be read could hide anything, so it is an error and not a gap."""
    raise DsopsError(f"cannot be read ({error.strerror})", where=str(error.filename)) from error
