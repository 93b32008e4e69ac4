"""The control side's one door to processes: argv lists, always a timeout, failures that can be pasted."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsops.core.errors import DsopsError


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    mend: str = "",
) -> str:
    """Runs a program and returns its standard output. timeout in seconds. Raises DsopsError on any failure."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            timeout=timeout,
            cwd=cwd,
            env=None if env is None else os.environ | dict(env),
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise DsopsError(f"{words[0]} is not installed", mend=mend or f"install {words[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise DsopsError(f"no end after {timeout:g} s: {shlex.join(words)}", mend=mend) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise DsopsError(f"exit {done.returncode}: {shlex.join(words)}\n{said}", mend=mend)
    return done.stdout
