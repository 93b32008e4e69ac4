"""Copies the checkout into the bundle: on site, roles, deploy and model_repo are there as they are here."""

from pathlib import Path
from shutil import copyfile

from dsops.control.run import run
from dsops.core.errors import DsopsError

SKIP = {".git", ".venv", "build", "dist", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}


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


def copy_checkout(root: Path, *, out: Path) -> None:
    """Copies the checkout's files to `out`; programs stay programs."""
    for name in list_files(root):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(root / name, target)
        target.chmod((root / name).stat().st_mode & 0o755)
