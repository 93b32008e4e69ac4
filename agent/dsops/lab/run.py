"""The lab's one door to other programs: argument lists, always a deadline, failures that can be pasted."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.place import MARK


def search_path() -> str:
    """Where programs are looked for: root's folders too, which a plain `su` leaves out."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    text: str = "",
    check: bool = True,
    mark: str = "",
    where: str = "",
) -> str:
    """Run a program and return what it printed. mark: makes a long one findable after our own death."""
    words = [str(word) for word in argv]
    env = {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **({MARK: mark} if mark else {})}
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, env=env)
    except FileNotFoundError:
        raise DsopsError(f"{words[0]} is not installed", where=where) from None
    except subprocess.TimeoutExpired:
        raise DsopsError(f"no end after {timeout:.0f} s: {shlex.join(words)}", where=where) from None
    if check and done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise DsopsError(f"exit {done.returncode}: {shlex.join(words)}: {last}", where=where)
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, timeout: float = 60) -> bool:
    try:
        run(argv, timeout=timeout)
    except DsopsError:
        return False
    return True


def read(path: Path) -> str:
    """The text of a small file, or "" when it is gone or cannot be read (files of /proc come and go)."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file in one step: readers see the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)
