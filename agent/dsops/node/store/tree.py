"""A release that was put on this node as a plain folder: its files become blobs without being copied."""

from collections.abc import Callable
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.release import parse_release
from dsops.node.store.blobs import Blobs
from dsops.node.store.disk import Disk, on_disk
from dsops.node.store.releases import MANIFEST, SIGNATURE

Check = Callable[[bytes, bytes], None]


def adopt_tree(tree: Path, *, root: Path, blobs: Blobs, check: Check) -> tuple[bytes, bytes]:
    """Gives the files their blobs' names; (manifest, signature). Raises DsopsError naming what is wrong.

    check: raises when the signature is not good for the manifest; nothing is touched before.
    """
    _check_place(tree, root=root)
    manifest, signature = _read(tree / MANIFEST), _read(tree / SIGNATURE)
    check(manifest, signature)
    release = parse_release(manifest, where=str(tree / MANIFEST))
    for name, entry in release.files.items():
        blobs.adopt(tree / name, entry.sha256)
    return manifest, signature


def remove_tree(tree: Path, *, disk: Disk) -> None:
    """The folder once its files are blobs."""
    with on_disk(tree):
        disk.remove_tree(tree)


def _check_place(tree: Path, *, root: Path) -> None:
    """Only what root put into staging: a link or another place could lead to anybody's files."""
    staging = (root / "staging").resolve()
    if tree.resolve() != tree or staging not in tree.parents or not tree.is_dir():
        mend = f"put the release below {staging}"
        raise DsopsError("is no folder of the store's staging", where=str(tree), mend=mend)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        mend = "bring a release that was signed: `dsops release build` does"
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(path), mend=mend) from error
