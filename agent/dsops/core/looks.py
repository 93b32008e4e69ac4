"""What one look at a slot or at the gateway makes: OK, BAD or UNKNOWN, with a code and words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.progress import Progress, find_stall, is_moving
from dsops.core.status import Phase, Verdict

# In-flight work without progress for so long is a hang (DESIGN D3).
HANG_SECONDS = 5.0
# A probe that timed out stood still when nothing moved in the last part of its wait.
STILL_SECONDS = 3.0
# Until then an agent that just started has too little history to tell a stall.
NEW_SECONDS = 10.0
_LOADING = (Phase.LOADING, Phase.COMPILING, Phase.WARMING)


class Witness(StrEnum):
    """Who looked."""

    SLOT = "slot"
    GATEWAY = "gateway"
    PROCESS = "process"
    PROGRESS = "progress"


class Code(StrEnum):
    """What was seen."""

    OK = "ok"
    WRONG = "wrong"
    REFUSED = "refused"  # nobody there
    FAILED = "failed"  # somebody there, who answered with an error
    CRASHED = "crashed"
    TIMEOUT_STALLED = "timeout_stalled"
    TIMEOUT_BUSY = "timeout_busy"
    HUNG = "hung"
    IDLE = "idle"
    SLOW = "slow"
    LOADING = "loading"
    CLOCK = "clock"
    AGENT_NEW = "agent_new"
    METRICS_DEAD = "metrics_dead"
    GATEWAY_FAILED = "gateway_failed"


@dataclass(frozen=True)
class Look:
    """at: monotonic seconds. subject: prompt, process ...; two BAD of one subject within 5 s are one."""

    at: float
    witness: Witness
    verdict: Verdict
    code: Code
    says: str
    subject: str


class Outcome(StrEnum):
    """How a probe ended on the wire."""

    ANSWERED = "answered"  # to its end
    REFUSED = "refused"  # nobody took the connection
    FAILED = "failed"  # an HTTP error, an error in the stream, or the connection broke
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class ProbeSeen:
    """One golden prompt that was asked. began, ended, moved_at (the last piece came): monotonic seconds.

    accepted: whether the text, whole or as far as it came, is right; None where none came.
    says: the wrong text, or the error in its own words. status: of HTTP, 0 where there was none.
    """

    witness: Witness
    prompt: str
    began: float
    ended: float
    outcome: Outcome
    accepted: bool | None = None
    moved_at: float | None = None
    status: int = 0
    says: str = ""


class Cause(StrEnum):
    """How a process ended."""

    EXIT = "exit"  # by itself, with a status
    CRASH = "crash"  # by a signal that it brought upon itself
    KILLED = "killed"  # SIGKILL or SIGTERM that came from outside
    OOM = "oom"  # the kernel took it: no memory
    UNKNOWN = "unknown"  # systemd has not said yet


@dataclass(frozen=True)
class Death:
    """The end of a slot's main process. expected: dsops or an operator asked systemd for it."""

    at: float
    pid: int
    cause: Cause = Cause.UNKNOWN
    says: str = ""
    expected: bool = False


def find_cause(result: str, status: int) -> Cause:
    """From systemd's Result and ExecMainStatus of the unit."""
    if result == "oom-kill":
        return Cause.OOM
    if result == "signal":
        return Cause.KILLED if status in (9, 15) else Cause.CRASH
    if result in ("core-dump", "watchdog", "timeout"):
        return Cause.CRASH
    return Cause.EXIT if result == "exit-code" else Cause.UNKNOWN


def judge_probe(
    seen: ProbeSeen,
    stall: float | None,
    *,
    phase: Phase,
    clock_jumped: bool = False,
    agent_age: float | None = None,
    relay_moved: bool = False,
    slot_ok_at: float | None = None,
) -> Look:
    """stall: `find_stall(..., busy_since=seen.began)` at the probe's end.

    agent_age: seconds since the agent started. Of the gateway's probe also relay_moved: the gateway relayed tokens
    in the last 3 s of the wait; slot_ok_at: when the slot last answered a probe right.
    """
    verdict, code, says = _judge_outcome(seen, stall, phase=phase, clock_jumped=clock_jumped, agent_age=agent_age)
    slot_ok = slot_ok_at is not None and slot_ok_at >= seen.began
    if seen.witness is Witness.GATEWAY and code is not Code.WRONG and verdict is not Verdict.OK:
        verdict, code, says = _blame_gateway(
            seen, (verdict, code, says), relay_moved=relay_moved, slot_ok=slot_ok, clock_jumped=clock_jumped
        )
    return Look(seen.ended, seen.witness, verdict, code, says, seen.prompt)


_Judged = tuple[Verdict, Code, str]


def _judge_outcome(
    seen: ProbeSeen, stall: float | None, *, phase: Phase, clock_jumped: bool, agent_age: float | None
) -> _Judged:
    if seen.accepted is False:
        return Verdict.BAD, Code.WRONG, f"{seen.prompt} was answered wrong: {_shorten(seen.says)}"
    if seen.outcome is Outcome.ANSWERED and seen.accepted:
        return Verdict.OK, Code.OK, f"{seen.prompt} was answered right in {seen.ended - seen.began:.2f} s"
    if seen.outcome is Outcome.TIMEOUT:
        return _judge_timeout(seen, stall, phase=phase, clock_jumped=clock_jumped, agent_age=agent_age)
    if is_busy(seen):
        return Verdict.UNKNOWN, Code.TIMEOUT_BUSY, f"{seen.prompt} was put off: {_shorten(seen.says)}"
    if phase in _LOADING:
        return Verdict.UNKNOWN, Code.LOADING, "the model is loading"
    if seen.outcome is Outcome.REFUSED:
        return Verdict.BAD, Code.REFUSED, f"nobody took the connection for {seen.prompt}"
    why = seen.says or f"HTTP {seen.status}"
    return Verdict.BAD, Code.FAILED, f"{seen.prompt} got an error: {_shorten(why)}"


