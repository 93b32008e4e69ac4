"""Who is calling: the key file, read again whenever it changes."""

import hashlib
import logging
import os
import secrets
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.keys import Key, find_key, parse_keys

_log = logging.getLogger(__name__)
_REMEMBERED = 4096


class Keyring:
    """Keeps the last good set of keys when the file breaks: a typing error must not lock everybody out."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._pepper = secrets.token_bytes(32)
        self._known: dict[bytes, str] = {}
        self.stale = ""
        self._stamp = _stamp(self._path)
        self._keys = _read(path)

    def find_name(self, presented: str) -> str | None:
        """The name of the key, None for a wrong one."""
        self._refresh()
        # Remembered under a hash with a secret of this process, so that no key stays in memory for long.
        mark = hashlib.blake2b(presented.encode("utf-8", "surrogatepass"), key=self._pepper, digest_size=16).digest()
        name = self._known.get(mark)
        if name is None and (key := find_key(self._keys, presented)):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            name = self._known[mark] = key.name
        return name

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys, self.stale = _read(Path(self._path)), ""
            self._known.clear()
            _log.info("read %d keys from %s", len(self._keys), self._path)
        except DsopsError as error:
            self.stale = f"{error}; the keys read before stay valid"
            _log.error("%s (mend: %s)", self.stale, error.mend)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        info = os.stat(path)  # noqa: PTH116 - on the path of every request
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


def _read(path: Path) -> tuple[Key, ...]:
    mend = "write one line a key; dsops.core.keys.hash_key makes it"
    try:
        keys = parse_keys(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DsopsError(f"cannot be read ({error})", where=str(path), mend=mend) from error
    except DsopsError as error:
        raise DsopsError(error.what, where=f"{path}: {error.where}", mend=error.mend) from error
    if not keys:
        raise DsopsError("holds no key, so nobody could be let in", where=str(path), mend=mend)
    return keys
