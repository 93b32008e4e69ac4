"""How long the renames take that turn links, from the kernel's own trace of system calls; needs root and tracefs."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CALLS = ("rename", "renameat", "renameat2", "symlink", "symlinkat")
LINE = re.compile(r"-(?P<thread>\d+) .* (?P<at>\d+\.\d+): sys_(?P<call>symlink|rename)\w*(?P<ends> -> 0x0$|\()")
# systemd turns links in the same way.
ONLY = 'comm ~ "python*"'


class Trace:
    """folder: a tracing instance of our own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self) -> None:
        (self._folder / "trace_clock").write_text("mono")
        (self._folder / "buffer_size_kb").write_text("8192")
        for call in CALLS:
            for side in ("enter", "exit"):
                event = self._folder / f"events/syscalls/sys_{side}_{call}"
                (event / "filter").write_text(ONLY)
                (event / "enable").write_text("1")

    def read(self) -> list[float]:
        """Seconds of each rename that turned a link so far."""
        return find_turns((self._folder / "trace").read_text().splitlines())


def find_turns(lines: Iterable[str]) -> list[float]:
    """Seconds of each rename before which the same thread made a symbolic link: that is how a link is turned.

    lines: of a trace. A rename that failed is none.
    """
    has_link: set[str] = set()
    began: dict[str, float] = {}
    turns = []
    for found in filter(None, map(LINE.search, lines)):
        thread, at, ends = found["thread"], float(found["at"]), found["ends"] != "("
        if found["call"] == "symlink":
            has_link |= {thread} if ends else set()
        elif not ends:
            began[thread] = at
        elif thread in has_link and thread in began:
            has_link.remove(thread)
            turns.append(at - began.pop(thread))
    return turns


@contextmanager
def tracing() -> Iterator[Trace | None]:
    """The kernel's trace of the whole machine, its nspawn servers too; None where the kernel offers none."""
    with tempfile.TemporaryDirectory() as place:
        mounted = subprocess.run(["mount", "-t", "tracefs", "none", place], capture_output=True, check=False)
        if mounted.returncode:
            yield None
            return
        folder = Path(place, "instances/dsops-swaps")
        try:
            folder.mkdir(exist_ok=True)
            trace = Trace(folder)
            trace.begin()
            yield trace
        finally:
            folder.rmdir()
            subprocess.run(["umount", place], check=True)
