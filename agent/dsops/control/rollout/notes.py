"""Tells this control host's audit what people decide about rollouts, halts, locks and epochs, and what dsops does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.control.audit import tell_command
from dsops.control.rollout.view import render_before, render_line
from dsops.core.audit import NO_EPOCH, Kind
from dsops.core.errors import DsopsError
from dsops.core.rollout_state import Rollout
from dsops.core.state import Epoch


@dataclass
class Note:
    """One entry, filled while the verb works, and told once. What cannot be written is a warning."""

    inventory: Path
    verb: str
    why: str
    nodes: str = ""
    leaves: str = ""
    to: str = ""
    evidence: str = ""
    epoch: Epoch = NO_EPOCH
    is_told: bool = False

    def tell(self, kind: Kind = Kind.DONE) -> None:
        """Now; what comes after it is no part of the verb."""
        if self.is_told:
            return
        self.is_told = True
        tell_command(
            self.inventory,
            self.verb,
            kind=kind,
            nodes=self.nodes,
            leaves=self.leaves,
            to=self.to,
            why=self.why,
            evidence=self.evidence,
            epoch=self.epoch,
        )

    def add(self, evidence: str) -> None:
        """On one line, after what is there already."""
        self.evidence = "; ".join(filter(None, [self.evidence, " ".join(evidence.split())]))


@contextmanager
def noting(inventory: Path, verb: str, *, why: str, to: str = "") -> Iterator[Note]:
    """Around a verb: done when it ends, unless it was told before; refused with the reason; unknown when stopped."""
    note = Note(inventory, verb, why, to=to)
    try:
        yield note
    except DsopsError as error:
        note.add(str(error))
        note.tell(Kind.REFUSED)
        raise
    except KeyboardInterrupt:
        note.add("stopped here")
        note.tell(Kind.UNKNOWN)
        raise
    note.tell()


def note_turn(inventory: Path, before: Rollout, after: Rollout, *, halted: str = "") -> None:
    """What a rollout came to by itself. halted: why the fleet is halted from now on."""
    turns = [*find_turns(before, after), *([("rollout halt", halted)] if halted else [])]
    for verb, evidence in turns:
        is_back = bool(after.failed)
        ways = (after.release, render_before(after)) if is_back else (render_before(after), after.release)
        tell_command(
            inventory,
            verb,
            leaves=ways[0],
            to=ways[1],
            why=f"rollout {after.id}: {after.reason}",
            evidence=evidence,
            epoch=after.epoch,
            by="dsops",
        )


def find_turns(before: Rollout, after: Rollout) -> list[tuple[str, str]]:
    """(verb, evidence) of each: a further step, its failure, its end. A person's abort is told by their command."""
    turns = []
    if after.step > before.step:
        gates = [one.says for one in before.trial.judged]
        way = f"from {before.percent} % to {after.percent} %, after {render_line(before)}"
        turns.append(("rollout step", "; ".join([way, *gates])))
    if after.failed and not before.failed:
        turns.append(("rollout fail", after.failed))
    if after.is_over and not before.is_over:
        turns.append((f"rollout {after.status}", render_line(after)))
    return turns
