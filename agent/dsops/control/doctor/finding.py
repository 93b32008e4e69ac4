"""What one check says: one sentence, where, and the next thing to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.errors import DsopsError


class Status(StrEnum):
    """skipped: does not apply here, and why. unknown: should have been looked at, and could not.

    warning: not as it should be, and no hindrance. problem: a deploy would fail there, or be for nothing.
    """

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    UNKNOWN = "unknown"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """where: a server's name, a file, or a key of the inventory. what: one sentence without a full stop."""

    check: str
    where: str
    status: Status
    what: str
    mend: str = ""


def ok(check: str, where: str, what: str) -> Finding:
    """Looked at, and as it should be."""
    return Finding(check, where, Status.OK, what)


def skipped(check: str, where: str, what: str, *, mend: str = "") -> Finding:
    """Does not apply, or must not be tried; `what` says why."""
    return Finding(check, where, Status.SKIPPED, what, mend)


def unknown(check: str, where: str, what: str, *, mend: str = "") -> Finding:
    """Could not be looked at."""
    return Finding(check, where, Status.UNKNOWN, what, mend)


def warning(check: str, where: str, what: str, *, mend: str) -> Finding:
    """Not as it should be, or about to go wrong; a deploy works all the same, or mends it."""
    return Finding(check, where, Status.WARNING, what, mend)


def problem(check: str, where: str, what: str, *, mend: str) -> Finding:
    """Stands in the way of a deploy, or of what it is for."""
    return Finding(check, where, Status.PROBLEM, what, mend)


def from_error(check: str, error: DsopsError, *, where: str = "") -> Finding:
    """An expected error as a problem."""
    return problem(check, error.where or where, error.what, mend=error.mend)


def count(number: int, noun: str) -> str:
    """`1 server`, `5 servers`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def decide_exit(findings: Iterable[Finding]) -> int:
    """0: nothing stands in the way (skipped and warnings do not). 1: problems. 2: none, but not all was looked at."""
    seen = {finding.status for finding in findings}
    if Status.PROBLEM in seen:
        return 1
    return 2 if Status.UNKNOWN in seen or not seen else 0
