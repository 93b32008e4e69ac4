"""API keys as they are kept: a name, a salt and a hash a line, never the key itself."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from dsops.core.errors import DsopsError

_FORM = "a line is name:salt_hex:sha256_hex(salt + key); make one with `dsops.core.keys.hash_key`"


@dataclass(frozen=True, slots=True)
class Key:
    """Who may ask. The digest is sha256 over the salt's bytes, then the key's UTF-8 bytes."""

    name: str
    salt: bytes
    digest: bytes


def hash_key(key: str, salt: bytes, *, name: str) -> str:
    """The line of the key file for `key`, without its line end; the caller brings 16 random bytes of salt."""
    if not name or ":" in name or name.startswith("#") or name != name.strip():
        raise DsopsError(f"{name!r} cannot name a key", mend="use letters, digits, - and _")
    if not key or len(salt) < 8:
        raise DsopsError("a key needs at least one character and a salt of 8 bytes or more")
    return f"{name}:{salt.hex()}:{_digest(key, salt).hex()}"


def parse_keys(text: str) -> tuple[Key, ...]:
    """All the keys of a key file; raises DsopsError that names the line."""
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    keys = tuple(_parse_line(line, where=f"line {number}") for number, line in lines if line and line[0] != "#")
    names = [key.name for key in keys]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DsopsError(f"key name {min(twice)!r} stands twice", mend="give every key its own name")
    return keys


def find_key(keys: Iterable[Key], presented: str) -> Key | None:
    """The key that was presented; compares every one in constant time, so that time tells nothing."""
    found = None
    for key in keys:
        if hmac.compare_digest(_digest(presented, key.salt), key.digest):
            found = key
    return found


def _digest(key: str, salt: bytes) -> bytes:
    return hashlib.sha256(salt + key.encode("utf-8", "surrogatepass")).digest()


def _parse_line(line: str, *, where: str) -> Key:
    parts = line.split(":")
    try:
        name, salt, digest = parts[0], bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
    except (ValueError, IndexError):
        raise DsopsError("not a key line", where=where, mend=_FORM) from None
    if len(parts) != 3 or not name or len(salt) < 8 or len(digest) != 32:
        raise DsopsError("not a key line", where=where, mend=_FORM)
    return Key(name=name, salt=salt, digest=digest)
