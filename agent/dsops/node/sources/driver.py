"""What the driver's gate wrote down of the set that this server has, and of its last boot."""

import json
from dataclasses import dataclass
from pathlib import Path

from dsops.core.drivers.boots import Outcome, Stage, State, parse_state
from dsops.core.drivers.lockset import STATE, VERDICT
from dsops.core.errors import DsopsError
from dsops.node.sources.unread import Unread, attempt


@dataclass(frozen=True)
class Driver:
    """left: why it went back from a set, "" when it did not. seen: the last boot that counts no more.

    judged: the boot that the gate's verdict is of, outcome: how; neither when the set was changed, or a person cleared
    it, since that verdict.
    """

    stage: Stage
    says: str
    left: str = ""
    seen: str = ""
    judged: str = ""
    outcome: Outcome | None = None


def read_driver(root: Path) -> Driver | Unread:
    """Missing where no set was ever installed by dsops."""
    return attempt(lambda: _read(root))


def _read(root: Path) -> Driver:
    path = root / STATE.lstrip("/")
    state = parse_state(path.read_text(), where=str(path))
    judged, outcome = _read_verdict(root / VERDICT.lstrip("/"), state)
    return Driver(state.stage, state.says, state.left, state.seen, judged, outcome)


def _read_verdict(path: Path, state: State) -> tuple[str, Outcome | None]:
    """(boot, outcome), of a verdict on the state as it is now."""
    if not path.exists():
        return "", None
    try:
        told = json.loads(path.read_text())
        if told["says"] != state.says:
            return "", None
        return str(told["boot"]), Outcome(told["outcome"])
    except (ValueError, KeyError, TypeError) as error:
        raise DsopsError(f"is no verdict of the gate ({error!r})", where=str(path)) from error
