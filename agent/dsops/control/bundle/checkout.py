"""Copies the checkout into the bundle: on site, roles, deploy and model_repo are there as they are here."""

from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.place import copy_file
from dsops.control.run import ExitError, run
from dsops.core.errors import DsopsError

CACHES = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
SKIP = {".git", ".venv", ".torch-venv", "build", "dist"} | CACHES


@dataclass(frozen=True)
class Revision:
    """A commit of the checkout; dirty when its files are not (or not only) that commit's."""

    commit: str
    dirty: bool


def find_root(start: Path) -> Path:
    """The checkout that `start` lies in: the nearest folder above with deploy/site.py. Raises when there is none."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "deploy/site.py").is_file():
            return folder
    raise DsopsError("not inside a dsops checkout", where=str(start), mend="cd into the checkout, or give --root")


def list_files(root: Path) -> list[str]:
    """The checkout's own files, relative: what git knows or would add; without git, all but build products."""
    if (root / ".git").exists():
        listed = run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})
    files = (file.relative_to(root) for file in root.rglob("*") if file.is_file())
    return sorted(file.as_posix() for file in files if not SKIP & set(file.parts))


def read_revision(root: Path) -> Revision | None:
    """The commit that the checkout stands on; None without git, or before the first commit."""
    if not (root / ".git").exists():
        return None
    git: list[str | Path] = ["git", "-C", root]
    try:
        commit = run([*git, "rev-parse", "--verify", "--quiet", "HEAD"]).strip()
    except ExitError:
        return None
    return Revision(commit, dirty=bool(run([*git, "status", "--porcelain"]).strip()))


def copy_checkout(root: Path, *, out: Path) -> None:
    """Copies the checkout's files to `out`; programs stay programs. Raises DsopsError on a link out of it."""
    for name in list_files(root):
        if not (root / name).resolve().is_relative_to(root.resolve()):
            raise DsopsError("a link that leads out of the checkout", where=name, mend="replace it by a copy")
        copy_file(root / name, out / name)
