"""Which release answers on a lane: follows the links lane -> slot -> release, keeps each chat template."""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Template

from dsops.core.chat import Tags, compile_template
from dsops.core.errors import DsopsError
from dsops.core.release import Limits, parse_release, release_id

_KEPT = 4


@dataclass(frozen=True, slots=True)
class Served:
    """A release as the gateway needs it. created: Unix seconds, when it was put on this server."""

    id: str
    model: str
    limits: Limits
    tags: Tags | None
    opened_by_prompt: bool
    template: Template
    eos: str
    bos: str
    created: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes."""

    lane: str
    slot: str
    release: Served


class Releases:
    """Follows the links at every request; a release itself never changes, so it is read once."""

    def __init__(self, *, lanes: Path, slots: Path, now: Callable[[], datetime]) -> None:
        self._lanes = str(lanes)
        self._slots = str(slots)
        self._now = now
        self._known: OrderedDict[str, Served] = OrderedDict()

    def find_slot(self, lane: str) -> str:
        """The slot that the lane points to; raises DsopsError when the lane is closed."""
        link = os.path.join(self._lanes, lane)  # noqa: PTH118 - on the path of every request
        try:
            return os.path.basename(os.readlink(link))  # noqa: PTH115, PTH119
        except OSError as error:
            raise DsopsError(
                f"lane {lane} leads nowhere ({error.strerror})", where=link, mend="switch a release onto it"
            ) from error

    def get_target(self, lane: str) -> Target:
        """Slot and release of a lane; raises DsopsError naming the link or file that is wrong."""
        slot = self.find_slot(lane)
        return Target(lane=lane, slot=slot, release=self.get_release(slot))

    def get_release(self, slot: str) -> Served:
        link = os.path.join(self._slots, slot)  # noqa: PTH118
        try:
            name = os.path.basename(os.readlink(link))  # noqa: PTH115, PTH119
        except OSError as error:
            raise DsopsError(
                f"slot {slot} holds no release ({error.strerror})", where=link, mend="activate one"
            ) from error
        known = self._known.get(name)
        return known if known is not None else self._read(name, Path(link).resolve())

    def _read(self, name: str, folder: Path) -> Served:
        served = read_release(folder, now=self._now)
        self._known[name] = served
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return served


def read_release(folder: Path, *, now: Callable[[], datetime]) -> Served:
    """Reads release.json and the chat template; raises DsopsError naming the file."""
    path = folder / "release.json"
    manifest = _read_bytes(path)
    release = parse_release(manifest, where=str(path))
    if release_id(manifest) != folder.name:
        what = f"does not belong to release {folder.name}: its bytes are {release_id(manifest)}"
        raise DsopsError(what, where=str(path), mend="push the release again")
    template = folder / release.template
    try:
        compiled = compile_template(_read_bytes(template).decode("utf-8", "replace"), now=now)
    except DsopsError as error:
        raise DsopsError(error.what, where=str(template), mend="push the release again") from error
    reasoning = release.reasoning
    return Served(
        id=release_id(manifest),
        model=release.model,
        limits=release.limits,
        tags=Tags(reasoning.open, reasoning.close) if reasoning else None,
        opened_by_prompt=bool(reasoning and reasoning.opened_by_prompt),
        template=compiled,
        eos=release.eos,
        bos=release.bos,
        created=int(path.stat().st_mtime),
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DsopsError(
            f"cannot be read ({error.strerror})", where=str(path), mend="push the release again"
        ) from error
