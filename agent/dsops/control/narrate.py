"""Turns pyinfra's log into one line an operation: what changed where, and every word of what failed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

START = re.compile(r"^--> Starting operation: (.*?)\s*$")
HOST = re.compile(r"^\s+\[([^\]]+)\]\s+(.*)$")
CONNECTED = re.compile(r"^\s+\[[^\]]+\]\s+Connected\s*$")
QUIET = ("--> Loading", "--> Preparing", "--> Skipping change", "--> Beginning", "--> Disconnecting", "    Loading:")
STYLE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Tally:
    """What was seen so far. Operations are counted once for every server that they ran on."""

    changed: int = 0
    same: int = 0
    failed: int = 0
    servers: set[str] = field(default_factory=set)

    def render(self, seconds: float) -> str:
        """The last line of a run."""
        total = self.changed + self.same + self.failed
        if self.failed:
            what = f"{self.failed} failed, {self.changed} changed"
        else:
            what = f"{self.changed} changed" if self.changed else "nothing changed"
        return f"{total} operations on {len(self.servers)} servers: {what} ({seconds:.1f} s)"


class Narrator:
    """Feed it lines; it answers with the lines to show. Operations that changed nothing are only counted."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.name = ""
        self.changed: list[str] = []
        self.failed: list[str] = []
        self.said: list[str] = []
        self.over = False

    def feed(self, line: str) -> Iterator[str]:
        """The lines to show now that this one was read."""
        line = STYLE.sub("", line.rstrip("\n"))
        start = START.match(line)
        if start or line.startswith("--> Results"):
            yield from self.flush()
            self.name = start[1] if start else ""
            self.over = start is None
        elif not self.name:
            if not self.over and line.strip() and not line.startswith(QUIET) and not _is_ready(line):
                yield line
        else:
            self._read(line)

    def flush(self) -> Iterator[str]:
        """The line of the running operation, if it has anything to say."""
        if self.changed or self.failed:
            marks = [f"changed on {', '.join(sorted(self.changed))}"] if self.changed else []
            marks += [f"FAILED on {', '.join(sorted(self.failed))}"] if self.failed else []
            yield f"  {self.name}: {'; '.join(marks)}"
        if self.failed:
            yield from (f"    {text}" for text in self.said)
        self.changed, self.failed, self.said, self.name = [], [], [], ""

    def _read(self, line: str) -> None:
        match = HOST.match(line)
        if match is None:
            self.said += [line] if line.strip() else []
            return
        host, text = match[1], match[2].strip()
        if text == "Success":
            self.changed.append(host)
            self.tally.changed += 1
        elif text == "No changes":
            self.tally.same += 1
        elif text.startswith("Error"):
            self.failed.append(host)
            self.tally.failed += 1
        elif text != "Skipped":
            self.said.append(f"{host}: {text}")
            return
        else:
            return
        self.tally.servers.add(host)


def _is_ready(line: str) -> bool:
    match = HOST.match(line)
    return match is not None and (match[2].startswith("Ready:") or CONNECTED.match(line) is not None)
