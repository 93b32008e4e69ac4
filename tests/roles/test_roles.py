"""Every role against servers that are not there: what it would run on each system that it knows."""

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_inventory

from roles.agent.deploy import agent
from roles.base.deploy import base
from roles.container.deploy import container
from roles.driver.deploy import driver
from roles.engine.deploy import engine
from roles.firewall.deploy import firewall
from roles.gateway.deploy import gateway
from roles.helper.defaults import Helper
from roles.helper.deploy import add_tiers, find_namespace, helper, name_mount
from roles.mig.deploy import mig
from roles.monitoring.deploy import monitoring
from roles.nginx.deploy import nginx
from roles.rdma.deploy import rdma
from roles.ssh.deploy import ssh
from roles.storage.defaults import Storage
from roles.storage.deploy import storage
from roles.swap.deploy import swap
from roles.system.deploy import system
from roles.triton.deploy import triton
from tests.roles.bundle import RELEASE, fake_data, write_bundle

SYSTEMS = ("debian 12", "ubuntu 22.04", "ubuntu 24.04")
SITE = {"lb": ("lb1",), "gpu": ("gpu1", "gpu2"), "mon": ("mon1",)}
# pyinfra types a deploy as an operation; what counts here is that it can be added to a state.
ROLES: dict[str, tuple[Any, str]] = {
    "base": (base, "mon1"),
    "storage": (storage, "gpu1"),
    "swap": (swap, "gpu1"),
    "system": (system, "gpu1"),
    "rdma": (rdma, "gpu1"),
    "driver": (driver, "gpu1"),
    "ssh": (ssh, "gpu1"),
    "firewall": (firewall, "gpu1"),
    "agent": (agent, "gpu1"),
    "triton": (triton, "gpu1"),
    "mig": (mig, "gpu1"),
    "container": (container, "gpu1"),
    "helper": (helper, "gpu1"),
    "engine": (engine, "gpu1"),
    "gateway": (gateway, "gpu1"),
    "nginx": (nginx, "lb1"),
    "monitoring": (monitoring, "mon1"),
}


def commands(
    role: str, tmp_path: Path, *, system: str = "debian 12", bundle: Path | None = None, **more: Any
) -> list[str]:
    """What the role would run on one server of a whole site."""
    made_for = system if system in SYSTEMS else "debian 12"
    bundle = bundle or write_bundle(tmp_path / "bundle", system=made_for)
    data = fake_data(bundle, tmp_path / "secrets", system=system) | more
    names = [f"@fake/{name}" for members in SITE.values() for name in members]
    groups: Any = {group: ([f"@fake/{name}" for name in members], {}) for group, members in SITE.items()}
    deploy, target = ROLES[role]
    state = State(Inventory((names, data), **groups), Config())  # type: ignore[no-untyped-call]
    state.limit_hosts = [host for host in state.inventory if host.name == f"@fake/{target}"]
    with ctx_inventory.use(state.inventory):
        connect_all(state)
        add_deploy(state, deploy)
        run_ops(state)
    (host,) = state.limit_hosts
    assert not state.failed_hosts
    connector: Any = host.connector
    return list(connector.executed_commands)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("role", ROLES)
def test_every_role_builds_on_every_system(tmp_path: Path, role: str, system: str) -> None:
    assert commands(role, tmp_path, system=system)


@pytest.mark.parametrize("system", ["debian 13", "rocky 9.4"])
def test_an_unknown_system_is_refused_before_any_change(tmp_path: Path, system: str) -> None:
    with pytest.raises(DeployError, match=f"{system} is not supported.*\n.*ubuntu 24.04.*nothing was changed"):
        commands("base", tmp_path, system=system)


def test_a_bundle_for_another_system_is_refused_before_any_change(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "debian", system="debian 12")
    with pytest.raises(DeployError, match=r"this server is ubuntu 22\.04, the bundle's packages are for debian 12"):
        commands("base", tmp_path, system="ubuntu 22.04", bundle=bundle)


def test_wheels_for_another_python_are_refused_before_any_change(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "noble", system="ubuntu 24.04", python="cp311")
    with pytest.raises(DeployError, match=r"the bundle's wheels are for Python 3\.11, ubuntu 24\.04 has 3\.12"):
        commands("base", tmp_path, system="ubuntu 24.04", bundle=bundle)


@pytest.mark.parametrize(
    ("system", "python", "packages"),
    [
        ("debian 12", "python3", "chrony python3 python3-venv"),
        ("ubuntu 22.04", "python3.11", "chrony python3.11 python3.11-venv"),
        ("ubuntu 24.04", "python3", "chrony python3 python3-venv"),
    ],
)
def test_each_system_gets_its_own_python_of_3_11_or_newer(
    tmp_path: Path, system: str, python: str, packages: str
) -> None:
    text = "\n".join(commands("base", tmp_path, system=system))
    assert f"; {python} -m venv ${{pip:+--without-pip}} /opt/dsops/venvs/" in text
    assert all(f"look {name} " in text for name in packages.split())


