"""The node side's one door to processes: argv lists, always a timeout, failures that can be pasted."""

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[[Sequence[str]], Done]


class Runner(Protocol):
    """`run`, where a caller needs another deadline or gives something to read."""

    def __call__(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done: ...


def run(argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
    """Runs a program, whatever its exit code. timeout in seconds. Raises DsopsError when it cannot."""
    try:
        done = subprocess.run(list(argv), timeout=timeout, input=input, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise DsopsError(f"{argv[0]} is not installed", mend=f"install {argv[0]}") from error
    except OSError as error:
        raise DsopsError(f"cannot run {shlex.join(argv)}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise DsopsError(f"no end after {timeout:g} s: {shlex.join(argv)}") from error
    return Done(done.returncode, _text(done.stdout), _text(done.stderr))


def get_output(argv: Sequence[str], *, run: Run = run, mend: str = "") -> str:
    """Standard output of a program that must succeed. Raises DsopsError with the command to paste."""
    done = run(argv)
    if done.code:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise DsopsError(f"exit {done.code}: {shlex.join(argv)}: {said}", mend=mend)
    return done.stdout


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
