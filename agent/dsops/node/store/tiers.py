"""Copies releases between the hot and the cold tier: each blob is read back and hashed where it came to lie."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.core.release import Release
from dsops.core.tiers import SPARE, Tier
from dsops.node.store.blobs import AlteredError, Blobs
from dsops.node.store.cold import Cold
from dsops.node.store.disk import Tick
from dsops.node.store.rate import Rate
from dsops.node.store.releases import Own, Releases, sum_sizes
from dsops.node.store.turn import Moving, Turn


def do_nothing() -> None:
    """What mostly is to be done when a copy is whole."""


@dataclass(frozen=True)
class Tiers:
    """The two tiers of one store. What was copied until a cut is gone on with."""

    hot: Releases
    hot_blobs: Blobs
    cold: Cold
    rate: Rate
    turn: Turn
    now: Callable[[], float]
    log: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def keep(self, release: str, *, own: bool = False, then: Callable[[], None] = do_nothing) -> None:
        """The cold tier holds the release whole from now on, all of it read back; the hot one goes on holding it.

        own: dsops does it by itself, and gives way to a person. then: done before anybody else may move a release.
        Raises DsopsError.
        """
        sizes = sum_sizes(self.hot.get(release))
        with self.turn.take(Moving(release, Tier.COLD, sum(sizes.values())), own=own):
            self.cold.open(at=self.now())
            tick = self._ticking(own=own)
            copied = self._copy(sizes, self.hot_blobs, self.cold.blobs, tick=tick, tier=Tier.COLD)
            for digest in sizes.keys() - copied:
                self._prove_cold(digest, sizes[digest], tick=tick)
            self._build(release, self.hot.read_own(release), self.hot, self.cold.releases)
            then()

    def _prove_cold(self, digest: str, size: int, *, tick: Tick) -> None:
        """What lay there already may have rotted since it came; then it comes again, as long as hot still has it."""
        try:
            self.cold.blobs.prove({digest: size}, afresh={digest}, tick=tick)
        except DsopsError as error:
            if self.cold.blobs.has(digest):
                raise
            self.log(f"{error}; it is copied again")
            _copy_one(digest, size, self.hot_blobs, self.cold.blobs, tick=tick)

    def heat(self, release: str, *, check: Callable[[Own], None], own: bool = False) -> int:
        """The hot tier holds the release whole from now on; the cold one goes on holding it. Bytes that were copied.

        check: raises when its signature is not good. Raises DsopsError.
        """
        with self.turn.take(Moving(release, Tier.HOT, 0), own=own):
            self.cold.open(at=self.now())
            found = self._get_cold(release)
            paper = self.cold.releases.read_own(release)
            check(paper)
            sizes = sum_sizes(found)
            total = self.hot_blobs.count_missing(sizes)
            self.turn.moving = Moving(release, Tier.HOT, total)
            began = self.clock()
            self._copy(sizes, self.cold.blobs, self.hot_blobs, tick=self._ticking(own=own), tier=Tier.HOT)
            self.rate.add(total, self.clock() - began)
            self._build(release, paper, self.cold.releases, self.hot)
            return total

    def count_heat(self, release: str) -> int:
        """Bytes that must be copied before the release lies on the hot tier. Raises DsopsError."""
        return self.hot_blobs.count_missing(sum_sizes(self.cold.releases.get(release)))

    def _get_cold(self, release: str) -> Release:
        if self.cold.releases.has(release):
            return self.cold.releases.get(release)
        mend = f"`dsops release push {release}` brings it; `dsops node release list` shows what is here"
        raise DsopsError(f"{release} is not on the cold tier", where=str(self.cold.root), mend=mend)

    def _ticking(self, *, own: bool) -> Tick:
        def tick(count: int) -> None:
            self.turn.advance(count, own=own)

        return tick

    def _copy(
        self, sizes: Mapping[str, int], source: Blobs, target: Blobs, *, tick: Tick, tier: Tier
    ) -> frozenset[str]:
        """The digests of those that were not there."""
        missing = {digest: size for digest, size in sizes.items() if not target.has(digest)}
        _check_room(target, missing, tier=tier)
        for digest, size in missing.items():
            _copy_one(digest, size, source, target, tick=tick)
        return frozenset(missing)

    def _build(self, release: str, own: Own, source: Releases, target: Releases) -> None:
        target.build(own.manifest, own.signature)
        there = target.find_passports(release)
        for passport in source.find_passports(release):
            if passport not in there:
                target.keep_passport(release, passport)


def _copy_one(digest: str, size: int, source: Blobs, target: Blobs, *, tick: Tick) -> None:
    """Goes on where an earlier copy stopped; what comes altered is begun again once, unless its source is rotten."""
    is_last = False
    while True:
        held = min(size, target.count_held(digest))
        try:
            with source.reading(digest, offset=held, tick=tick) as read:
                _, is_whole = target.receive(digest, size=size, offset=held, read=read)
        except AlteredError:
            # The source, when it is to blame, is put aside and named by this.
            source.prove({digest: size}, afresh={digest})
            if is_last:
                raise
            is_last = True
            continue
        if not is_whole:
            source.prove({digest: size}, afresh={digest})
            raise DsopsError(f"the blob {digest[:12]} ended early", where=str(source.path(digest)), mend="try again")
        return


def _check_room(target: Blobs, sizes: Mapping[str, int], *, tier: Tier) -> None:
    need, free = int(target.count_missing(sizes) * SPARE), target.count_free()
    if need > free:
        what = (
            f"the {tier} tier has {free / 1e9:.2f} GB left, the copy needs {need / 1e9:.2f} GB: "
            f"{(need - free) / 1e9:.2f} GB are missing"
        )
        raise DsopsError(what, where=str(target.path("0" * 64).parent), mend=_mend_room(tier))


def _mend_room(tier: Tier) -> str:
    if tier is Tier.HOT:
        return "`dsops node release list`, then `dsops node release cool ID`, or `remove ID`"
    return "`dsops node release list`, then `dsops node release remove ID`; or a bigger disk"
