"""Ports for tests that run beside each other."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import FIRST, LAST, find_free_port, find_free_ports

ASK = "from tests.ports import find_free_port; print(find_free_port(), flush=True); input()"


def test_a_port_is_never_one_that_a_client_may_be_given() -> None:
    low, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert FIRST <= find_free_port() < LAST <= int(low)


def test_two_processes_have_no_port_in_common_while_both_run() -> None:
    """Nobody listens yet: looking alone would give both the same one."""
    pipe = subprocess.PIPE
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", ASK], stdin=pipe, stdout=pipe, text=True, cwd=root) as other:
        assert other.stdout
        theirs = int(other.stdout.readline())
        mine = {find_free_port() for _ in range(900)}
        assert theirs not in mine
        other.communicate("\n")


def test_a_port_is_not_given_again_at_once_and_a_taken_one_never() -> None:
    first = find_free_port()
    assert find_free_port() != first
    with socket.create_server(("127.0.0.1", first)):
        assert first not in {find_free_port() for _ in range(900)}


def test_ports_in_a_row_are_all_free() -> None:
    first = find_free_ports(6)
    with socket.create_server(("127.0.0.1", first + 3)):
        rows = [find_free_ports(6) for _ in range(200)]
    assert not [row for row in rows if row <= first + 3 < row + 6]
