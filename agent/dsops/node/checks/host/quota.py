"""What the kernel has only so many of: open files, and connections that the firewall follows."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.kernel_state import Quota
from dsops.node.sources.unread import Unread

FILES, CONNECTIONS = "host.fds", "host.conntrack"


def look_at_files(scene: Scene) -> Iterator[Sight]:
    return _look(scene, FILES, scene.host.machine.open_files, "open files")


def look_at_connections(scene: Scene) -> Iterator[Sight]:
    return _look(scene, CONNECTIONS, scene.host.machine.connections, "connections that can be followed")


def _look(scene: Scene, code: str, quota: Quota | Unread, what: str) -> Iterator[Sight]:
    sample = scene.host.machine.sample
    if isinstance(quota, Unread):
        yield see_unread(code, "kernel", sample, quota)
        return
    yield from compare(
        code,
        "kernel",
        sample,
        quota.used / max(quota.most, 1),
        limit=scene.limit(code, "share"),
        says=lambda share: f"{share:.0%} of {quota.most} {what} are in use",
    )


def needs_files(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.open_files)


def needs_connections(scene: Scene) -> str:
    """Each network has its own table, a container's too."""
    return find_absence(scene, scene.host.machine.connections, in_container=True)


CHECKS = (
    Check(FILES, (FILES,), look_at_files, needs=needs_files, every=EVERY),
    Check(CONNECTIONS, (CONNECTIONS,), look_at_connections, needs=needs_connections, every=EVERY),
)
