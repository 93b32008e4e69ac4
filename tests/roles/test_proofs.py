"""What verify.py compares: parsed from what the servers really printed."""

from pathlib import Path

import pytest
from dsops.control.fleet.inventory import get_fleet

from roles.ops.proofs import get_public, get_public_ports, look_again, parse_listeners

# `ss -Hltunp` on the lab's gpu1.
LISTING = """\
udp UNCONN 0      0      127.0.0.1:323   0.0.0.0:* users:(("chronyd",pid=311,fd=5))
udp UNCONN 0      0      10.99.0.11%eth0:68 0.0.0.0:* users:(("systemd-network",pid=200,fd=11))
tcp LISTEN 0      2048              0.0.0.0:9411 0.0.0.0:* users:(("python",pid=5812,fd=20))
tcp LISTEN 0      1024            127.0.0.1:8102 0.0.0.0:* users:(("tritonserver",pid=5390,fd=41))
tcp LISTEN 0      4096   [::ffff:127.0.0.1]:8101       *:* users:(("tritonserver",pid=5390,fd=6))
tcp LISTEN 0      128                  [::]:22      [::]:* users:(("sshd",pid=38,fd=4))
tcp LISTEN 0      4096                [::1]:631     [::]:*
tcp LISTEN 0      4096                    *:9093       *:* users:(("prometheus-aler",pid=1538,fd=3))
"""


class Server:
    """Stands for testinfra's Host."""

    def check_output(self, command: str) -> str:
        assert command == "ss -Hltunp"
        return LISTING


def test_what_only_the_server_itself_reaches_is_told_apart() -> None:
    local = {one.port for one in parse_listeners(LISTING) if one.is_local}
    assert local == {323, 8102, 8101, 631}


def test_the_public_sockets_are_named_with_their_programs_and_dhcp_is_left_out() -> None:
    assert get_public(Server()) == {9411: "python", 22: "sshd", 9093: "prometheus-aler"}


def test_each_group_has_its_ports_and_the_inventory_may_move_them(tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    files = {f"{name}_file": "/x" for name in ("gateway_api_keys", "nginx_tls_cert", "nginx_tls_key")}
    path.write_text(f"gpu = [('gpu1', {files | {'gateway_port': 8000}!r})]\nlb = [('lb1', {files!r})]\n")
    fleet = get_fleet(path)
    assert set(get_public_ports(fleet.get_server("gpu1"))) == {22, 9410, 8000, 9411}
    assert set(get_public_ports(fleet.get_server("lb1"))) == {22, 9410, 443, 9412}


def look_at(*looks: int | OSError) -> tuple[int, int]:
    """(what was seen in the end, times that it slept) where 0 is well and an error is no answer."""
    left, slept = list(looks), []

    def look() -> int:
        seen = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(seen, OSError):
            raise seen
        return seen

    return look_again(look, lambda seen: seen == 0, seconds=0.2, sleep=slept.append), len(slept)


def test_a_moment_that_was_busy_is_looked_at_again_and_what_stays_wrong_is_told() -> None:
    assert look_at(0) == (0, 0)
    assert look_at(7, OSError("no answer"), 0) == (0, 2)
    assert look_at(7)[0] == 7
    with pytest.raises(OSError, match="no answer"):
        look_at(OSError("no answer"))
