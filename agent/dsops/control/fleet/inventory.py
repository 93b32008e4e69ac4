"""Reads a pyinfra inventory and its group_data into a frozen Fleet, without importing pyinfra."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dsops.control.fleet.source import execute, find_line
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError

T = TypeVar("T")
ROLES = ("lb", "gpu", "mon")
# The lab's own inventories: never taken for a site.
REHEARSALS = ("lab", "metal")


@dataclass(frozen=True)
class Server:
    """One server; data has pyinfra's precedence applied already: host over groups over all."""

    name: str
    groups: tuple[str, ...]
    data: Mapping[str, Any]
    where: str

    @property
    def role(self) -> str:
        """`dsops_role`, else the first of its groups that is a role, else the first group."""
        named = [g for g in self.groups if g in ROLES]
        return self.get("dsops_role", str, next(iter([*named, *self.groups]), ""))

    @property
    def address(self) -> str:
        return self.get("ssh_hostname", str, self.name)

    @property
    def ssh_port(self) -> int:
        return self.get("ssh_port", int, 22)

    @property
    def agent_port(self) -> int:
        return self.get("dsops_agent_port", int, 9410)

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of an inventory key. Raises DsopsError when it is not set, or of another type."""
        value = self.data.get(key, default)
        if value is None:
            raise DsopsError(f"{key} is not set", where=self.where, mend=f"set {key} in the inventory's group_data")
        if type(value) is not kind:
            raise DsopsError(f"{key} should be {_kind(kind)}, is {value!r}", where=self.where, mend=f"mend {key}")
        return value


@dataclass(frozen=True)
class Fleet:
    """All servers of one inventory. Its relative paths count from `root`, the checkout, as for pyinfra."""

    path: Path
    root: Path
    servers: tuple[Server, ...]
    key_places: Mapping[str, str]

    def get_server(self, name: str) -> Server:
        """Raises DsopsError with the nearest name when there is no such server."""
        found = next((s for s in self.servers if s.name == name), None)
        if found is None:
            raise DsopsError(f"no such node {name!r}", where=str(self.path), mend=suggest(name, self.names))
        return found

    def check_name(self, name: str) -> None:
        """Raises DsopsError with the nearest name when no server and no group is called so."""
        known = [*self.names, *dict.fromkeys(g for s in self.servers for g in s.groups), "all"]
        if name not in known:
            raise DsopsError(f"no such node or group {name!r}", where=str(self.path), mend=suggest(name, known))

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.servers]

    def find_role(self, role: str) -> tuple[Server, ...]:
        return tuple(s for s in self.servers if s.role == role)

    def get_path(self, server: Server, key: str) -> Path:
        """The file that a key names, `~` and paths relative to the root resolved. Raises DsopsError."""
        return self.root / Path(server.get(key, str)).expanduser()

    def check_keys(self, known: Collection[str]) -> tuple[DsopsError, ...]:
        """Every data key that nobody reads, with the nearest one that somebody does. Pure."""
        unknown = sorted({key for s in self.servers for key in s.data if key not in known})
        return tuple(
            DsopsError(
                f"unknown key {key!r}",
                where=self.key_places.get(key, str(self.path)),
                mend=suggest(key, sorted(known)),
            )
            for key in unknown
        )


# The keys that this side reads; the roles' defaults know the others.
CONTROL_KEYS = (
    "ssh_hostname",
    "ssh_port",
    "ssh_user",
    "ssh_key",
    "ssh_known_hosts_file",
    "ssh_strict_host_key_checking",
    "ssh_look_for_keys",
    "ssh_allow_agent",
    "ssh_paramiko_connect_kwargs",
    "dsops_role",
    "dsops_agent_port",
    "dsops_ssh_user",
    "dsops_ssh_key",
    "dsops_endpoint",
    "dsops_server_name",
    "dsops_ca_file",
    "dsops_api_key_file",
    "accept_floors",
)


def get_fleet(path: Path) -> Fleet:
    """Reads the file and group_data/ beside it. Raises DsopsError with file, line and host or key."""
    path = path.resolve()
    if not path.is_file():
        raise DsopsError(
            "there is no such inventory", where=str(path), mend="`dsops init` writes one; or pass --inventory"
        )
    root = _find_root(path)
    groups = {name: _parse_group(path, name, value) for name, value in execute(path).items() if _is_group(value)}
    every = groups.pop("all", None)
    hosts = _merge_hosts([every] if every else list(groups.values()))
    if not hosts:
        mend = 'write a group: gpu = ["gpu1"]'
        raise DsopsError("no servers: the file has no list of hosts", where=str(path), mend=mend)
    groups.setdefault(path.stem, _Group({name: {} for name in hosts}, {}))
    places: dict[str, str] = {}
    data = _read_group_data([root / "group_data", path.parent / "group_data"], places)
    all_data = {**(every.data if every else {}), **data.get("all", {})}
    servers = tuple(
        _build_server(path, name, groups, {"all": all_data, **_join(groups, data)}, every) for name in hosts
    )
    for server in servers:
        for key in server.data:
            places.setdefault(key, _place(path, key))
    return Fleet(path, root, servers, places)


def find_inventory(start: Path) -> Path:
    """Walks up to `inventory/`: a site's one file, else lab.py. Raises DsopsError when there are several."""
    for folder in (start, *start.parents):
        files = sorted(f for f in (folder / "inventory").glob("*.py") if f.stem != "example" and f.stem[0] not in "_.")
        sites = [f for f in files if f.stem not in REHEARSALS]
        if len(sites) > 1:
            names = ", ".join(f.name for f in sites)
            mend = "pass --inventory, or set DSOPS_INVENTORY"
            raise DsopsError(f"several inventories: {names}", where=str(folder / "inventory"), mend=mend)
        if files:
            return (sites or files)[0]
    raise DsopsError(
        "no inventory found here or above",
        where=str(start),
        mend="`dsops init` writes one; or pass --inventory",
    )


