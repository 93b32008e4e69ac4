"""The links that traffic follows: slots/<slot> -> a release, lanes/<lane> -> a slot; each turned by one rename(2)."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.lanes import LANES, STABLE, find_lanes
from dsops.core.state import SLOTS, Active, Held, NodeState, Stage
from dsops.node.store.disk import Disk, on_disk, tell_os_error

# Given back when the disk is too full to turn a link; ext4 and xfs need a block or two for it at most.
BALLAST = 1 << 20


class Pointers:
    """Slots and lanes of one store."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def set_slot(self, slot: str, release: str) -> None:
        """slots/<slot> leads to the release; "" takes the link away. May be done twice."""
        path = self._root / "slots" / slot
        if release:
            self._turn(path, f"../releases/{release}")
        elif path.is_symlink():
            with on_disk(path):
                self._disk.unlink(path)
        with on_disk(path):
            self._disk.sync_folder(path.parent)

    def set_lanes(self, slot: str, *, share: int = 100, other: str = "") -> None:
        """The lanes of `share` percent lead to the slot, the rest to `other`. After a cut it is done again."""
        theirs = find_lanes(share)
        self._lead({lane: slot if lane in theirs else other for lane in LANES})

    def read_slot(self, slot: str) -> str:
        """The release that a slot's link leads to, "" when there is none."""
        return _read_name(self._root / "slots" / slot)

    def read_lanes(self) -> dict[str, str]:
        """lane -> slot; a lane that is not there is missing."""
        found = {lane: _read_name(self._root / "lanes" / lane) for lane in LANES}
        return {lane: slot for lane, slot in found.items() if slot}

    def find_state(self, *, at: float) -> NodeState:
        """What the links say, for a store whose journal says nothing: a first start, or a lost journal.

        What has most of the traffic, and has the stable lane where two have as much, is active, and taken as new: its
        bake window begins. What has less is a canary whose move was lost: `mend` leads its lanes back.
        """
        held = tuple(Held(slot, self.read_slot(slot)) for slot in SLOTS)
        lanes = self.read_lanes()

        def weigh(one: Held) -> tuple[int, bool]:
            share = sum(LANES[lane] for lane, slot in lanes.items() if slot == one.slot)
            return share, lanes.get(STABLE) == one.slot

        serving = [one for one in held if one.release and weigh(one) > (0, False)]
        lead = max(serving, key=weigh, default=None)
        active = Active(lead.release, lead.slot, at, Stage.BAKING) if lead else None
        return NodeState(slots=held, active=active)

    def find_damage(self, state: NodeState) -> list[str]:
        """Links that do not lead where the state says, one sentence each."""
        wrong = [
            f"slot {held.slot} leads to {self.read_slot(held.slot) or 'nothing'}, not to {held.release or 'nothing'}"
            for held in state.slots
            if self.read_slot(held.slot) != held.release
        ]
        lanes = self.read_lanes()
        wrong += [
            f"lane {lane} leads to slot {lanes.get(lane, 'nothing')}, not to {slot}"
            for lane, slot in state.lanes.items()
            if lanes.get(lane) != slot
        ]
        return wrong

    def mend(self, state: NodeState) -> list[str]:
        """Makes all links lead where the state says; what was wrong."""
        if not (wrong := self.find_damage(state)):
            return []
        for held in state.slots:
            self.set_slot(held.slot, held.release)
        if state.lanes:
            self._lead(state.lanes)
        return wrong

    def ensure_ballast(self) -> None:
        """Keeps a little room for a full disk; does nothing when it is there, or there is none left for it."""
        path = self._root / "state/ballast"
        with suppress(OSError):
            if not path.exists():
                with self._disk.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                    self._disk.write(fd, bytes(BALLAST), 0)
                    self._disk.fsync(fd)

    def _lead(self, lanes: Mapping[str, str]) -> None:
        """Each lane by one rename, in their order."""
        folder = self._root / "lanes"
        for lane, slot in lanes.items():
            self._turn(folder / lane, f"../slots/{slot}")
        with on_disk(folder):
            self._disk.sync_folder(folder)

    def _turn(self, path: Path, target: str) -> None:
        if path.is_symlink() and str(path.readlink()) == target:
            return
        try:
            self._rename_in(path, target)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise tell_os_error(error, where=path) from error
            self._drop_ballast()
            with on_disk(path):
                self._rename_in(path, target)

    def _rename_in(self, path: Path, target: str) -> None:
        new = path.with_name(f".{path.name}.new")
        if new.is_symlink() or new.exists():
            self._disk.unlink(new)
        self._disk.symlink(new, target)
        self._disk.rename(new, path)

    def _drop_ballast(self) -> None:
        with suppress(OSError):
            self._disk.unlink(self._root / "state/ballast")


def _read_name(path: Path) -> str:
    try:
        return path.readlink().name
    except OSError:
        return ""


def check_release_id(release: object) -> str:
    """A release's id, and nothing that climbs out of a folder. Raises DsopsError else."""
    text = release if isinstance(release, str) else ""
    if len(text) != 13 or text[0] != "r" or set(text[1:]) - set("0123456789abcdef"):
        mend = "an id is r and 12 hex digits; `dsops node release list` shows them"
        raise DsopsError(f"{release!r} is no release id", mend=mend)
    return text
