"""Is just that let in which the inventory and the roles ask for: by the rules, and by trying?"""

import json
import shlex
import socket

import pytest
from dsops.control.fleet.inventory import Fleet, Server

from roles.firewall.defaults import Firewall
from roles.firewall.load import RULES, SAME, UNIT
from roles.firewall.proof import find_cut_off, is_open, read_rules
from roles.firewall.rules import Session, build, find_control, find_own, parse_session
from roles.ops.listens import CONTROL, find_listens
from roles.ops.proofs import Host, check_runs, get_owners, get_settings

GROUPS = ("all",)
SECONDS = 2.0
NOBODYS = 9  # discard: a port that no role and no site opens
# Tries all at once; «closed» is an answer too: the packet came through.
TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def attempt(place):
    try:
        socket.create_connection(place, float(sys.argv[1])).close()
        return "open"
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "nothing"
places = [tuple(place) for place in json.loads(sys.argv[2])]
with ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(attempt, places))))
"""


@pytest.fixture
def said(server: Server) -> Firewall:
    """The role's settings; where the firewall is off there is nothing to prove."""
    said = get_settings(Firewall, server)
    if not said.firewall:
        pytest.skip("firewall is not set in the inventory: dsops filters nothing here")
    return said


@pytest.fixture
def session(host: Host) -> Session:
    """This very session, as the server sees it."""
    found = parse_session(host.check_output("echo $SSH_CONNECTION"))
    assert found
    return found


@pytest.fixture
def wanted(said: Firewall, session: Session, server: Server, fleet: Fleet) -> str:
    """The rule set that the inventory asks for."""
    return build(server, fleet.servers, said, session)


def try_from_here(address: str, port: int) -> str:
    try:
        socket.create_connection((address, port), SECONDS).close()
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "nothing"
    return "open"


def test_the_rules_are_those_that_the_inventory_asks_for(host: Host, wanted: str) -> None:
    assert host.file(RULES).content_string == wanted
    assert get_owners(host, [RULES]) == {RULES: "644 root root"}


def test_what_is_in_force_is_what_the_file_says_and_nothing_was_added_by_hand(host: Host, said: Firewall) -> None:
    assert said
    assert host.run(SAME).rc == 0, host.check_output("nft -s list table inet dsops || true")


def test_the_rules_are_loaded_at_boot_before_any_address_is_up(host: Host, said: Firewall) -> None:
    assert said
    check_runs(host, UNIT)
    before = host.check_output("systemctl show -p Before --value %s", UNIT).split()
    assert "network-pre.target" in before


def test_no_change_is_left_on_trial(host: Host) -> None:
    assert not host.check_output("ls /run/dsops-trial/*/token 2>/dev/null || true")


def test_operators_get_in_by_the_rules_in_force(host: Host, said: Firewall, session: Session, server: Server) -> None:
    control = find_control(said, session=session, where=server.name)
    text = host.file(RULES).content_string
    assert not find_cut_off(text, session=session, control=control, ssh_port=session.port)


def test_what_operators_may_reach_answers_here(server: Server, wanted: str) -> None:
    ports = [one.get_port(server.data) for one in find_listens(server.groups) if CONTROL in one.reached_from]
    silent = [port for port in ports if try_from_here(server.address, port) == "nothing"]
    assert wanted
    assert not silent, f"promised to operators, but nothing comes back from {silent}"


def test_a_port_that_nobody_opened_does_not_even_answer(server: Server, wanted: str) -> None:
    if is_open(read_rules(wanted), find_own(server)[0], NOBODYS):
        pytest.skip(f"the inventory opens port {NOBODYS}")
    assert try_from_here(server.address, NOBODYS) == "nothing"


def test_each_server_reaches_of_the_others_what_it_needs_and_nothing_else(
    host: Host, server: Server, said: Firewall, fleet: Fleet, session: Session
) -> None:
    assert said
    wrong, places = [], []
    for other in fleet.servers:
        theirs = get_settings(Firewall, other)
        if other.name != server.name and theirs.firewall:
            rules = read_rules(build(other, fleet.servers, theirs, session))
            ports = sorted({NOBODYS, *(one.get_port(other.data) for one in find_listens(other.groups))})
            places += [(other, port, any(is_open(rules, own, port) for own in find_own(server))) for port in ports]
    words = [TRY, str(SECONDS), json.dumps([(get_address(other), port) for other, port, _ in places])]
    answers = json.loads(host.check_output(f"python3 -c {shlex.join(words)}"))
    for (other, port, is_allowed), answer in zip(places, answers, strict=True):
        if is_allowed == (answer == "nothing"):
            wrong.append(f"{other.name}:{port} should be {'open' if is_allowed else 'shut'}, gives {answer}")
    assert not wrong


def get_address(server: Server) -> str:
    """At which other servers reach it."""
    return server.get("dsops_address", str, "") or server.address
