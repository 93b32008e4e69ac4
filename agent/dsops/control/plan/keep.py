"""A plan's file, and beside it how far an apply of it has come."""

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.plan import Plan, parse_plan

FOLDER = "build/plans"


@dataclass(frozen=True)
class Noted:
    """begun: pyinfra was started there. done: all gates passed. drained: out of traffic by us. log: who did what."""

    plan: str
    begun: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


def write_plan(plan: Plan, path: Path | None, *, root: Path) -> Path:
    """To `path`, or to build/plans of the checkout. Raises DsopsError."""
    path = path or root / FOLDER / f"{plan.id}.json"
    _write(path, plan.to_json())
    return path


def read_plan(path: Path) -> Plan:
    """Raises DsopsError, also when it was changed by hand."""
    try:
        return parse_plan(path.read_text(), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DsopsError(f"cannot be read ({error})", where=str(path), mend="`dsops plan` makes one") from error


class Notes:
    """Written through at every word: an apply that is killed can be gone on with."""

    def __init__(self, plan: Plan, path: Path, *, who: str) -> None:
        self.path = path.with_name(f"{path.stem}.progress.json")
        self.who = who
        # The same difference planned again is the same plan, and nothing of it is done yet.
        self.noted = self._read(f"{plan.id} of {plan.made_at}")

    def _read(self, plan: str) -> Noted:
        """Of another plan only who it left out of traffic counts, and its log."""
        if not self.path.exists():
            return Noted(plan)
        try:
            noted = decode(Noted, json.loads(self.path.read_text()), where=str(self.path))
        except (OSError, ValueError) as error:
            mend = "remove it: what is done already shows itself"
            raise DsopsError(f"cannot be read ({error})", where=str(self.path), mend=mend) from error
        return noted if noted.plan == plan else Noted(plan, drained=noted.drained, log=noted.log)

    def add(self, said: str, *, begun: tuple[str, ...] = (), done: tuple[str, ...] = ()) -> None:
        """A line of the log, and the servers that it moves on."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.who}: {said}"
        noted = self.noted
        self._keep(
            replace(
                noted,
                begun=tuple(dict.fromkeys([*noted.begun, *begun])),
                done=tuple(dict.fromkeys([*noted.done, *done])),
                log=(*noted.log, line),
            )
        )

    def set_drained(self, drained: tuple[str, ...]) -> None:
        """Who is out of traffic because of this apply."""
        self._keep(replace(self.noted, drained=drained))

    def _keep(self, noted: Noted) -> None:
        self.noted = noted
        _write(self.path, json.dumps(asdict(noted), indent=1, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    """By rename, so that a reader never sees half of it."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        new.replace(path)
    except OSError as error:
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(path), mend="give another --out") from error
