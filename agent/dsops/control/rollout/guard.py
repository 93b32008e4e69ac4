"""What keeps any command from bringing a release forward: the fleet's halt, and its bad list."""

from pathlib import Path

from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.store import Store
from dsops.core.errors import DsopsError


def check_forward(folder: Path, inventory: Path, release: str) -> None:
    """Raises DsopsError. Going back asks nobody."""
    memory = parse_memory(Store(folder, inventory).read_fleet())
    if memory.halted:
        mend = "find out why, then `dsops rollout reset --reason ...`; going back is always possible"
        raise DsopsError(f"the fleet is halted: {memory.halted}", mend=mend)
    if bad := memory.find_bad(release):
        mend = f"bring a new build, or `dsops rollout reset --unmark {release} --reason ...`"
        raise DsopsError(f"{release} is on the fleet's bad list: {bad.reason}", mend=mend)