@pytest.mark.parametrize(
    ("system", "library"),
    [("debian 12", "libpython3.11"), ("ubuntu 22.04", "libpython3.11"), ("ubuntu 24.04", "libpython3.12t64")],
)
def test_the_engine_gets_the_python_library_of_the_system(tmp_path: Path, system: str, library: str) -> None:
    assert any(f"look {library} " in line for line in commands("engine", tmp_path, system=system))


def test_the_helper_is_behind_its_socket_before_the_engine_asks_it(tmp_path: Path) -> None:
    said = commands("helper", tmp_path)
    assert any("systemctl start dsops-helper.socket" in line for line in said)
    assert not any("start dsops-helper.service" in line for line in said)
    assert any("useradd" in line and "-G dsops-store dsops-agent" in line for line in said)


@pytest.mark.parametrize(
    ("bundle", "release"),
    [("dsops-bundle@v1", "dsops-release@v1"), ("dsops-bundle-lab@v1", "dsops-release-lab@v1")],
)
def test_whoever_signs_a_sites_bundles_signs_its_releases(bundle: str, release: str) -> None:
    assert find_namespace(bundle) == release


def test_a_list_in_which_nobody_may_sign_releases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/allowed_signers").write_text('somebody namespaces="other@v1" ssh-ed25519 AAAA\n')
    with pytest.raises(DeployError, match=r"nobody in it may sign for test@v1\n  mend: add it to a signer's line"):
        commands("helper", tmp_path)


def test_the_tiers_that_storage_makes_are_the_stores() -> None:
    said = add_tiers(Helper(), Storage(storage_hot="nvme", storage_cold="hdd", storage_raid0=True))
    assert (said.store_cold, said.store_hot_is_raid0) == ("/var/lib/dsops-cold", True)
    assert add_tiers(Helper(), Storage(storage_hot="nvme")) == Helper()
    assert add_tiers(Helper(store_cold="/srv/cold"), Storage()).store_cold == "/srv/cold"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"store_hot_is_raid0": True}, r"there is no cold tier\n  mend: storage_cold = "),
        ({"storage_raid0": True}, r"the hot tier is a RAID0: .* there is no cold tier"),
        ({"store_cold": "cold"}, "store_cold is 'cold', no place for a second tier"),
        ({"store_cold": "/var/lib/dsops/cold"}, "no place for a second tier"),
        ({"store_cold": "/etc/cold"}, "no place for a second tier"),
        ({"store_cold": "/cold"}, "no place for a second tier"),
        ({"store_cold": "/srv/cold", "store_hot_reserve": 1.0}, r"store_hot_reserve is 1\n  mend: a share"),
    ],
)
def test_tiers_that_would_lose_the_last_good_release_are_refused(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(DeployError, match=says):
        commands("helper", tmp_path, **more)


@pytest.mark.parametrize(
    ("path", "unit"),
    [("/var/lib/dsops-cold", r"var-lib-dsops\x2dcold.mount"), ("/srv/a b/ü", r"srv-a\x20b-\xc3\xbc.mount")],
)
def test_a_mount_has_the_name_that_systemd_gives_it(path: str, unit: str) -> None:
    assert name_mount(path) == unit


def test_the_engine_brings_the_bundles_release_to_the_helper_and_waits_for_its_traffic(tmp_path: Path) -> None:
    said = commands("engine", tmp_path)
    adopt = next(i for i, line in enumerate(said) if f"release adopt /var/lib/dsops/staging/deploy-{RELEASE}" in line)
    activate = next(i for i, line in enumerate(said) if f"release activate {RELEASE} --who deploy" in line)
    assert adopt < activate
    assert "--wait" in said[activate]
    # The links are the helper's alone.
    assert not any("ln -s" in line and ("/slots/" in line or "/lanes/" in line) for line in said)


def test_a_secret_shows_up_in_no_command(tmp_path: Path) -> None:
    text = "\n".join(commands("nginx", tmp_path) + commands("monitoring", tmp_path))
    assert "private key" not in text
    assert "the password" not in text


def test_nginx_takes_a_configuration_only_when_nginx_accepts_it(tmp_path: Path) -> None:
    said = [line for line in commands("nginx", tmp_path) if "/etc/nginx/nginx.conf.dsops-new" in line]
    (write,) = [line for line in said if "cat >" in line]
    assert write.index("nginx -t -q -c /etc/nginx/nginx.conf.dsops-new") < write.index("mv -fT")


def test_a_wrong_type_in_the_inventory_names_server_and_key(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="gpu1/gateway_port: should be an integer, is '8080'"):
        commands("gateway", tmp_path, gateway_port="8080")
