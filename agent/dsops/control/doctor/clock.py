"""The server's clock: how far it is from ours, who keeps it, and whether the hardware's runs in local time."""

from dataclasses import dataclass

from dsops.control.doctor.answer import Answer
from dsops.control.doctor.finding import Finding, ok, problem, skipped, warning

# Seconds that the clocks may differ: time series begin to lie beyond, and certificates long before a wrong date.
SKEW = 5.0
WRONG = 300.0
SYNCED = "Normal"


@dataclass(frozen=True)
class Clock:
    """keeper: chrony, timesyncd or empty. is_local: the hardware's clock runs in local time, and jumps twice a year."""

    keeper: str = ""
    is_synced: bool = False
    is_local: bool = False


def read_clock(answer: Answer) -> Clock:
    """Out of the probe's lines. `chrony` is chronyc's own line of commas; its last word tells of the leap second."""
    chrony = answer.find("chrony")
    is_timesyncd = answer.find("timesyncd") == "yes"
    keeper = "chrony" if chrony.count(",") > 3 else "timesyncd" if is_timesyncd else ""
    is_synced = chrony.rpartition(",")[2] == SYNCED if keeper == "chrony" else is_timesyncd
    return Clock(keeper, is_synced, answer.find("rtc") == "local")


def judge_skew(where: str, skew: float, *, has_servers: bool) -> list[Finding]:
    """Against this machine's clock, and within the time that asking took. has_servers: base_ntp_servers is given."""
    if abs(skew) <= SKEW:
        return [ok("clock", where, f"within {SKEW:.0f} s of this machine's")]
    way = "ahead of" if skew > 0 else "behind"
    what = f"is {abs(skew):.0f} s {way} this machine"
    if has_servers:
        mend = "a deploy sets chrony up, which mends it; if it does not: is this machine's clock right?"
        return [warning("clock", where, what, mend=mend)]
    mend = "set base_ntp_servers to the site's time servers, or `timedatectl set-time`; is this machine's clock right?"
    return [(problem if abs(skew) > WRONG else warning)("clock", where, what, mend=mend)]


def judge_sync(where: str, clock: Clock, *, has_servers: bool) -> list[Finding]:
    """Somebody keeps it, and the hardware's is in UTC."""
    found = []
    if clock.is_local:
        mend = "`timedatectl set-local-rtc 0`"
        found.append(warning("time sync", where, "the hardware's clock runs in local time", mend=mend))
    if clock.keeper and not clock.is_synced and has_servers:
        what = f"{clock.keeper} runs and follows no time server"
        mend = "`chronyc sources` there: do the base_ntp_servers answer, and does a firewall let UDP 123 through?"
        found.append(warning("time sync", where, what, mend=mend))
    if found:
        return found
    if not clock.is_synced:
        more = ", until a deploy sets chrony up" if has_servers else ": base_ntp_servers is not given"
        return [skipped("time sync", where, f"nobody keeps its clock{more}")]
    return [ok("time sync", where, f"kept by {clock.keeper}")]
