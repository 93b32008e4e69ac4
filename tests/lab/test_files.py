"""The files and commands that the lab writes: rules, keys, network, start of a server, groups, processes."""

import json
from pathlib import Path

import pytest
from dsops.lab.cgroups import hierarchies
from dsops.lab.keys import render_known_hosts, ssh_argv
from dsops.lab.launch import systemd_argv
from dsops.lab.mounts import Mount
from dsops.lab.network import find_conflict, render_rules
from dsops.lab.place import LAB, MARK
from dsops.lab.server import nspawn_argv, parse_listening, render_hosts, render_network

GPU1 = LAB.servers[1]


def test_nothing_is_forwarded_from_or_to_the_bridge() -> None:
    rules = render_rules(LAB)
    forward = rules.split("chain forward")[1].split("chain input")[0]
    assert [line.strip() for line in forward.splitlines() if "dsops0" in line] == [
        'iifname "dsops0" oifname "dsops0" accept',
        'iifname "dsops0" drop',
        'oifname "dsops0" drop',
    ]
    assert "nat" not in rules


def test_servers_may_say_to_this_machine_only_dns_pings_and_answers() -> None:
    text = render_rules(LAB).split("chain input")[1]
    lines = [line.strip() for line in text.splitlines() if line.strip().endswith(("accept", "drop"))]
    assert lines[0] == 'iifname != "dsops0" accept'
    assert lines[-1] == "drop"
    assert all("dport 53" in line or "icmp" in line or "!= syn" in line for line in lines[1:-1])


def test_known_hosts_pins_each_server_by_name_and_address() -> None:
    text = render_known_hosts({"gpu1,10.99.0.11": "ssh-ed25519 AAAA gpu1"})
    assert text == "gpu1,10.99.0.11 ssh-ed25519 AAAA\n"


def test_ssh_trusts_only_the_labs_own_file() -> None:
    argv = ssh_argv(LAB, GPU1, "true")
    assert "StrictHostKeyChecking=yes" in argv
    assert f"UserKnownHostsFile={LAB.known_hosts}" in argv
    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[-2:] == ["root@10.99.0.11", "true"]


def test_the_address_and_the_way_out_stand_inside_the_server() -> None:
    text = render_network(LAB, GPU1)
    assert "Address=10.99.0.11/24" in text
    assert "Gateway=10.99.0.1\n" in text
    assert f"Gateway={LAB.gateway6}" in text


def test_servers_know_each_other_without_dns() -> None:
    lines = render_hosts(LAB).splitlines()
    assert "10.99.0.11\tgpu1" in lines
    assert sum("10.99.0." in line for line in lines) == len(LAB.everyone)


def test_only_gpu_servers_see_gpu_files() -> None:
    assert any("/run/dsops-lab-gpus" in word for word in nspawn_argv(LAB, GPU1))
    assert not any("/run/dsops-lab-gpus" in word for word in nspawn_argv(LAB, LAB.servers[0]))


def test_under_systemd_a_server_is_a_delegated_unit_that_restarts_on_reboot() -> None:
    argv = systemd_argv(LAB, "gpu1", ["systemd-nspawn"], log=Path("/x.log"), settings={MARK: LAB.mark("gpu1")})
    assert "--unit=dsops-lab-dsops0-gpu1.service" in argv
    assert "--property=Delegate=yes" in argv
    assert "--property=RestartForceExitStatus=133" in argv
    assert f"--setenv={MARK}=/var/lib/dsops-lab:gpu1" in argv
    assert argv[-2:] == ["--", "systemd-nspawn"]


@pytest.mark.parametrize(
    ("routes", "conflict"),
    [
        ([{"dst": "default", "dev": "eth0"}, {"dst": "192.0.2.0/24", "dev": "eth0"}], ""),
        ([{"dst": "10.99.0.0/24", "dev": "dsops0"}], ""),
        ([{"dst": "10.0.0.0/8", "dev": "tun0"}], "10.0.0.0/8 on tun0"),
        ([{"dst": "10.99.0.7", "dev": "wg0"}], "10.99.0.7 on wg0"),
    ],
)
def test_foreign_routes_into_the_lab_are_seen(routes: list[dict[str, str]], conflict: str) -> None:
    assert find_conflict(LAB, json.dumps(routes)) == conflict
    assert find_conflict(LAB, "") == ""


def test_a_server_enters_every_hierarchy_that_takes_processes_as_they_are() -> None:
    mounts = [
        Mount(Path("/sys/fs/cgroup/freezer"), "cgroup", "cgroup", "rw,freezer"),
        Mount(Path("/sys/fs/cgroup/cpuset"), "cgroup", "cgroup", "rw,cpuset"),
        Mount(Path("/sys/fs/cgroup/unified"), "cgroup2", "cgroup2", "rw"),
        Mount(Path("/lab/hosts/x/sys/fs/cgroup"), "cgroup2", "cgroup2", "rw"),
        Mount(Path("/sys/fs/cgroup"), "tmpfs", "tmpfs", "rw"),
    ]
    assert [root.name for root in hierarchies(mounts)] == ["freezer", "unified"]


def test_a_listening_port_is_read_from_the_kernels_table() -> None:
    table = """\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 0100630A:0035 00000000:0000 06 00000000:00000000
"""
    assert parse_listening(table, 22)
    assert not parse_listening(table, 53)
    assert not parse_listening("", 22)
