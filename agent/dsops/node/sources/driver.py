"""What the driver's gate wrote down of the set that this server has, and of its last boot."""

import json
from dataclasses import dataclass
from pathlib import Path

from dsops.core.decode import decode
from dsops.core.drivers.boots import Outcome, Stage, State
from dsops.core.drivers.lockset import STATE, VERDICT
from dsops.core.errors import DsopsError
from dsops.node.sources.unread import Unread, attempt


@dataclass(frozen=True)
class Driver:
    """left: why it went back from a set, "" when it did not. boot: the last one that the gate judged, outcome: how."""

    stage: Stage
    says: str
    left: str = ""
    boot: str = ""
    outcome: Outcome | None = None


def read_driver(root: Path) -> Driver | Unread:
    """Missing where no set was ever installed by dsops."""
    return attempt(lambda: _read(root))


def _read(root: Path) -> Driver:
    path, told = root / STATE.lstrip("/"), root / VERDICT.lstrip("/")
    state = decode(State, json.loads(path.read_text()), where=str(path))
    verdict = json.loads(told.read_text()) if told.exists() else {}
    if not isinstance(verdict, dict):
        raise DsopsError("is no table", where=str(told))
    outcome = Outcome(verdict["outcome"]) if "outcome" in verdict else None
    return Driver(state.stage, state.says, state.left, str(verdict.get("boot", "")), outcome)
