"""Reads the passports that lie beside a release in the store; the helper has checked their signatures."""

from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware, Passport, find_fitting, parse_passport
from dsops.core.state import Kind, Move
from dsops.node.store.releases import find_passport_files


@dataclass(frozen=True)
class Papers:
    """What lies there. damage: one sentence for each that cannot be read."""

    passports: tuple[Passport, ...] = ()
    damage: tuple[str, ...] = ()


def find_demand(root: Path, move: Move, hardware: Hardware | None) -> Passport | None:
    """What the release of a move must meet here; nothing on the way back, which must not fail for being slow.

    root: the store. hardware: None when nobody knows.
    """
    if hardware is None or move.kind is not Kind.ACTIVATE:
        return None
    return find_fitting(read_passports(root / "passports", move.release).passports, hardware)


class PassportsReader:
    """Of one store; read again only when something was put beside them, or taken away. Blocking."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "passports"
        self._stamp: int | None = None
        self._known: dict[str, Papers] = {}

    def read(self, release: str) -> Papers:
        """Never raises: what cannot be read is damage."""
        try:
            stamp = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return Papers()
        except OSError as error:
            return Papers(damage=(f"{self._folder} cannot be read ({error.strerror})",))
        if stamp != self._stamp:
            self._stamp, self._known = stamp, {}
        if release not in self._known or self._known[release].damage:
            self._known[release] = read_passports(self._folder, release)
        return self._known[release]


def read_passports(folder: Path, release: str) -> Papers:
    """All of one release."""
    found, damage = [], []
    for file in find_passport_files(folder, release):
        try:
            found.append(read_passport(file, release))
        except DsopsError as error:
            damage.append(str(error))
    return Papers(tuple(found), tuple(damage))


def read_passport(file: Path, release: str) -> Passport:
    """Raises DsopsError: it cannot be read, or is for another release."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(file)) from error
    return check_release(parse_passport(content, where=str(file)), release, where=str(file))


def check_release(passport: Passport, release: str, *, where: str) -> Passport:
    """The passport. Raises DsopsError when it is for another release."""
    if passport.release != release:
        what = f"a passport for {passport.release}, not for {release}"
        raise DsopsError(what, where=where, mend="bring the passport that was made of this release")
    return passport
