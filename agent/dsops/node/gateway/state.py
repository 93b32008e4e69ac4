"""Whether the door is closed on purpose, kept over restarts."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Closed:
    """Who closed the door, why, and since when (Unix seconds)."""

    reason: str
    who: str
    since: float


def load_state(path: Path, *, now: float) -> Closed | None:
    """What was saved; an unreadable file means drained: a bad disk must not undo an operator's drain."""
    try:
        data = json.loads(path.read_bytes())["drained"]
        return None if data is None else Closed(str(data["reason"]), str(data["who"]), float(data["since"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Closed(f"the state file {path} cannot be read ({error}); undrain to mend", "dsops-gateway", now)


def save_state(path: Path, drained: Closed | None) -> None:
    """Durable when it returns; raises OSError."""
    text = json.dumps({"drained": asdict(drained) if drained else None}).encode()
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
