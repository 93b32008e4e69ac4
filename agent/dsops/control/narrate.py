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
# What roles/ops/connection.py says of a server, once, and what pyinfra says of a fact that was under way.
LOST = "connection lost"
UNREAD = "Error: could not load fact"
TRACEBACK = ("Traceback (most recent call last):", "--> An internal exception occurred:")
# How paramiko ends when the other side is gone, and what comes with such a traceback.
GONE = re.compile(r"(?:\w+\.)*(?:EOFError|SSHException|OSError|TimeoutError|Connection\w*Error|BrokenPipeError)\b.*")
TAIL = re.compile(
    r"\s*|(?:During handling of|The above exception).*|.*<Greenlet at .* failed with .*"
    r"|--> (?:The full traceback has been written|If this is unexpected).*"
)


@dataclass
class Tally:
    """What was seen so far. Operations are counted once for every server that they ran on."""

    changed: int = 0
    same: int = 0
    failed: int = 0
    servers: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def render(self, seconds: float, *, code: int = 0) -> str:
        """The last line of a run. code: how pyinfra ended."""
        total = self.changed + self.same + self.failed
        if code and not total:
            return f"stopped before anything was changed ({seconds:.1f} s)"
        if self.failed:
            what = f"{self.failed} failed, {self.changed} changed"
        else:
            what = f"{self.changed} changed" if self.changed else "nothing changed"
            what += f", but pyinfra ended with {code}" if code and not self.lost else ""
        what += f", connection lost to {', '.join(sorted(self.lost))}" if self.lost else ""
        return f"{total} operations on {len(self.servers)} servers: {what} ({seconds:.1f} s)"


class _Fold:
    """Holds a traceback back until its last line: that of a lost connection becomes one line, others are a bug's.

    What roles/ops/connection.py does not reach, such as the connecting itself, paramiko and gevent tell this way.
    """

    def __init__(self) -> None:
        self.held: list[str] = []
        self.folded = False

    def feed(self, line: str) -> list[str]:
        """The lines that are free to be read now that this one came."""
        if not self.held and self.folded and TAIL.fullmatch(line):
            return []
        if line.strip().startswith(TRACEBACK):
            free, self.held = self.held, [line]
            return free
        if not self.held:
            self.folded = False
            return [line]
        self.held.append(line)
        if line.startswith(" ") or not line.strip():
            return []
        return self.release()

    def release(self) -> list[str]:
        """What is held, folded if it can be."""
        held, self.held = self.held, []
        self.folded = bool(held) and GONE.fullmatch(held[-1]) is not None and any("/paramiko/" in line for line in held)
        head = "--> " if self.folded and held[0].startswith("--> ") else ""
        return [f"{head}a connection was lost: {held[-1]}"] if self.folded else held


class Narrator:
    """Feed it lines; it answers with the lines to show. Operations that changed nothing are only counted."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.name = ""
        self.changed: list[str] = []
        self.failed: list[str] = []
        self.said: list[str] = []
        self.over = False
        self._fold = _Fold()

    def feed(self, line: str) -> Iterator[str]:
        """The lines to show now that this one was read."""
        for free in self._fold.feed(STYLE.sub("", line.rstrip("\n"))):
            yield from self._feed(free)

    def end(self) -> Iterator[str]:
        """The lines to show when no more will come."""
        for line in self._fold.release():
            yield from self._feed(line)
        yield from self.flush()

    def flush(self) -> Iterator[str]:
        """The lines of the running operation, if it has anything to say."""
        marks = [f"changed on {', '.join(sorted(self.changed))}"] if self.changed else []
        marks += [f"FAILED on {', '.join(sorted(self.failed))}"] if self.failed else []
        if marks or self.said:
            yield f"  {self.name}: {'; '.join(marks)}".rstrip()
        yield from (f"    {text}" for text in self.said)
        self.changed, self.failed, self.said, self.name = [], [], [], ""

    def _feed(self, line: str) -> Iterator[str]:
        if line.startswith("--> "):
            yield from self.flush()
            start = START.match(line)
            self.name = start[1] if start else ""
            self.over = line.startswith("--> Results")
            if not (start or self.over or line.startswith(QUIET)):
                yield line
        elif self.name:
            self._read(line)
        elif not self.over and line.strip() and not line.startswith(QUIET) and self._want(line):
            yield line

    def _read(self, line: str) -> None:
        match = HOST.match(line)
        outcome = OUTCOME.fullmatch(match[2]) if match else None
        if match is None or outcome is None:
            self._hear(line, match)
        elif not outcome[1]:  # a nested operation's is told by the one around it
            self._count(match[1], outcome[2])

    def _hear(self, line: str, match: re.Match[str] | None) -> None:
        """Words of an operation: of a server (match), or of nobody in particular."""
        if match and match[2].rstrip() == LOST:
            self._count(match[1], LOST)
            self.tally.lost.add(match[1])
        if line.strip() and not self._is_unread(match):
            self.said.append(f"{match[1]}: {match[2].rstrip()}" if match else line)

    def _count(self, host: str, outcome: str) -> None:
        if outcome == "Skipped" or host in self.tally.lost:  # a lost server's operation was counted when it was lost
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

    def _want(self, line: str) -> bool:
        """Whether a line outside of operations is one to show."""
        match = HOST.match(line)
        if match and match[2].rstrip() == LOST:
            self.tally.lost.add(match[1])
        routine = match and (match[2].startswith("Ready:") or CONNECTED.match(line))
        return not (routine or self._is_unread(match))

    def _is_unread(self, match: re.Match[str] | None) -> bool:
        """Whether pyinfra says what follows by itself: a server is lost, so a fact of it could not be read."""
        return match is not None and match[1] in self.tally.lost and match[2].startswith(UNREAD)
