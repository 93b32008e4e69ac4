"""The engine's operations against a store and a systemd that are scripts: what they do, and what they leave alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dsops.control.rollout.guard import KEY
from dsops.core.sums import make_sums
from pyinfra.context import ctx_host

from roles.engine import release as room
from roles.ops.slot import find_slot
from tests.roles.here import Here

RELEASE, OTHER = "r0123456789ab", "rffffffffffff"


class Server(Here):
    """A server whose helper lists these releases."""

    def __init__(self, *releases: dict[str, Any], damage: list[str] | None = None) -> None:
        super().__init__()
        self.store = {"releases": list(releases), "damage": damage or []}

    def get_fact(self, kind: Any, **arguments: Any) -> Any:
        return self.store if kind is room.Store else super().get_fact(kind, **arguments)

    def ask(self, operation: Any, **arguments: Any) -> list[str]:
        """The commands of an operation, not run."""
        with ctx_host.use(self):
            return [str(command) for command in operation._inner(**arguments)]


class Told(Server):
    """One whose deploy was given this as --data."""

    state = SimpleNamespace(is_executing=True)

    def __init__(self, hold: dict[str, Any], *releases: dict[str, Any]) -> None:
        super().__init__(*releases)
        self.data = {room.HOLD: hold}


def entry(release: str, state: str, **more: Any) -> dict[str, Any]:
    return {"release": release, "state": state, "bad": None, "damage": "", "slot": ""} | more


def test_a_release_that_is_new_here_gets_the_traffic() -> None:
    for server in (Server(), Server(entry(RELEASE, "held"), entry(OTHER, "active"))):
        (command,) = server.ask(room.activated, release=RELEASE, seconds=60)
        assert f"release activate {RELEASE} --who deploy" in command
        assert "--wait 150" in command


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry(RELEASE, "active")], f"{RELEASE} has the traffic"),
        ([entry(RELEASE, "fallback"), entry(OTHER, "active")], f"{OTHER} has the traffic"),
        ([entry(RELEASE, "bad", bad="wrong answers"), entry(OTHER, "active")], f"{OTHER} has the traffic"),
    ],
)
def test_what_people_or_the_server_decided_stays(entries: list[dict[str, Any]], says: str) -> None:
    server = Server(*entries)
    assert server.ask(room.activated, release=RELEASE, seconds=60) == []
    assert server.said == [says]


def test_what_the_fleet_must_not_get_does_not_come_forward_by_a_deploy() -> None:
    hold = {"why": "the fleet is halted: two fell", "bad": {}}
    bad = {"why": "", "bad": {RELEASE: "it fell"}}
    news = (entry(RELEASE, "held"), entry(OTHER, "active"))
    for said in (hold, bad):
        server = Told(said, *news)
        assert server.ask(room.activated, release=RELEASE, seconds=60) == []
        assert server.said == [f"{OTHER} has the traffic"]
    fresh = Told(hold, entry(RELEASE, "held"))
    assert len(fresh.ask(room.activated, release=RELEASE, seconds=60)) == 1, "an empty server is nobody's risk"
    fresh = Told(bad, entry(RELEASE, "held"))
    assert fresh.ask(room.activated, release=RELEASE, seconds=60) == []
    other = Told({"why": "", "bad": {"r999999999999": "it fell"}}, *news)
    assert len(other.ask(room.activated, release=RELEASE, seconds=60)) == 1


def test_both_sides_call_it_the_same() -> None:
    assert room.HOLD == KEY


def test_a_release_is_brought_when_it_is_missing_or_damaged(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text("{}")
    sums = make_sums([("release.json", "0" * 64)])
    for server in (Server(), Server(entry(RELEASE, "active", damage="model.py is not as the manifest says"))):
        said = server.ask(room.held, release=RELEASE, source=str(tmp_path), sums=sums)
        assert said[-1].endswith(f"dsops node release adopt /var/lib/dsops/staging/deploy-{RELEASE}")
        assert len(said) > 2
    whole = Server(entry(RELEASE, "held"))
    assert whole.ask(room.held, release=RELEASE, source=str(tmp_path), sums=sums) == []


@pytest.mark.parametrize("active", [[], [entry(OTHER, "active")]])
def test_on_a_server_that_was_not_accepted_the_release_waits_and_the_deploy_goes_on(active: list[Any]) -> None:
    server = Server(entry(RELEASE, "held"), *active)
    server.store["certificate"] = {"demanded": True, "lack": "it has no certificate", "made_at": None}
    assert server.ask(room.activated, release=RELEASE, seconds=60) == []
    assert server.said == [f"{OTHER if active else 'nothing'} has the traffic; this server was not accepted yet"]
    for certificate in ({"demanded": True, "lack": ""}, {"demanded": False, "lack": "none"}, None):
        server.store["certificate"] = certificate
        assert len(server.ask(room.activated, release=RELEASE, seconds=60)) == 1


def test_what_serves_goes_on_serving_though_its_server_was_never_accepted() -> None:
    server = Server(entry(RELEASE, "active"))
    server.store["certificate"] = {"demanded": True, "lack": "it has no certificate", "made_at": None}
    assert server.ask(room.activated, release=RELEASE, seconds=60) == []
    assert server.said == [f"{RELEASE} has the traffic"]


def test_links_are_mended_by_the_helper_and_only_when_they_are_wrong() -> None:
    assert Server().ask(room.mended) == []
    (command,) = Server(damage=["lane l20 leads to slot nothing, not to a"]).ask(room.mended)
    assert command.endswith("dsops node recover")


def test_a_helper_that_says_no_counts_as_an_empty_store() -> None:
    assert room.Store().process([json.dumps({"error": {"what": "x"}})])["releases"] == []
    assert room.Store().process([])["releases"] == []
    assert room.Store().process([json.dumps({"ok": True, "releases": [1], "damage": []})])["releases"] == [1]


@pytest.mark.parametrize(("target", "slot"), [("../slots/b", "b"), ("", ""), ("../slots/.b.new", "")])
def test_the_active_slot_is_where_the_lanes_lead(target: str, slot: str) -> None:
    assert find_slot(target) == slot
