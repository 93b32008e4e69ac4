"""Tells this control host's audit what a person decided about a rollout, a halt or a lock."""

import time
from pathlib import Path

from dsops.control.audit import tell
from dsops.core.audit import NO_EPOCH, Act, Kind
from dsops.core.state import Epoch


def note(
    inventory: Path, verb: str, *, who: str, why: str, to: str = "", evidence: str = "", epoch: Epoch = NO_EPOCH
) -> None:
    """Never fails, and never keeps anybody waiting: what cannot be written is a warning."""
    fleet = str(inventory.resolve())
    tell(Act(time.time(), Kind.DONE, verb, who, why, to=to, evidence=evidence, epoch=epoch, fleet=fleet))
