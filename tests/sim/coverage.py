"""What the schedules must have reached: a simulator that never gets somewhere proves nothing about it."""

from collections import Counter

from dsops.core.events import Effect, Event
from dsops.core.state import Kind, Step

from tests.sim.schedule import WEIGHTS

# A rollback has no share, so it waits in no canary and returns from none.
NEVER = {f"state {Kind.ROLLBACK.value} {step.value}" for step in (Step.CANARY, Step.RETURN)}
FAULTS = (
    "fault agent stopped before it sends",
    "fault cut in a recovery",
    "fault kill in a move",
    "fault message late",
    "fault message lost",
    "fault message twice",
    "fault power cut in a move",
)
CASES = (
    "case I4 last of the budget",
    "case I4 own restart",
    "case I4 own rollback",
    "case I5 a mark that ended",
    "case I6 baked",
    "case I6 known_good",
    "case I7 a fleet command",
    "case I9 a rollback refused while halted",
    "case I11 recovered twice",
    "case I12 halted",
    "case I12 serves or is empty",
    "case I13 a release removed",
    "case I14 BAD",
    "case I14 OK",
    "case I14 UNKNOWN",
    "case R12 a move is given up",
    "case a canary returned",
    "case a late message",
    "case a rollback that failed halts",
    "case agent halt_and_page",
    "case agent refutes a canary",
    "case agent restart",
    "case agent rollback",
    "case alone and back again",
    "case an activation called off",
    "case cold rollback",
    "case controller takes an epoch",
    "case played by the real Moves too",
    "case the agent is stopped",
    "case warm rollback",
)


def find_expected() -> list[str]:
    """All names, made from the lists of events, steps and effects themselves."""
    events = [f"event {kind.__name__}" for kind in Event.__args__]
    effects = [f"effect {kind.__name__}" for kind in Effect.__args__]
    states = [name for kind in Kind for step in Step if (name := f"state {kind.value} {step.value}") not in NEVER]
    happens = [happen.__name__ for happen in WEIGHTS]
    return [*events, *effects, *states, *happens, *FAULTS, *CASES]


def find_unreached(seen: Counter[str]) -> list[str]:
    """What never happened."""
    return [name for name in find_expected() if not seen[name]]


def render(seen: Counter[str]) -> str:
    """How often what was reached, three to a line."""
    cells = [f"{seen[name]:>10,} {name:<40}" for name in sorted(set(find_expected()) | set(seen))]
    rows = ["".join(cells[at : at + 3]).rstrip() for at in range(0, len(cells), 3)]
    unreached = find_unreached(seen)
    return "\n".join([*rows, f"  never reached: {', '.join(unreached) or 'nothing of what must be'}"])