def _judge_timeout(
    seen: ProbeSeen, stall: float | None, *, phase: Phase, clock_jumped: bool, agent_age: float | None
) -> _Judged:
    waited = seen.ended - seen.began
    if clock_jumped:
        return Verdict.UNKNOWN, Code.CLOCK, "the clock jumped while the probe waited"
    if phase in _LOADING:
        return Verdict.UNKNOWN, Code.LOADING, "the model is loading"
    if seen.moved_at is not None and seen.ended - seen.moved_at < STILL_SECONDS:
        return Verdict.UNKNOWN, Code.TIMEOUT_BUSY, f"{seen.prompt} came slowly: not done after {waited:.1f} s"
    if stall is None and agent_age is not None and agent_age < NEW_SECONDS:
        return Verdict.UNKNOWN, Code.AGENT_NEW, "the agent just started and cannot tell busy from stuck yet"
    if stall is None:
        says = f"{seen.prompt} timed out, and nobody can say whether the engine moves"
        return Verdict.UNKNOWN, Code.METRICS_DEAD, says
    if stall < max(1.0, min(STILL_SECONDS, 0.6 * waited)):
        return Verdict.UNKNOWN, Code.TIMEOUT_BUSY, f"{seen.prompt} timed out after {waited:.1f} s; the engine moves"
    began = "stopped in the middle" if seen.moved_at is not None else "got not one token"
    return Verdict.BAD, Code.TIMEOUT_STALLED, f"{seen.prompt} {began} in {waited:.1f} s; nothing moves in the engine"


def _blame_gateway(
    seen: ProbeSeen, judged: _Judged, *, relay_moved: bool, slot_ok: bool, clock_jumped: bool
) -> _Judged:
    """A right answer by the slot itself in the same seconds leaves only the gateway between it and us."""
    if clock_jumped or is_busy(seen) or judged[1] is Code.LOADING:
        return judged
    if seen.outcome is Outcome.TIMEOUT and relay_moved:
        return Verdict.UNKNOWN, Code.TIMEOUT_BUSY, f"{seen.prompt} timed out; the gateway relays for others"
    if slot_ok or seen.outcome is Outcome.REFUSED:
        how = {Outcome.TIMEOUT: "timed out", Outcome.REFUSED: "was refused"}.get(seen.outcome, _shorten(seen.says))
        slot = ", while the slot itself answers" if slot_ok else ""
        return Verdict.BAD, Code.GATEWAY_FAILED, f"{seen.prompt} through the gateway: {how}{slot}"
    return judged


def is_busy(seen: ProbeSeen) -> bool:
    """The engine or the gateway said in so many words that it has too much to do."""
    return seen.outcome is Outcome.FAILED and (seen.status == 429 or "overloaded:" in seen.says)


def judge_death(death: Death) -> Look:
    """BAD unless somebody wanted it."""
    if death.expected:
        return Look(death.at, Witness.PROCESS, Verdict.UNKNOWN, Code.OK, "the engine was stopped on purpose", "")
    how = death.says or {Cause.KILLED: "killed from outside", Cause.OOM: "no memory left"}.get(death.cause, "it ended")
    says = f"the engine's process {death.pid} died ({how})"
    return Look(death.at, Witness.PROCESS, Verdict.BAD, Code.CRASHED, says, f"pid {death.pid}")


def judge_progress(history: Sequence[Progress], *, now: float, hang_seconds: float = HANG_SECONDS) -> Look:
    """BAD when work waits and nothing moved for hang_seconds; OK only when something was seen to move."""

    def look(verdict: Verdict, code: Code, says: str) -> Look:
        return Look(now, Witness.PROGRESS, verdict, code, says, "engine")

    stall = find_stall(history, now=now)
    if stall is None:
        return look(Verdict.UNKNOWN, Code.METRICS_DEAD, "nobody can say whether the engine moves")
    if stall >= hang_seconds:
        return look(Verdict.BAD, Code.HUNG, f"requests wait and nothing moved for {stall:.0f} s")
    if is_moving(history, now=now):
        return look(Verdict.OK, Code.OK, "the engine moves")
    return look(Verdict.UNKNOWN, Code.IDLE, "the engine has nothing to do")


def judge_loading(*, now: float, since: float, allowed: float) -> Look:
    """How long a slot may load. since: when the unit started (monotonic). Each 5 s beyond are a BAD of their own."""
    took = now - since
    if took <= allowed:
        says = f"the model has been loading for {took:.0f} s of {allowed:.0f} s"
        return Look(now, Witness.PROCESS, Verdict.UNKNOWN, Code.LOADING, says, "load")
    says = f"the model still loads after {took:.0f} s; {allowed:.0f} s are allowed"
    return Look(now, Witness.PROCESS, Verdict.BAD, Code.SLOW, says, f"load +{int((took - allowed) // 5) * 5} s")


def is_clock_jump(*, wall: float, ticks: float, wall_before: float, ticks_before: float, allowed: float = 2.0) -> bool:
    """Whether the wall clock was set, or the machine slept, between two moments that both clocks saw."""
    return abs((wall - wall_before) - (ticks - ticks_before)) > allowed


def _shorten(text: str, *, most: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
