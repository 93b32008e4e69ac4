"""What keeps any command from bringing a release forward: the fleet's halt, and its bad list."""

import json
from pathlib import Path

from dsops.control.fleet.epoch import FILE, MEND
from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.store import Store
from dsops.core.errors import DsopsError

# Read by the engine's role; with its underscore it is no key of an inventory.
KEY = "_dsops_hold"


def check_forward(folder: Path, inventory: Path, release: str) -> None:
    """Raises DsopsError. Going back asks nobody."""
    memory = parse_memory(Store(folder, inventory).read_fleet())
    if memory.halted:
        mend = "find out why, then `dsops rollout reset --reason ...`; going back is always possible"
        raise DsopsError(f"the fleet is halted: {memory.halted}", mend=mend)
    if bad := memory.find_bad(release):
        mend = f"bring a new build, or `dsops rollout reset --unmark {release} --reason ...`"
        raise DsopsError(f"{release} is on the fleet's bad list: {bad.reason}", mend=mend)


def render_hold(folder: Path, inventory: Path) -> list[str]:
    """pyinfra's words for what must not come forward by a deploy, which leaves it out; none where nothing must not.

    A deploy while a rollout is under way would bring its release to all nodes at once.
    """
    try:
        if not (folder / FILE).exists():
            return []
    except OSError as error:  # whoever may not know of a halt brings nothing forward
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(folder), mend=MEND) from error
    store = Store(folder, inventory)
    memory, active = parse_memory(store.read_fleet()), store.find_active()
    why = f"rollout {active.id} of {active.release} is under way" if active else ""
    why = f"the fleet is halted: {memory.halted}" if memory.halted else why
    bad = {one.release: one.reason for one in memory.bad}
    return ["--data", f"{KEY}={json.dumps({'why': why, 'bad': bad})}"] if why or bad else []
