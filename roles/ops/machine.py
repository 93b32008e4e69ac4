"""What kind of machine a server is: a container can do less, and roles say what they leave out there."""

from functools import cache

from pyinfra import host, logger
from pyinfra.api import FactBase, State


class InContainer(FactBase[bool]):
    """Whether the server is a container: kernel, disks and clock are its host's."""

    default = bool

    def command(self) -> str:
        return "systemd-detect-virt --container --quiet && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@cache
def _read(state: State, name: str) -> bool:
    return bool(state.inventory.get_host(name).get_fact(InContainer))


def is_container() -> bool:
    """Whether the server at hand is one; asked once a run."""
    return _read(host.state, host.name)


def skip(what: str, why: str) -> None:
    """Says that something is left out on the server at hand, and why."""
    logger.info(f"[{host.name}] SKIPPED {what}: {why}")
