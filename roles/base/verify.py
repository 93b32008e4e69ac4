"""Does every server hold what the base role promises?"""

import shlex
import time
from pathlib import Path

import pytest
from dsops import __version__
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.ssh import run

from roles.base.defaults import Base
from roles.base.templates.upgrade import PROVEN
from roles.ops.packages import APT_CONF, read_packages
from roles.ops.proofs import Host, get_owners, get_public, get_public_ports, get_settings, get_unit, is_container
from roles.ops.systems import get_system

GROUPS = ("all",)
CLOCK_SECONDS = 2.0
ENVIRONMENT = "/opt/dsops/venv"


def test_the_system_is_one_that_the_roles_know(host: Host, server: Server) -> None:
    lines = host.file("/etc/os-release").content_string.splitlines()
    release = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
    assert get_system(release, where=server.name)


def test_no_unit_has_failed(host: Host) -> None:
    failed = host.check_output("systemctl list-units --failed --plain --no-legend").strip()
    assert not failed


def test_nothing_but_what_the_roles_promise_listens_for_other_machines(host: Host, server: Server) -> None:
    wanted, found = get_public_ports(server), get_public(host)
    assert not {port: found[port] for port in found.keys() - wanted.keys()}, "listens, but no role asked for it"
    assert not {port: wanted[port] for port in wanted.keys() - found.keys()}, "nothing listens there"


def test_apt_reads_the_bundle_and_nothing_else(host: Host) -> None:
    policy = host.check_output(f"APT_CONFIG={APT_CONF} apt-cache policy")
    sources = {line.split()[1] for line in policy.splitlines() if line.startswith(" ") and line.split()[0].isdigit()}
    allowed = ("file:/var/lib/dsops/bundle/apt/", "/var/lib/dpkg/status")
    assert f"{allowed[0]}base" in sources
    assert not [source for source in sources if not source.startswith(allowed)]


def test_the_packages_are_installed_and_come_from_the_bundle(host: Host) -> None:
    lines = host.file("/etc/os-release").content_string.splitlines()
    system = get_system({k: v.strip('"') for k, _, v in (line.partition("=") for line in lines)}, where="")
    names = system.get_packages(read_packages("base"))
    policy = host.check_output(f"APT_CONFIG={APT_CONF} apt-cache policy {shlex.join(names)}")
    assert policy.count("Installed: ") == len(names)
    assert "Installed: (none)" not in policy
    assert policy.count("file:/var/lib/dsops/bundle/apt/base") >= len(names)


def test_no_package_was_left_half_installed(host: Host) -> None:
    assert not host.check_output("dpkg --audit; ls /var/lib/dpkg/updates")


def test_the_clock_is_right(host: Host) -> None:
    before = time.time()
    there = float(host.check_output("date +%s.%N"))
    after = time.time()
    assert before - CLOCK_SECONDS < there < after + CLOCK_SECONDS, f"off by {there - after:.1f} s from this machine"


def test_the_clock_follows_the_sites_time_servers(host: Host, server: Server) -> None:
    servers = get_settings(Base, server).base_ntp_servers
    chrony = get_unit(host, "chrony.service")
    if chrony["ConditionResult"] == "no" and is_container(host):
        pytest.skip("a container cannot set its clock: chrony's own condition keeps it down")
    assert chrony["ActiveState"] == "active"
    if not servers:
        pytest.skip("the inventory names no base_ntp_servers: the clock runs free")
    sources = host.check_output("chronyc -n -c sources").splitlines()
    assert any(line.split(",")[1] == "*" for line in sources), f"no time server is followed: {sources}"


def test_the_limits_reach_a_new_session(host: Host, server: Server) -> None:
    nofile = get_settings(Base, server).base_nofile
    assert f"* hard nofile {nofile}" in " ".join(
        host.file("/etc/security/limits.d/90-dsops.conf").content_string.split()
    )
    if is_container(host):
        pytest.skip("a container's limits are those of its host")
    assert int(host.check_output("su -s /bin/sh -c 'ulimit -n' nobody")) == nofile


def test_dsops_is_installed_whole_and_in_this_version(host: Host) -> None:
    target = host.check_output(f"readlink {ENVIRONMENT}").strip()
    assert target.startswith(f"{ENVIRONMENT}s/")
    assert host.file(f"{target}/.dsops-whole").exists
    assert host.file(f"{target}/{PROVEN}").exists
    assert __version__ in host.check_output(f"{ENVIRONMENT}/bin/dsops --version")


def test_what_dsops_runs_belongs_to_root_and_nobody_else_can_write_it(host: Host) -> None:
    others = host.check_output("find /opt/dsops /etc/dsops ! -type l \\( ! -user root -o -perm /022 \\) | head -n 5")
    assert not others
    owners = get_owners(host, ["/etc/dsops", "/opt/dsops", "/var/lib/dsops", "/var/lib/dsops/bundle"])
    assert set(owners.values()) == {"755 root root"}
    assert len(owners) == 4


def test_the_operators_door_runs_nothing_but_dsops_node(host: Host, server: Server, fleet: Fleet) -> None:
    if not get_settings(Base, server).dsops_public_key_file:
        pytest.skip("the inventory gives the operators no key")
    lines = host.file("/var/lib/dsops-door/.ssh/authorized_keys").content_string.splitlines()
    public = Path(fleet.get_path(server, "dsops_public_key_file")).read_text().strip()
    assert lines == [f'restrict,command="/opt/dsops/venv/bin/dsops node --ssh" {public}']
    refused = run(fleet, server, ["id"], timeout=60)
    assert refused.code != 0
    assert "uid=" not in refused.stdout + refused.stderr
