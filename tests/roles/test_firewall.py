"""The firewall role: what it would load for each kind of server, whom it lets in, and what it refuses."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyinfra.api.exceptions import DeployError

from roles.firewall.defaults import Firewall
from roles.firewall.load import Peers, RulesState, SessionFact
from roles.firewall.proof import (
    Peer,
    find_cut_off,
    find_silenced,
    is_open,
    parse_peers,
    read_rules,
)
from roles.firewall.rules import (
    ANYWHERE,
    HEAD,
    Network,
    Opening,
    Session,
    Sources,
    build,
    find_own,
    merge,
    parse_extra,
    parse_session,
    render_rules,
    resolve_here,
)
from tests.roles.bundle import fake_data, write_bundle
from tests.roles.test_roles import SYSTEMS, commands

RULES = Path(__file__).parent / "rules"
CONTROL = "10.0.9.0/24"
SESSION = Session("10.0.9.7", 22)


@dataclass(frozen=True)
class Member:
    """A server of an inventory."""

    name: str
    groups: Sequence[str]
    data: Mapping[str, Any] = field(default_factory=dict)


SITE = (
    Member("lb1", ("lb",), {"ssh_hostname": "10.0.0.10"}),
    Member("gpu1", ("gpu",), {"ssh_hostname": "10.0.0.11", "gateway_port": 8000}),
    Member("gpu2", ("gpu",), {"ssh_hostname": "10.0.0.12", "dsops_address": "10.1.0.12"}),
    Member("gpu3", ("gpu",), {"ssh_hostname": "fd00::13", "firewall_addresses": ["fd00:1::13"]}),
    Member("mon1", ("mon",), {"ssh_hostname": "10.0.0.20"}),
)
SAID = Firewall(firewall=True, firewall_control=(CONTROL,))


def lines(text: str) -> list[str]:
    """What opens ports."""
    return [rule.text for rule in read_rules(text)]


def rules(name: str = "gpu1", said: Firewall = SAID, session: Session | None = SESSION) -> str:
    member = next(one for one in SITE if one.name == name)
    return build(member, SITE, said, session)


@pytest.mark.parametrize("name", ["lb1", "gpu1", "mon1"])
def test_each_kind_of_server_gets_its_golden_rules(name: str) -> None:
    extra = {"lb1": (), "gpu1": ("9100/tcp from mon, 10.7.0.0/16", "5000-5010/udp from gpu"), "mon1": ("9100/tcp",)}
    text = rules(name, Firewall(firewall=True, firewall_control=(CONTROL, "fd00:9::/64"), firewall_extra=extra[name]))
    assert text == (RULES / f"{name}.nft").read_text()


@pytest.mark.parametrize("name", ["lb1", "gpu1", "mon1"])
def test_nft_accepts_the_golden_rules(name: str) -> None:
    if not shutil.which("nft") or subprocess.run(["unshare", "-n", "true"], check=False, timeout=20).returncode:
        pytest.skip("there is no nft here, or no right to a network of one's own")
    words = ["unshare", "-n", "nft", "-f", str(RULES / f"{name}.nft")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_only_our_own_table_is_replaced_and_only_what_comes_in_is_filtered() -> None:
    text = rules()
    assert "flush" not in text
    assert {line.split()[-1] for line in text.splitlines() if line.startswith("delete")} == {"dsops"}
    assert [line.split()[3] for line in text.splitlines() if " hook " in line] == ["input"]


def test_without_control_networks_only_this_sessions_address_gets_in() -> None:
    text = read_rules(rules(said=Firewall(firewall=True)))
    assert is_open(text, ip_network("10.0.9.7"), 22)
    assert not is_open(text, ip_network("10.0.9.8"), 22)


def test_the_others_are_let_in_from_every_address_that_they_may_speak_from() -> None:
    text = read_rules(rules())
    for address in ("10.0.0.12", "10.1.0.12", "fd00::13", "fd00:1::13"):
        assert is_open(text, ip_network(address), 9410)
    assert not is_open(text, ip_network("10.0.0.10"), 9410)  # the balancer asks the gateway, not the agent


def test_clients_reach_the_service_from_everywhere_unless_they_are_named() -> None:
    everybody, some = rules("lb1"), rules("lb1", Firewall(True, (CONTROL,), ("10.20.0.0/16",)))
    assert is_open(read_rules(everybody), ip_network("203.0.113.9"), 443)
    assert is_open(read_rules(everybody), ip_network("2001:db8::9"), 443)
    assert not is_open(read_rules(some), ip_network("203.0.113.9"), 443)
    assert is_open(read_rules(some), ip_network("10.20.1.1"), 443)


def test_behind_a_translated_port_the_servers_own_is_open_too() -> None:
    text = read_rules(rules(session=Session("10.0.9.7", 2222)))
    assert is_open(text, ip_network("10.0.9.7"), 2222)
    assert is_open(text, ip_network("10.0.9.7"), 22)


def test_a_session_is_read_from_what_sshd_says() -> None:
    assert parse_session("10.0.9.7 40000 10.0.0.11 22\n") == SESSION
    assert parse_session("fe80::1%eth0 40000 fe80::2%eth0 22") == Session("fe80::1", 22)
    assert parse_session("\n") is None


def test_an_opening_of_the_site_is_read() -> None:
    sources = Sources({"gpu": (ip_network("10.0.0.11"),), "none": ()})
    one = parse_extra("5000-5010/udp from gpu, 10.7.0.0/16", sources, where="")
    assert (one.protocol, one.first, one.last) == ("udp", 5000, 5010)
    assert one.sources == (ip_network("10.0.0.11"), ip_network("10.7.0.0/16"))
    assert parse_extra("9100/tcp", sources, where="").sources == ANYWHERE
    assert parse_extra("9100/tcp from none", sources, where="").sources == ()


@pytest.mark.parametrize("text", ["9100", "0/tcp", "70000/tcp", "20-10/tcp", "9100/icmp", "9100/tcp to 10.0.0.0/8"])
def test_a_text_that_opens_no_port_is_refused(text: str) -> None:
    with pytest.raises(DsopsError, match="opens no port"):
        rules(said=Firewall(True, (CONTROL,), firewall_extra=(text,)))


@pytest.mark.parametrize(
    ("said", "what", "mend"),
    [
        (Firewall(True, ("10.0.9.0/33",)), "'10.0.9.0/33' is no network", "write it like"),
        (Firewall(True, ("10.0.9.7/24",)), "has host bits set", "write 10.0.9.0/24, or the address alone"),
        (Firewall(True, (CONTROL,), ("office",)), "'office' is no network", "write it like"),
        (Firewall(True, (CONTROL,), (), ("9100/tcp from gpus",)), "'gpus' is no network", "write it like"),
    ],
)
def test_what_is_no_network_is_refused_with_its_key(said: Firewall, what: str, mend: str) -> None:
    with pytest.raises(DsopsError) as raised:
        rules(said=said)
    assert what in str(raised.value)
    assert "gpu1/firewall_" in str(raised.value)
    assert mend in raised.value.mend


def test_rules_that_let_in_nobody_are_refused() -> None:
    with pytest.raises(DsopsError, match="nobody would be let in by SSH"):
        rules(said=Firewall(firewall=True), session=None)


def test_a_name_that_nobody_knows_is_refused_and_one_that_is_known_becomes_its_addresses() -> None:
    with pytest.raises(DsopsError, match=r"nobody here knows 'gpu9\.invalid'"):
        find_own(Member("gpu9", ("gpu",), {"ssh_hostname": "gpu9.invalid"}))
    assert set(resolve_here("localhost")) <= {"127.0.0.1", "::1"}


# The proof.


def test_a_rule_set_that_cuts_off_the_session_is_told_with_the_line_at_fault() -> None:
    text = rules(said=Firewall(True, ("10.0.8.0/24",)))
    (said,) = find_cut_off(text, session=SESSION, control=(), ssh_port=22)
    number = next(n for n, line in enumerate(text.splitlines(), 1) if "tcp dport 22 " in line)
    assert said.startswith("this session, which comes from 10.0.9.7, would be cut off from port 22: ")
    assert f"line {number} lets in others only: ip saddr {{ 10.0.8.0/24 }} tcp dport 22 accept" in said


def test_where_no_line_opens_the_port_the_line_that_drops_is_named() -> None:
    (said,) = find_cut_off(rules(), session=Session("10.0.9.7", 222), control=(), ssh_port=22)
    assert said.endswith("line 6 drops the rest: type filter hook input priority filter; policy drop;")


def test_a_control_network_that_gets_in_by_half_is_told() -> None:
    (said,) = find_cut_off(rules(), session=SESSION, control=[ip_network("10.0.8.0/23")], ssh_port=22)
    assert said.startswith("10.0.8.0/23 of firewall_control would be cut off from port 22: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("policy drop;", "policy drop; # x"),
        (" tcp dport 22 accept", " tcp dport 22 drop"),
        (" tcp dport 22 accept", " tcp dport 22 limit rate 1/hour accept"),
        ("    ip saddr", "    jump elsewhere\n    ip saddr"),
    ],
)
def test_a_rule_set_that_is_not_wholly_understood_is_not_proven(old: str, new: str) -> None:
    (said,) = find_cut_off(rules().replace(old, new, 1), session=SESSION, control=(), ssh_port=22)
    assert said.startswith("the rule set cannot be proven: ")


addresses: SearchStrategy[IPv4Address | IPv6Address] = st.one_of(
    st.integers(0, (1 << 12) - 1).map(lambda low: ip_address((10 << 24) + low)),
    st.integers(0, (1 << 12) - 1).map(lambda low: ip_address((0xFD << 120) + low)),
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(addresses)
    length = draw(st.integers(address.max_prefixlen - 12, address.max_prefixlen))
    return ip_network(f"{address}/{length}", strict=False)


openings = st.builds(
    lambda what, protocol, first, more, sources: Opening(
        what, protocol, first, min(first + more, 65535), merge(sources)
    ),
    st.text(max_size=20),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([22, 80, 9410]),
    st.integers(0, 100),
    st.one_of(st.just(ANYWHERE), st.lists(networks(), max_size=4).map(tuple)),
)


@given(st.lists(openings, max_size=6), addresses, st.sampled_from([22, 23, 80, 9410, 9999]))
def test_the_text_lets_in_just_those_whom_the_openings_are_for(
    opened: list[Opening], address: IPv4Address | IPv6Address, port: int
) -> None:
    wanted = any(
        one.protocol == "tcp" and one.first <= port <= one.last and any(address in network for network in one.sources)
        for one in opened
    )
    assert is_open(read_rules(render_rules(opened)), ip_network(address), port) is wanted


@given(st.lists(networks(), min_size=1, max_size=4), addresses, st.lists(openings, max_size=3))
def test_the_operator_gets_in_whenever_the_proof_says_so(
    control: list[Network], address: IPv4Address | IPv6Address, more: list[Opening]
) -> None:
    text = render_rules([*more, Opening("ssh", "tcp", 22, 22, merge(control))])
    problems = find_cut_off(text, session=Session(str(address), 22), control=control, ssh_port=22)
    named = any(address in network for network in control)
    other = any(
        one.protocol == "tcp" and one.first <= 22 <= one.last and any(address in network for network in one.sources)
        for one in more
    )
    assert (problems == []) is (named or other)


@given(st.lists(networks(), min_size=1, max_size=5), addresses)
def test_whoever_comes_from_a_control_network_is_let_in_by_what_is_built(
    control: list[Network], address: IPv4Address | IPv6Address
) -> None:
    said = Firewall(True, tuple(str(one) for one in control))
    text = rules(said=said, session=Session(str(address), 22))
    assert find_cut_off(text, session=None, control=control, ssh_port=22) == []
    assert is_open(read_rules(text), ip_network(address), 22) is any(address in network for network in control)


# Who speaks with the server now.

ESTABLISHED = """\
0      0               10.0.0.11:22         10.0.9.7:43056
0      0      [::ffff:10.0.0.11]:8000 [::ffff:10.0.0.10]:50000
0      0               10.0.0.11:9100      10.0.5.5:40000
0      0               10.0.0.11:41000     10.0.0.12:9410
0      0               127.0.0.1:8100      127.0.0.1:33000
0      0               10.0.0.11:9410      10.0.0.11:33001
0      0        [fe80::1%eth0]:22    [fe80::9%eth0]:5000
---
LISTEN 0      128    0.0.0.0:22    0.0.0.0:* users:(("sshd",pid=37,fd=3))
LISTEN 0      128       [::]:22       [::]:* users:(("sshd",pid=37,fd=4))
LISTEN 0      2048         *:8000        *:* users:(("python",pid=5,fd=20))
LISTEN 0      128    0.0.0.0:9100  0.0.0.0:* users:(("node_exporter",pid=9,fd=3))
LISTEN 0      128    0.0.0.0:9410  0.0.0.0:*
LISTEN 0      128  127.0.0.1:8100  0.0.0.0:* users:(("tritonserver",pid=9,fd=3))
"""


def test_who_speaks_with_a_port_of_the_server_is_read_and_what_it_asks_others_is_left_out() -> None:
    assert parse_peers(ESTABLISHED) == [
        Peer("10.0.9.7", 22, "sshd"),
        Peer("10.0.0.10", 8000, "python"),
        Peer("10.0.5.5", 9100, "node_exporter"),
        Peer("fe80::9", 22, "sshd"),
    ]
    assert parse_peers("---\n") == []
    assert parse_peers("") == []


def test_whoever_would_be_silenced_is_told() -> None:
    assert find_silenced(rules(), parse_peers(ESTABLISHED)) == [
        "fe80::9 speaks with port 22 (sshd) now and would be cut off",
        "10.0.5.5 speaks with port 9100 (node_exporter) now and would be cut off",
    ]


# The role, against servers that are not there.


def answers(tmp_path: Path, *, session: str, peers: str = "---\n", **more: object) -> dict[str, Any]:
    """Inventory data under which a server behind @fake says this of its connections."""
    said = fake_data(write_bundle(tmp_path / "bundle"), tmp_path / "secrets")["fake_responses"]
    return {"fake_responses": said | {"$SSH_CONNECTION": session, "ss -Htn state": peers}, **more}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_rules_are_on_trial_before_the_unit_loads_them_at_boot(tmp_path: Path, system: str) -> None:
    said = commands("firewall", tmp_path, system=system)
    trial = next(i for i, line in enumerate(said) if "systemd-run" in line)
    keep = next(i for i, line in enumerate(said) if "/run/dsops-trial/firewall/decide keep " in line)
    start = next(i for i, line in enumerate(said) if "start nftables-dsops.service" in line)
    assert trial < keep < start
    text = said[trial]
    order = ["nft -c -f new", "old.nft", "--on-active=60", "nft -f new"]
    places = [text.index(word, text.index("timeout 30")) for word in order]
    assert places == sorted(places)


def test_a_rule_set_that_is_in_force_is_left_alone(tmp_path: Path) -> None:
    assert RulesState().process(["0" * 64, "644 root root", "loaded"]) == ("0" * 64 + " 644 root root", True)
    assert RulesState().process(["0" * 64, "644 root root"]) == ("0" * 64 + " 644 root root", False)
    assert RulesState().process([]) == ("", False)


def test_facts_of_a_server_that_says_nothing_are_empty() -> None:
    assert SessionFact().process([""]) is None
    assert list(Peers().process(["---"])) == []


def test_where_it_is_off_nothing_is_installed_and_what_was_there_is_taken_away(tmp_path: Path) -> None:
    said = "\n".join(commands("firewall", tmp_path, firewall=False))
    assert "nft -f" not in said
    assert "apt-get" not in said


def test_a_wrong_network_in_the_inventory_ends_the_run_before_any_change(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"gpu1/firewall_control: '10\.0\.9\.7/24' is no network.*\n  mend: write "):
        commands("firewall", tmp_path, firewall_control=["10.0.9.7/24"])


def test_rules_that_would_cut_off_this_session_end_the_run_before_any_change(tmp_path: Path) -> None:
    more = answers(tmp_path, session="203.0.113.7 40000 192.0.2.7 22")
    with pytest.raises(DeployError) as raised:
        commands("firewall", tmp_path, **more)
    said = str(raised.value)
    assert "this session, which comes from 203.0.113.7, would be cut off from port 22: line " in said
    assert "mend: add it to firewall_control; nothing was changed" in said


def test_rules_that_would_silence_somebody_end_the_run_before_any_change(tmp_path: Path) -> None:
    more = answers(tmp_path, session="192.0.2.9 40000 192.0.2.7 22", peers=ESTABLISHED)
    with pytest.raises(DeployError, match=r"10\.0\.5\.5 speaks with port 9100 \(node_exporter\) now and would be cut"):
        commands("firewall", tmp_path, **more)


def test_without_control_networks_the_session_at_hand_is_what_is_let_in(tmp_path: Path) -> None:
    more = answers(tmp_path, session="203.0.113.7 40000 192.0.2.7 22", firewall_control=[])
    assert any("decide keep" in line for line in commands("firewall", tmp_path, **more))


def test_without_a_session_somebody_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"nobody would be let in by SSH\n  mend: name the networks"):
        commands("firewall", tmp_path, firewall_control=[])


def test_the_unit_comes_before_the_network_and_after_the_systems_own_rules() -> None:
    unit = (Path(__file__).parents[2] / "roles/firewall/templates/nftables-dsops.service").read_text()
    assert "Before=network-pre.target" in unit
    assert "After=local-fs.target nftables.service" in unit
    assert "DefaultDependencies=no" in unit
    assert "delete table inet dsops" in HEAD
