"""Is every server tuned as the inventory says, now and after the next boot?"""

import re

import pytest
from dsops.control.fleet.inventory import Server

from roles.ops.proofs import Host, check_runs, get_owners, get_settings, is_container
from roles.ops.sysctl import CONTAINERS_OWN, SysctlValues, parse_sysctl
from roles.system.defaults import SystemTuning
from roles.system.deploy import JOURNAL, NEEDRESTART, SYSCTL, UPGRADES, render_sysctl
from roles.system.knobs import UNIT, KnobValues, find_knobs

GROUPS = ("all",)
KERNEL = "a container's kernel is its host's"


def test_the_kernel_has_the_parameters(host: Host, server: Server) -> None:
    wanted = parse_sysctl(render_sysctl(get_settings(SystemTuning, server)))
    if is_container(host):
        wanted = {key: value for key, value in wanted.items() if key.startswith(CONTAINERS_OWN)}
    found = SysctlValues().process(host.check_output(SysctlValues().command(list(wanted))).splitlines())
    assert found or is_container(host)
    assert {key: found[key] for key in found if found[key] != wanted[key]} == {}


def test_no_other_file_undoes_a_parameter_at_the_next_boot(host: Host, server: Server) -> None:
    wanted = parse_sysctl(render_sysctl(get_settings(SystemTuning, server)))
    text = host.check_output("systemd-analyze cat-config sysctl.d")
    # cat-config prints the files in the order in which they are read, each below its path.
    later = text.partition(f"# {SYSCTL}\n")[2].partition("\n# /")[2]
    undone = {key: value for key, value in parse_sysctl(later).items() if wanted.get(key, value) != value}
    assert not undone, f"a file that is read after {SYSCTL} says otherwise"


def test_services_may_lock_as_much_memory_as_they_need(host: Host) -> None:
    assert host.check_output("systemctl show -p DefaultLimitMEMLOCK --value").strip() == "infinity"
    if is_container(host):
        pytest.skip("systemd asks for it, and a container gets no more than its host gave it")
    assert host.check_output("systemd-run --wait --pipe --quiet sh -c 'ulimit -l'").strip() == "unlimited"


def test_a_new_session_may_lock_as_much_memory_as_it_needs(host: Host) -> None:
    if is_container(host):
        pytest.skip("a container's limits are those of its host")
    assert host.check_output("su -s /bin/sh -c 'ulimit -l' nobody").strip() == "unlimited"


def test_the_journal_is_kept_and_bounded(host: Host, server: Server) -> None:
    said = get_settings(SystemTuning, server)
    text = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    settings = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w*=", line))
    assert settings["Storage"] == "persistent"
    assert settings["SystemMaxUse"] == f"{said.system_journal_gb}G"
    assert settings["MaxRetentionSec"] == f"{said.system_journal_days}day"
    since = host.check_output('date -d "$(systemctl show -p InactiveExitTimestamp --value systemd-journald)" +%s')
    written = host.check_output(f"stat -c %Y {JOURNAL}")
    assert int(since) >= int(written), "systemd-journald was started before its settings were written"
    assert host.check_output("journalctl --header -n 0 | grep -c '^File path: /var/log/journal/'").strip() != "0"


def test_nothing_upgrades_the_kernel_or_what_dsops_installed_by_itself(host: Host, server: Server) -> None:
    dump = host.check_output("apt-config dump Unattended-Upgrade")
    held = set(re.findall(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";$', dump, re.MULTILINE))
    assert {*get_settings(SystemTuning, server).system_held_packages, "^chrony$"} <= held
    reboots = re.findall(r'^Unattended-Upgrade::Automatic-Reboot "(.*)";$', dump, re.MULTILINE)
    assert reboots == ["false"], "the node would reboot by itself"
    assert set(get_owners(host, [UPGRADES, NEEDRESTART]).values()) == {"644 root root"}


def test_the_settings_in_sys_are_as_wanted_and_come_back(host: Host, server: Server) -> None:
    if is_container(host):
        pytest.skip(KERNEL)
    check_runs(host, UNIT)
    wanted = find_knobs(get_settings(SystemTuning, server))
    found = KnobValues().process(host.check_output(KnobValues().command(list(wanted))).splitlines())
    assert {path: values for path, values in found.items() if set(values) != {wanted[path]}} == {}
    absent = wanted.keys() - found.keys()
    if absent:
        pytest.skip(f"this machine has no {', '.join(sorted(absent))}; the others are as wanted")


def test_huge_pages_are_set_aside(host: Host, server: Server) -> None:
    wanted = get_settings(SystemTuning, server).system_hugepages
    if is_container(host):
        pytest.skip(KERNEL)
    assert int(host.check_output("sed -n 's/^HugePages_Total: *//p' /proc/meminfo")) == wanted


def test_the_kernel_was_booted_with_its_options(host: Host, server: Server) -> None:
    wanted = get_settings(SystemTuning, server).system_kernel_options
    if is_container(host):
        pytest.skip(KERNEL)
    if not wanted:
        pytest.skip("the inventory asks for none (system_kernel_options)")
    missing = set(wanted) - set(host.check_output("cat /proc/cmdline").split())
    assert not missing, f"not live before the node has rebooted: {sorted(missing)}"
