"""What the checks of the host have in common: where one applies, and how a value becomes a sight."""

from collections.abc import Callable, Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Scene
from dsops.node.sources.unread import Unread

# Readings come no closer.
EVERY = 5.0
NOT_YET = "nothing was read yet"
CONTAINER = "a container: its host's kernel counts this for all of them"


def find_absence(scene: Scene, *values: object, in_container: bool = False, may_be_denied: bool = False) -> str:
    """Why a check does not apply: too early, somebody else's kernel, or nothing is there that would tell.

    values: what it looks at; when none of them is there it does not apply. may_be_denied: what is root's alone counts
    as not there, since the agent has no privileges; everywhere else that is a reading that failed.
    """
    machine = scene.host.machine
    if not machine.sample:
        return NOT_YET
    if machine.is_container and not in_container:
        return CONTAINER
    absent = [one for one in values if isinstance(one, Unread) and _is_absent(one, may_be_denied=may_be_denied)]
    return absent[0].reason if values and len(absent) == len(values) else ""


def _is_absent(value: Unread, *, may_be_denied: bool) -> bool:
    return value.is_missing or (may_be_denied and value.is_denied)


def compare(
    code: str,
    entity: str,
    sample: str,
    value: float | Unread | None,
    *,
    limit: float,
    says: Callable[[float], str],
    at_least: bool = False,
) -> Iterator[Sight]:
    """BAD above the limit, with at_least below it; nothing while nobody knows; UNKNOWN where it cannot be read."""
    if isinstance(value, Unread):
        yield see_unread(code, entity, sample, value)
    elif value is not None:
        is_bad = value < limit if at_least else value > limit
        verdict = Verdict.BAD if is_bad else Verdict.OK
        yield Sight(code, entity, verdict, sample, says(value) if is_bad else "", float(value), limit)


def see_unread(code: str, entity: str, sample: str, unread: Unread) -> Sight:
    """What cannot be read; what is not there says nothing, and is no reason for this."""
    return Sight(code, entity, Verdict.UNKNOWN, sample, unread.reason)


def find_card(scene: Scene, address: str) -> str:
    """The entity of a PCI address: the GPU's name where it is one."""
    gpus = {gpu.pci.lower()[-len(address) :]: gpu.index for gpu in scene.gpus.gpus if gpu.pci}
    index = gpus.get(address.lower())
    return f"pci {address}" if index is None else f"gpu{index}"
