"""The three ways to the same state, each as one command line that a person could type."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.sign import LAB_NAMESPACE
from dsops.lab.place import Server

from tests.bench.converge.place import HERE, Place

CHECKOUT = Path(__file__).parents[3]
Address = Callable[[Server], tuple[str, int]]

ANSIBLE_CFG = """\
[defaults]
inventory = {work}/hosts.ini
forks = 30
gathering = explicit
retry_files_enabled = false
interpreter_python = /usr/bin/python3
{strategy}
[ssh_connection]
pipelining = true
control_path_dir = {work}/control
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null
"""
INVENTORY = """\
bench = {hosts!r}
"""
GROUP_DATA = """\
ssh_user = "root"
ssh_key = "{key}"
ssh_known_hosts_file = "{known_hosts}"
ssh_strict_host_key_checking = "yes"
ssh_look_for_keys = False
ssh_allow_agent = False
ssh_paramiko_connect_kwargs = {{"channel_timeout": 20, "banner_timeout": 20, "auth_timeout": 20}}
bundle_path = "{bundle}"
bundle_allowed_signers = "{signers}"
bundle_namespace = "{namespace}"
"""


@dataclass(frozen=True)
class Tool:
    """argv and environment for the servers at hand. folder: where its inventory and its last log lie."""

    name: str
    argv: list[str]
    env: dict[str, str]
    folder: Path


def make_dsops(place: Place, servers: list[Server], address: Address, known_hosts: Path) -> Tool:
    """`dsops deploy` types this very line, but with deploy/site.py."""
    work = place.work / "dsops"
    (work / "group_data").mkdir(parents=True, exist_ok=True)
    hosts = [(one.name, {"ssh_hostname": address(one)[0], "ssh_port": address(one)[1]}) for one in servers]
    (work / "inventory.py").write_text(INVENTORY.format(hosts=hosts))
    said = {"key": place.lab.key, "known_hosts": known_hosts, "bundle": place.bundle, "signers": place.signers}
    (work / "group_data/all.py").write_text(GROUP_DATA.format(**said, namespace=LAB_NAMESPACE))
    pyinfra = str(Path(sys.executable).with_name("pyinfra"))
    deploy = str(HERE.relative_to(CHECKOUT) / "ours/deploy.py")
    argv = [pyinfra, "--chdir", str(CHECKOUT), "-y", str(work / "inventory.py"), deploy]
    return Tool("dsops", argv, {"PYINFRA_PROGRESS": "off"}, work)


def make_ansible(
    place: Place, servers: list[Server], address: Address, known_hosts: Path, *, mitogen: bool = False
) -> Tool:
    """ansible-core with pipelining and ControlPersist; with mitogen it brings its own connection."""
    name = "mitogen" if mitogen else "ansible"
    work = place.work / name
    (work / "control").mkdir(parents=True, exist_ok=True)
    rows = [f"{one.name} ansible_host={address(one)[0]} ansible_port={address(one)[1]}" for one in servers]
    shared = f"ansible_user=root\nansible_ssh_private_key_file={place.lab.key}\nbundle={place.bundle}"
    (work / "hosts.ini").write_text("\n".join(["[bench]", *rows, "", "[bench:vars]", shared, ""]))
    strategy = ""
    if mitogen:
        (found,) = place.tools.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy")
        strategy = f"strategy_plugins = {found}\nstrategy = mitogen_linear\n"
    config = work / "ansible.cfg"
    config.write_text(ANSIBLE_CFG.format(work=work, known_hosts=known_hosts, strategy=strategy))
    argv = [str(place.tools / "bin/ansible-playbook"), str(HERE / "theirs/playbook.yml")]
    env = {"ANSIBLE_CONFIG": str(config), "ANSIBLE_HOME": str(work / "home"), "ANSIBLE_NOCOLOR": "1"}
    return Tool(name, argv, env, work)


def make_tools(place: Place, servers: list[Server], address: Address, known_hosts: Path) -> dict[str, Tool]:
    """All three, for the same servers."""
    return {
        "dsops": make_dsops(place, servers, address, known_hosts),
        "mitogen": make_ansible(place, servers, address, known_hosts, mitogen=True),
        "ansible": make_ansible(place, servers, address, known_hosts),
    }
