"""Pure: what was heard and read, as the judgement in core wants it."""

from dsops.core.looks import Death, Outcome, ProbeSeen, find_cause
from dsops.core.prompts import is_accepted
from dsops.node.agent.events import Inspect, Probe
from dsops.node.sources.http import Failure
from dsops.node.sources.probe import Heard
from dsops.node.sources.units import Unit


def see_probe(probe: Probe, heard: Heard, *, ended: float) -> ProbeSeen:
    """A probe as it is judged. ended: monotonic seconds."""
    accepted = None
    if heard.text or heard.is_answer:
        accepted = is_accepted(probe.prompt, heard.text, whole=heard.finish == "stop")
    return ProbeSeen(
        witness=probe.witness,
        prompt=probe.prompt.id,
        began=probe.began.ticks,
        ended=ended,
        outcome=find_outcome(heard),
        accepted=accepted,
        moved_at=None if heard.last_seconds is None else probe.began.ticks + heard.last_seconds,
        status=heard.status,
        says=heard.text if accepted is False else heard.error,
    )


def find_outcome(heard: Heard) -> Outcome:
    """How a probe ended on the wire."""
    if heard.is_answer:
        return Outcome.ANSWERED
    if heard.failure is Failure.TIMEOUT:
        return Outcome.TIMEOUT
    return Outcome.REFUSED if heard.failure is Failure.REFUSED else Outcome.FAILED


def find_death(ask: Inspect, unit: Unit | None) -> Death:
    """How a process ended, in the words of systemd; expected when systemd was asked to end it."""
    if unit is None:
        return Death(ask.died, ask.pid)
    was_asked = unit.active in ("inactive", "deactivating") or (
        unit.is_running and unit.pid not in (0, ask.pid) and unit.restarts <= ask.restarts
    )
    if was_asked and unit.result in ("", "success"):
        return Death(ask.died, ask.pid, expected=True)
    words = {"signal": f"signal {unit.exit_status}", "exit-code": f"exit {unit.exit_status}"}
    return Death(ask.died, ask.pid, find_cause(unit.result, unit.exit_status), words.get(unit.result, unit.result))
