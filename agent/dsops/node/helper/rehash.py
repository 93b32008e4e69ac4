"""Hashes what a node would go back to once more after each boot, beside the verbs, and sets aside what has rotted (R1).

The agent asks for it while the active slot serves and nothing is under way; it ends as soon as that is no longer so,
and goes on where it was when it is asked again. Each blob is read by a process of its own, so that nothing of it can
keep a rollback waiting.
"""

import sys

from dsops.core.errors import DsopsError
from dsops.core.node import find_target
from dsops.core.state import NodeState, Step
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.moves import OWN, do_nothing
from dsops.node.helper.tell import Told
from dsops.node.store.releases import sum_sizes
from dsops.node.store.reread import BYTES_PER_SECOND, ROTTEN_EXIT

# A slot that has just started reads the same disk.
SETTLED_SECONDS = 60.0
# Over the time that the bound on its speed takes: a disk that gives so little is left alone.
PATIENCE = 4.0
LEAST_SECONDS = 60.0


def rehash(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    """left: blobs that were not hashed since the boot."""
    left = find_left(desk)
    if left:
        desk.beside.begin(lambda: hash_all(desk))
    return {"left": len(left)}


def find_left(desk: Desk) -> dict[str, int]:
    """sha256 -> bytes of what was not hashed since the boot: first the way back, then what has the traffic."""
    state, _ = desk.moves.read()
    sizes: dict[str, int] = {}
    for release in _list_releases(state, at=desk.now()):
        sizes |= _find_sizes(desk, release)
    return {digest: sizes[digest] for digest in desk.blobs.find_unproven(sizes)}


def _list_releases(state: NodeState, *, at: float) -> list[str]:
    try:
        first = [find_target(state, at=at)]
    except DsopsError:
        first = []
    active = [state.active.release] if state.active else []
    return list(dict.fromkeys([*first, *active, *(one.release for one in state.fallbacks)]))


def hash_all(desk: Desk) -> None:
    """As long as nobody else needs the disk."""
    left = find_left(desk)
    for digest, size in left.items():
        if not _is_quiet(desk):
            return
        hash_one(desk, digest, size)
    if not find_left(desk):
        desk.hands.log(f"{len(left)} blobs of {sum(left.values()) / 1e9:.2f} GB were hashed again since the boot")


def _is_quiet(desk: Desk) -> bool:
    state, _ = desk.moves.read()
    if state.move and state.move.step is not Step.CANARY:
        return False
    return state.active is None or bool(desk.hands.find_warm((state.active.slot,), seconds=SETTLED_SECONDS))


def hash_one(desk: Desk, digest: str, size: int) -> None:
    """Rotten is what twice is not what its name says: a bus may have a bad moment."""
    rot = _find_rot(desk, digest, size) and _find_rot(desk, digest, size)
    if rot:
        desk.blobs.set_aside(digest)
        _tell(desk, digest, rot)


def _find_rot(desk: Desk, digest: str, size: int) -> str:
    """What is wrong with it; "" when it is good, or gone. Raises DsopsError when nobody can say."""
    stamp, path = desk.blobs.read_stamp(digest), desk.blobs.path(digest)
    if stamp is None:
        return ""
    argv = [sys.executable, "-I", "-m", "dsops.node.store.reread", str(path)]
    done = desk.run(argv, timeout=LEAST_SECONDS + PATIENCE * size / BYTES_PER_SECOND)
    if done.code == ROTTEN_EXIT:
        return f"the disk cannot give it back ({done.stderr.strip()})"
    if done.code:
        mend = "it is tried again by itself; `dmesg`"
        raise DsopsError(f"cannot be read again: {done.stderr.strip()[-500:]}", where=str(path), mend=mend)
    if done.stdout.strip() != digest:
        return "it is not what its name says"
    desk.blobs.keep_proven(digest, stamp)
    return ""


def _tell(desk: Desk, digest: str, rot: str) -> None:
    state, _ = desk.moves.read()
    spoilt = [one for one in _list_releases(state, at=desk.now()) if digest in _find_sizes(desk, one)]
    what = f"the blob {digest[:12]} of {', '.join(spoilt)} has rotted on this disk: {rot}"
    says = f"{what}; the next push brings it again"
    desk.hands.log(says)
    desk.moves.note(Told("rotten", next(iter(spoilt), ""), says), note=OWN, then=do_nothing)


def _find_sizes(desk: Desk, release: str) -> dict[str, int]:
    """sha256 -> bytes of what it is made of; nothing where that cannot be read here."""
    return sum_sizes(desk.releases.get(release)) if desk.releases.is_usable(release) else {}
