"""One lab a machine: the lock while something changes, and the record of the checkout that it belongs to."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import dsops
from dsops.core.errors import DsopsError
from dsops.lab.place import Lab
from dsops.lab.run import read, write


@dataclass(frozen=True)
class Owner:
    checkout: str
    since: str


def this_checkout() -> str:
    """The folder that this dsops runs from."""
    return str(Path(dsops.__file__).resolve().parents[2])


def find_owner(lab: Lab) -> Owner | None:
    try:
        facts = json.loads(read(lab.root / "owner.json") or "null")
        return Owner(facts["checkout"], facts["since"]) if facts else None
    except (ValueError, KeyError, TypeError):
        return None


def check_owner(owner: Owner | None, *, checkout: str, place: str) -> None:
    """Refuse to touch the lab of another checkout."""
    if owner and owner.checkout != checkout:
        there = f"`dsops lab down` in {owner.checkout}"
        mend = f"{there}, or take it as it is: `dsops lab up --take-over`"
        if not Path(owner.checkout).exists():
            mend = "that checkout is gone: `dsops lab up --take-over`"
        raise DsopsError(f"the lab belongs to {owner.checkout} since {owner.since}", where=place, mend=mend)


@contextmanager
def changing(lab: Lab, *, checkout: str = "", take_over: bool = False, patience: float = 60) -> Iterator[None]:
    """Hold the lab's lock, as its owner. The lock is the kernel's: it dies with us, and only with us."""
    checkout = checkout or this_checkout()
    lab.root.mkdir(parents=True, exist_ok=True)
    with (lab.root / "lock").open("a+") as lock:
        _acquire(lock.fileno(), lab, patience)
        if not take_over:
            check_owner(find_owner(lab), checkout=checkout, place=str(lab.root))
        write(lab.root / "lock.holder", f"pid {os.getpid()} of {checkout}\n")
        try:
            yield
        finally:
            (lab.root / "lock.holder").unlink(missing_ok=True)


def _acquire(lock: int, lab: Lab, patience: float) -> None:
    """The lock is flock(2)'s, never the file's existence."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                holder = read(lab.root / "lock.holder").strip() or "another process"
                raise DsopsError(
                    f"{holder} is changing the lab",
                    where=str(lab.root),
                    mend="wait for it, or end it, and repeat",
                ) from None
            time.sleep(0.1)


def record(lab: Lab, *, checkout: str = "") -> None:
    """Write down whose lab it is, unless that stands there already."""
    checkout = checkout or this_checkout()
    owner = find_owner(lab)
    if owner is None or owner.checkout != checkout:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write(lab.root / "owner.json", json.dumps(asdict(Owner(checkout, now))) + "\n")


def forget(lab: Lab) -> None:
    (lab.root / "owner.json").unlink(missing_ok=True)
