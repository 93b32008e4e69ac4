"""Values out of files: what cannot be read is kept as the reason, never as a number."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# What would hold the value is not there (any more), or its driver does not tell it.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESRCH, errno.EOPNOTSUPP)
_DENIED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Unread:
    """Why there is no value. is_missing: nothing there would tell it. is_denied: it is root's alone."""

    reason: str
    is_missing: bool = False
    is_denied: bool = False


def attempt(call: Callable[[], T]) -> T | Unread:
    """What it returns, or why it does not: a file that nobody foresaw is no reason for the agent to stop."""
    try:
        return call()
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        missing, denied = error.errno in _MISSING, error.errno in _DENIED
        return Unread(f"{name}{error.strerror or error}", missing, denied)
    except Exception as error:
        return Unread(f"{type(error).__name__}: {error}")


def read_text(path: Path) -> str | Unread:
    return attempt(lambda: path.read_text(errors="replace"))


def read_int(path: Path) -> int | Unread:
    """A file that holds one whole number."""
    text = read_text(path)
    return text if isinstance(text, Unread) else parse_int(text, where=path)


def parse_int(text: str, *, where: object) -> int | Unread:
    try:
        return int(text.strip())
    except ValueError:
        return Unread(f"{where}: {text.strip()[:40]!r} is no number")


def is_there(path: Path) -> bool:
    """False where nobody may look."""
    return attempt(path.exists) is True


def list_names(folder: Path) -> list[str]:
    """Sorted; none where there is no such folder. Raises OSError when it cannot be read."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
