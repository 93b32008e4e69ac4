"""Runs every role's verify.py against the servers of an inventory: `dsops verify`, or pytest by hand.

By hand: `pytest roles -o python_files=verify.py --inventory inventory/lab.py [--limit gpu1]`. Each verify.py says in
GROUPS which servers it is for; `all` means every one.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import testinfra  # type: ignore[import-untyped]
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.core.errors import DsopsError


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `dsops verify`."""
    parser.addoption("--inventory", type=Path, default=Path("inventory/lab.py"), help="Whose servers to verify.")
    parser.addoption("--limit", action="append", default=[], help="Only this server or group.")


def pytest_configure(config: pytest.Config) -> None:
    """Reads the inventory once; an expected error is one line, no traceback."""
    try:
        fleet = get_fleet(config.getoption("--inventory"))
        for name in config.getoption("--limit"):
            fleet.check_name(name)
    except DsopsError as error:
        raise pytest.UsageError(f"{error}\n  mend: {error.mend}") from error
    config.stash[FLEET] = fleet


FLEET = pytest.StashKey[Fleet]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each server that the role is for."""
    if "server" in metafunc.fixturenames:
        servers = find_servers(metafunc.config, getattr(metafunc.module, "GROUPS", ()))
        metafunc.parametrize("server", servers, ids=[server.name for server in servers], scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out, instead of skipping, the checks that no server is left for."""
    items[:] = [item for item in items if _has_server(item)]


def _has_server(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return "server" not in parameters or isinstance(parameters["server"], Server)


def find_servers(config: pytest.Config, groups: tuple[str, ...]) -> list[Server]:
    """The inventory's servers in one of these groups, and within --limit."""
    limits = set(config.getoption("--limit")) or {"all"}
    return [
        server
        for server in config.stash[FLEET].servers
        if {"all", *server.groups} & set(groups) and {"all", server.name, *server.groups} & limits
    ]


def render_ssh_config(fleet: Fleet, folder: Path) -> str:
    """An ssh configuration for the whole fleet: pinned keys, nothing asked, one connection a server kept open."""
    return "".join(_render_server(fleet, server, folder) for server in fleet.servers)


def _render_server(fleet: Fleet, server: Server, folder: Path) -> str:
    options = {
        "HostName": server.address,
        "Port": server.ssh_port,
        "User": server.get("ssh_user", str, "root"),
        "IdentityFile": f'"{fleet.get_path(server, "ssh_key")}"',
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": f'"{fleet.get_path(server, "ssh_known_hosts_file")}"',
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "ControlPath": f'"{folder}/%C"',
    }
    return f"Host {server.name}\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """The inventory."""
    return pytestconfig.stash[FLEET]


@pytest.fixture(scope="session")
def ssh_config(fleet: Fleet) -> Iterator[Path]:
    """The file that ssh reads; its connections end with the session."""
    folder = Path(tempfile.mkdtemp(prefix="dsops-"))  # short: the path of a socket may have 107 bytes
    config = folder / "config"
    try:
        config.write_text(render_ssh_config(fleet, folder))
        yield config
    finally:
        for server in fleet.servers:
            words = ["ssh", "-F", str(config), "-O", "exit", server.name]
            subprocess.run(words, capture_output=True, timeout=10, check=False)
        rmtree(folder)


@pytest.fixture(scope="session")
def reached() -> dict[str, str]:
    """server -> why it cannot be reached, or nothing: a dead one is waited for and named once, not once a test."""
    return {}


@pytest.fixture
def host(server: Server, ssh_config: Path, reached: dict[str, str]) -> Any:
    """testinfra's Host of a server, over ssh as root."""
    if reached.get(server.name):
        pytest.skip(f"{server.name} cannot be reached")
    if server.name not in reached:
        reached[server.name] = connect(ssh_config, server.name)
        if reached[server.name]:
            pytest.fail(f"{server.name} cannot be reached by ssh: {reached[server.name]}", pytrace=False)
    return testinfra.get_host(f"ssh://{server.name}", ssh_config=str(ssh_config), controlpersist=60)


def connect(config: Path, name: str) -> str:
    """Opens the connection that all tests of a server share; why it cannot be, or nothing."""
    words = ["ssh", "-F", str(config), "-o", "ConnectTimeout=5", "-o", "ControlMaster=auto"]
    words += ["-o", "ControlPersist=60", name, "true"]
    # Not captured by pipes: the connection that stays in the background would hold them open.
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(words, stdout=said, stderr=said, timeout=30, check=False).returncode
        said.seek(0)
        return "" if code == 0 else said.read().decode().strip() or f"exit {code}"
