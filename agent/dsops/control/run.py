"""The control side's one door to processes: argv lists, always a timeout, failures that can be pasted."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsops.core.errors import DsopsError


class ExitError(DsopsError):
    """The program ran, and said no. Others that may be raised: it is not there, or it did not end."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes = b"",
    mend: str = "",
) -> str:
    """Runs a program and returns its standard output. timeout in seconds. Raises DsopsError on any failure.

    Nobody is asked anything: standard input is `input` and then its end. Bytes that are no UTF-8 come back as
    surrogates, as Python's own file names do.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            timeout=timeout,
            cwd=cwd,
            env=None if env is None else os.environ | dict(env),
            input=input.encode() if isinstance(input, str) else input,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise _explain(error, words[0], cwd=cwd, mend=mend) from error
    except subprocess.TimeoutExpired as error:
        raise DsopsError(f"no end after {timeout:g} s: {shlex.join(words)}", mend=mend) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")[-2000:]
        raise ExitError(f"exit {done.returncode}: {shlex.join(words)}\n{said}", mend=mend)
    return done.stdout.decode(errors="surrogateescape")


def _explain(error: OSError, program: str, *, cwd: Path | None, mend: str) -> DsopsError:
    if cwd and not cwd.is_dir():
        return DsopsError("no such folder", where=str(cwd), mend=mend)
    if isinstance(error, FileNotFoundError):
        return DsopsError(f"{program} is not installed", mend=mend or f"install {program}")
    return DsopsError(f"{program} cannot be started ({error.strerror})", mend=mend)
