"""Reboots: proven by another boot id, told when they never come back."""

from dataclasses import dataclass, field

import pytest
from dsops.control.plan.reboot import READ, Pace, read_asked, reboot
from dsops.core.errors import DsopsError

PACE = Pace(limit=0.3, look=0.01)


@dataclass
class Server:
    """Answers like one that reboots: down for a while, then up with another boot id, or never."""

    comes_back: bool = True
    state: str = "running"
    looks: int = 0
    told: list[str] = field(default_factory=list)

    def __call__(self, command: str) -> str:
        self.told.append(command)
        if "systemctl reboot" in command:
            raise DsopsError("the connection broke", where="n1") from EOFError()
        if len(self.told) == 1:
            return "first\n"
        self.looks += 1
        if self.looks < 4:
            raise DsopsError("cannot connect by SSH: nothing listens there", where="n1")
        if not self.comes_back:
            raise DsopsError("cannot connect by SSH: no route to host", where="n1")
        return f"second\n{self.state}\n"


def test_a_server_has_come_back_when_its_boot_id_is_another_one() -> None:
    server = Server()
    assert reboot("n1", server, pace=PACE) > 0
    assert server.looks == 4


def test_one_that_never_comes_back_is_told_with_the_last_that_was_seen() -> None:
    with pytest.raises(DsopsError) as caught:
        reboot("n1", Server(comes_back=False), pace=PACE)
    assert caught.value.what.startswith("did not come back within 0.3 s after its reboot: cannot connect by SSH")
    assert "console or BMC; the other servers were left alone" in caught.value.mend


def test_one_that_does_not_go_down_is_no_reboot() -> None:
    with pytest.raises(DsopsError, match="it still runs as before"):
        reboot("n1", lambda _: "first\n", pace=PACE)


def test_one_whose_systemd_never_gets_ready_is_told() -> None:
    with pytest.raises(DsopsError, match="it is up, and systemd is starting"):
        reboot("n1", Server(state="starting"), pace=PACE)


def test_one_that_refuses_the_order_is_no_reboot() -> None:
    def ask(command: str) -> str:
        if "reboot" in command:
            raise DsopsError("refuses this key")
        return "first\n"

    with pytest.raises(DsopsError, match="refuses this key"):
        reboot("n1", ask, pace=PACE)


def test_the_roles_that_ask_are_read_with_their_reasons() -> None:
    said = "storage\tnew mount options\nsystem\t\n"
    assert read_asked(lambda command: said if command == READ else "") == {
        "storage": "new mount options",
        "system": "",
    }
    assert read_asked(lambda _: "") == {}
