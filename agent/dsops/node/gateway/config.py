"""gateway.toml: what the gateway is told, parsed once into a frozen dataclass."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.lanes import LANES as CORE_LANES
from dsops.core.lanes import STABLE

STABLE_LANE = STABLE
LANES = tuple(CORE_LANES)


@dataclass(frozen=True)
class Address:
    """Where a TCP socket listens or is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Config:
    """All of gateway.toml. Times are seconds, sizes bytes."""

    listen: Address = Address("0.0.0.0", 8080)  # noqa: S104 - nginx comes from another server
    admin_listen: Address = Address("0.0.0.0", 9411)  # noqa: S104 - Prometheus too
    control_socket: Path = Path("/run/dsops/gateway.sock")
    state_file: Path = Path("/var/lib/dsops/state/gateway.json")
    lanes_dir: Path = Path("/var/lib/dsops/lanes")
    slots_dir: Path = Path("/var/lib/dsops/slots")
    auth: bool = True
    keys_file: Path | None = None
    # Requests that may be with the engine at once; one more is told to come back later.
    max_in_flight: int = 256
    max_body: int = 4 * 1024 * 1024
    body_timeout: float = 30.0
    # A whole answer, the wait for its first token when it streams, and the longest pause in a stream.
    deadline: float = 900.0
    first_token_timeout: float = 120.0
    token_timeout: float = 60.0
    # Must be longer than the idle timeout of the nginx in front, or nginx writes into closing connections.
    keep_alive: float = 75.0
    # How long kept-alive connections are still answered after the door was closed.
    drain_linger: float = 2.0
    shutdown_grace: float = 30.0
    # Reused streams to a slot close when idle for this long: a Triton that stops waits for them (measured).
    stream_idle: float = 0.5
    access_log: bool = False
    slots: Mapping[str, Address] = dataclasses.field(
        default_factory=lambda: {"a": Address("127.0.0.1", 8101), "b": Address("127.0.0.1", 8201)}
    )


def load_config(path: Path) -> Config:
    """Reads and checks the file; raises DsopsError that names file, key and mend."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DsopsError(
            f"cannot be read ({error.strerror})", where=str(path), mend="give the right --config"
        ) from error
    except UnicodeDecodeError as error:
        raise DsopsError("is not UTF-8 text", where=str(path), mend="save it as UTF-8") from error
    return parse_config(text, where=str(path))


def parse_config(text: str, *, where: str) -> Config:
    """The configuration that `text` says; `where` is its file, for errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DsopsError(f"is not TOML: {error}", where=where, mend="mend that line") from error
    fields = {field.name: field for field in dataclasses.fields(Config)}
    for key in data:
        if key not in fields:
            raise DsopsError("unknown key", where=f"{where}: {key}", mend=suggest(key, fields))
    values: dict[str, Any] = {k: _value(k, v, where=f"{where}: {k}") for k, v in data.items()}
    config = Config(**values)
    _check(config, where=where)
    return config


_ADDRESSES = ("listen", "admin_listen")
_PATHS = ("control_socket", "state_file", "lanes_dir", "slots_dir", "keys_file")
_WHOLE = ("max_in_flight", "max_body")
_ZERO_IS_FINE = ("drain_linger", "shutdown_grace", "stream_idle")


def _value(key: str, value: object, *, where: str) -> object:
    if key in _ADDRESSES:
        return _address(value, where=where)
    if key in _PATHS:
        return _path(value, where=where)
    if key == "slots":
        return _slots(value, where=where)
    if key in ("auth", "access_log"):
        return _bool(value, where=where)
    return _number(key, value, where=where)


def _check(config: Config, *, where: str) -> None:
    if config.auth and config.keys_file is None:
        mend = 'add keys_file = "/etc/dsops/api-keys", or auth = false to serve everybody who can connect'
        raise DsopsError("without keys_file nobody could be let in", where=f"{where}: keys_file", mend=mend)
    if config.listen == config.admin_listen and config.listen.port:
        raise DsopsError("is the same as listen", where=f"{where}: admin_listen", mend="give it a port of its own")


def _address(value: object, *, where: str) -> Address:
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        if host and port.isdigit() and int(port) < 65536:
            return Address(host.strip("[]"), int(port))
    raise DsopsError(f"should be an address, is {value!r}", where=where, mend='write "0.0.0.0:8080"')


def _path(value: object, *, where: str) -> Path:
    if isinstance(value, str) and value.startswith("/"):
        return Path(value)
    raise DsopsError(f"should be an absolute path, is {value!r}", where=where, mend='write "/..."')


def _bool(value: object, *, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise DsopsError(f"should be true or false, is {value!r}", where=where, mend="write true, without quotes")


def _number(key: str, value: object, *, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int if key in _WHOLE else (int, float)):
        kind = "a whole number" if key in _WHOLE else "a number"
        raise DsopsError(f"should be {kind}, is {value!r}", where=where, mend="write a number without quotes")
    if not (value > 0 or (value == 0 and key in _ZERO_IS_FINE)) or value == float("inf"):
        raise DsopsError(f"should be above 0, is {value!r}", where=where, mend="remove the line for the default")
    return value


def _slots(value: object, *, where: str) -> Mapping[str, Address]:
    if not isinstance(value, dict) or not value:
        raise DsopsError(f"should be a table, is {value!r}", where=where, mend='write [slots] a = "127.0.0.1:8101"')
    return {str(name): _address(address, where=f"{where}.{name}") for name, address in value.items()}