@dataclass(frozen=True)
class _Group:
    hosts: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Any]


def _is_group(value: object) -> bool:
    return isinstance(value, list | tuple)


def _parse_group(path: Path, name: str, value: Any) -> _Group:
    data: object = {}
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[0], list | tuple) or not isinstance(value[1], dict):
            mend = f"write {name} = [...], or {name} = ([...], {{...}})"
            raise DsopsError(
                "a group in round brackets is (hosts, data)", where=f"{_place(path, name)}: {name}", mend=mend
            )
        value, data = value
    assert isinstance(data, dict)
    hosts: dict[str, dict[str, Any]] = {}
    for host in value:
        title, own = _parse_host(path, name, host)
        hosts.setdefault(title, {}).update(own)
    return _Group(hosts, data)


def _parse_host(path: Path, group: str, host: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(host, str) and host:
        return host, {}
    if isinstance(host, tuple) and len(host) == 2 and isinstance(host[0], str) and isinstance(host[1], dict):
        return host[0], host[1]
    where = f"{_place(path, group)}: {group}"
    mend = 'write "gpu1" or ("gpu1", {"ssh_hostname": "10.0.0.11"}); any other list is named _...'
    raise DsopsError(f"{host!r} is no host", where=where, mend=mend)


def _merge_hosts(groups: list[_Group]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.hosts))


def _read_group_data(folders: list[Path], places: dict[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in (f for folder in dict.fromkeys(folders) for f in sorted(folder.glob("*.py"))):
        values = execute(file)
        found.setdefault(file.stem, {}).update(values)
        places.update({key: _place(file, key) for key in values})
    return found


def _join(groups: Mapping[str, _Group], data: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: {**group.data, **data.get(name, {})} for name, group in groups.items()}


def _build_server(
    path: Path,
    name: str,
    groups: Mapping[str, _Group],
    data: Mapping[str, Mapping[str, Any]],
    every: _Group | None,
) -> Server:
    mine = [title for title, group in groups.items() if name in group.hosts]
    merged: dict[str, Any] = dict(data["all"])
    for title in mine:
        merged.update(data[title])
    for title in mine:
        merged.update(groups[title].hosts[name])
    merged.update(every.hosts[name] if every else {})
    return Server(name, tuple(g for g in mine if g != path.stem), merged, f"{_place(path, name)}: {name}")


def _place(path: Path, word: str) -> str:
    line = find_line(path, word)
    return f"{path}:{line}" if line else str(path)


def _find_root(path: Path) -> Path:
    return next((p for p in path.parents if (p / "deploy" / "site.py").is_file()), path.parent)


def _kind(kind: type) -> str:
    return {int: "a whole number", str: "text", bool: "True or False"}.get(kind, kind.__name__)
