"""Turns pyinfra's log into one line an operation: what changed where, and every word of what failed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

START = re.compile(r"^--> Starting (?:serial )?operation: (.*?)\s*$")
HOST = re.compile(r"^\s+\[([^\]]+)\]\s+(.*)$")
# Only pyinfra's own verdicts, whole: a program's words may begin with Error too.
OUTCOME = re.compile(
    r"(nested\s+)?(Success|No changes|Skipped|Error: executed \d+ commands)(?: on retry \d+| \(failed after .*\))?\s*"
)
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

    def render(self, seconds: float, *, code: int = 0) -> str:
        """The last line of a run. code: how pyinfra ended."""
        total = self.changed + self.same + self.failed
        if code and not total:
            return f"stopped before anything was changed ({seconds:.1f} s)"
        if self.failed:
            what = f"{self.failed} failed, {self.changed} changed"
        else:
            what = f"{self.changed} changed" if self.changed else "nothing changed"
            what += f", but pyinfra ended with {code}" if code else ""
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
        if line.startswith("--> "):
            yield from self.flush()
            start = START.match(line)
            self.name = start[1] if start else ""
            self.over = line.startswith("--> Results")
            if not (start or self.over or line.startswith(QUIET)):
                yield line
        elif self.name:
            self._read(line)
        elif not self.over and line.strip() and not line.startswith(QUIET) and not _is_ready(line):
            yield line

    def flush(self) -> Iterator[str]:
        """The lines of the running operation, if it has anything to say."""
        marks = [f"changed on {', '.join(sorted(self.changed))}"] if self.changed else []
        marks += [f"FAILED on {', '.join(sorted(self.failed))}"] if self.failed else []
        if marks or self.said:
            yield f"  {self.name}: {'; '.join(marks)}".rstrip()
        yield from (f"    {text}" for text in self.said)
        self.changed, self.failed, self.said, self.name = [], [], [], ""

    def _read(self, line: str) -> None:
        match = HOST.match(line)
        outcome = OUTCOME.fullmatch(match[2]) if match else None
        if match is None or outcome is None:
            self.said += [f"{match[1]}: {match[2].rstrip()}" if match else line] if line.strip() else []
        elif not outcome[1]:  # a nested operation's is told by the one around it
            self._count(match[1], outcome[2])

    def _count(self, host: str, outcome: str) -> None:
        if outcome == "Skipped":
            return
        self.tally.servers.add(host)
        if outcome == "Success":
            self.changed.append(host)
            self.tally.changed += 1
        elif outcome == "No changes":
            self.tally.same += 1
        else:
            self.failed.append(host)
            self.tally.failed += 1


def _is_ready(line: str) -> bool:
    match = HOST.match(line)
    return match is not None and (match[2].startswith("Ready:") or CONNECTED.match(line) is not None)
