"""Maintenance: for a while dsops looks at a node, or at some of its checks, and does nothing about it. Pure."""

import datetime as dt
import json
import re
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from dsops.core.baseline import load
from dsops.core.decode import decode
from dsops.core.errors import DsopsError

VERSION = 1
USUAL_SECONDS, MOST_SECONDS = 2 * 3600, 7 * 86400
# A clock that was set back by more than this since it began must not make it last for days.
BACK_SECONDS = 3600.0
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True)
class Maintenance:
    """began, until: Unix seconds. checks: patterns of codes, such as `gpu.*`; none: the whole node."""

    reason: str
    who: str
    began: float
    until: float
    checks: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def is_whole(self) -> bool:
        """Whether dsops does nothing by itself at all."""
        return not self.checks

    def holds(self, at: float) -> bool:
        """Whether it goes on at that time, in Unix seconds; it ends by itself."""
        return self.began - BACK_SECONDS <= at < self.until and self.until - self.began <= MOST_SECONDS

    def covers(self, code: str) -> bool:
        """Whether nothing is done about findings of that code."""
        return self.is_whole or any(fnmatchcase(code, pattern) for pattern in self.checks)

    def describe(self) -> str:
        """What, until when, by whom and why."""
        scope = f" of {', '.join(self.checks)}" if self.checks else ""
        return f"maintenance{scope} until {render_time(self.until)} by {self.who}: {self.reason}"

    def to_json(self) -> str:
        """One JSON object that `parse_maintenance` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)


def parse_maintenance(text: str | bytes, *, where: str) -> Maintenance:
    """Raises DsopsError, naming the key, on anything that is none of this version."""
    return decode(Maintenance, load(text, version=VERSION, what="maintenance", where=where), where=where)


def parse_span(text: str) -> int:
    """Seconds of `2h`, `90m` or `1d12h`. Raises DsopsError, also when it is nothing or too long."""
    parts = re.findall(r"(\d{1,6})([dhms])", text)
    seconds = sum(int(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise DsopsError(f"{text!r} is no span of time", where="--for", mend="such as 90m, 2h or 1d12h")
    if seconds > MOST_SECONDS:
        mend = "begin it again when it ends; for longer, take the node out of the inventory"
        raise DsopsError(f"{text} is more than 7 days", where="--for", mend=mend)
    return seconds


def render_time(at: float) -> str:
    """In UTC, since nodes and people have zones of their own."""
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC"
