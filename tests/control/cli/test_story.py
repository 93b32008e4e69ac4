"""`dsops why`, `history` and `epoch`: what happened, told from the agents, else from the stores."""

import json
from pathlib import Path
from typing import Any

import click
import paramiko
import pytest
from click.testing import CliRunner, Result
from dsops.control.cli.epoch import epoch
from dsops.control.cli.history import history
from dsops.control.cli.why import find_newest, why
from dsops.control.fleet.inventory import Server
from dsops.control.fleet.parallel import Outcome
from dsops.core.errors import DsopsError
from dsops.core.status import Blame
from dsops.core.story import Decision, Moment

from tests.control.fleet.fake_node import FakeNode, option, write_site
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.node.sources.server import Canned, serve


def decide(node: str, began: float, *, outcome: str = "rolled back") -> Decision:
    return Decision(
        node=node,
        release="r2",
        began=began,
        moments=(Moment(began, "onset", "sum: 41 is not 42"), Moment(began + 0.2, "eject", "traffic is off")),
        blame=Blame.RELEASE,
        blame_says="three prompts were wrong inside the bake window",
        excludes=("hardware",),
        action="rollback",
        outcome=outcome,
        next_step="find out why r2 was let in",
        ended=began + 9 if outcome else None,
    )


def told(decision: Decision) -> tuple[int, bytes]:
    return 200, json.dumps(decision.to_data()).encode()


NEVER = (404, b'{"reason": "nothing was decided yet"}')


def write_inventory(folder: Path, **ports: int) -> Path:
    (folder / "inventory").mkdir()
    path = folder / "inventory/site.py"
    hosts = [(name, {"ssh_hostname": "127.0.0.1", "dsops_agent_port": port}) for name, port in ports.items()]
    path.write_text(f"gpu = {hosts!r}\n")
    return path


def call(command: click.Command, *words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception


def test_the_newest_decision_is_told_as_a_story(tmp_path: Path) -> None:
    one, two = Canned({"/v1/why": told(decide("gpu1", 100.0))}), Canned({"/v1/why": told(decide("gpu2", 200.0))})
    with serve(one), serve(two):
        path = write_inventory(tmp_path, gpu1=one.port, gpu2=two.port)
        lines = call(why, "-i", path).stdout.splitlines()
        first = call(why, "gpu1", "-i", path).stdout
        data = json.loads(call(why, "--json", "-i", path).stdout)
    assert lines[0].startswith("gpu2: rolled back (")
    assert "+0.2 s  eject" in "\n".join(lines)
    assert first.startswith("gpu1: rolled back (")
    assert (data["node"], data["blame"]) == ("gpu2", "release")


def outcome(decision: Decision | None) -> Outcome[Decision | None]:
    return Outcome(Server("x", (), {}, "f"), decision)


def test_what_is_not_over_goes_before_what_is_newer() -> None:
    over, going = decide("gpu1", 200.0), decide("gpu2", 100.0, outcome="")
    assert find_newest([outcome(over), outcome(going), outcome(None)]) == going
    assert find_newest([outcome(None)]) is None


def test_a_quiet_fleet_and_a_silent_node_are_told_apart(tmp_path: Path) -> None:
    with serve(Canned({"/v1/why": NEVER})) as canned:
        path = write_inventory(tmp_path, gpu1=canned.port, gpu2=1)
        assert call(why, "gpu1", "-i", path).stdout == "gpu1 has had to decide nothing yet.\n"
        every = call(why, "-i", path).stdout
        assert json.loads(call(why, "gpu1", "--json", "-i", path).stdout) is None
        assert "connection refused" in error_of(call(why, "gpu2", "-i", path)).what
    assert every == (
        "No node has had to decide anything yet.\ngpu2 does not answer: connection refused: nothing listens there\n"
    )


def test_when_no_agent_answers_it_says_where_else_to_look(tmp_path: Path) -> None:
    error = error_of(call(why, "-i", write_inventory(tmp_path, gpu1=1)))
    assert (error.what, "dsops history" in error.mend) == ("no agent answers", True)


@pytest.mark.parametrize("answer", [(404, b"not found"), (500, b"{}"), (200, b"{"), (200, b'{"node": 1}')])
def test_an_answer_without_sense_is_said(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    with serve(Canned({"/v1/why": answer})) as canned:
        assert error_of(call(why, "gpu1", "-i", write_inventory(tmp_path, gpu1=canned.port))).where


def entry(at: float, kind: str, says: str, **more: Any) -> dict[str, Any]:
    return {"at": at, "kind": kind, "release": "r2", "says": says, "who": "ann@desk", **more}


def test_what_happened_is_told_newest_first_over_all_nodes(tmp_path: Path) -> None:
    first = {"entries": [entry(30.0, "rollback", "left [r2]", seq=7), entry(10.0, "activate", "came")]}
    second = {"entries": [entry(20.0, "activate", "came too")]}
    paths = ["/v1/history?limit=20", "/v1/history?limit=2"]
    one = Canned({path: (200, json.dumps(first).encode()) for path in paths})
    two = Canned({path: (200, json.dumps(second).encode()) for path in paths})
    with serve(one), serve(two):
        path = write_inventory(tmp_path, gpu1=one.port, gpu2=two.port)
        rows = call(history, "-i", path).stdout.splitlines()
        few = json.loads(call(history, "-n", 2, "--json", "-i", path).stdout)
    assert [row.split()[2:4] for row in rows[1:]] == [["gpu1", "rollback"], ["gpu2", "activate"], ["gpu1", "activate"]]
    assert "left [r2]" in rows[1]
    assert [(one["node"], one["seq"]) for one in few["entries"]] == [("gpu1", 7), ("gpu2", None)]


def test_where_the_agent_is_silent_the_store_tells(tmp_path: Path) -> None:
    said = json.dumps({"entries": [entry(5.0, "activate", "from the journal", seq=1)]})
    with run_sshd(Sshd(lambda _: (0, said, ""))) as sshd:
        path = write_site(tmp_path, {"gpu1": sshd}, dsops_agent_port=1)
        result = call(history, "-n", 7, "-i", path)
    assert "from the journal" in result.stdout
    assert sshd.asked[0][1] == "dsops node history --json -n 7"


def test_a_node_that_tells_nothing_is_said_and_only_all_of_them_are_a_failure(tmp_path: Path) -> None:
    with serve(Canned({"/v1/history?limit=20": (200, b'{"entries": []}')})) as canned:
        path = write_inventory(tmp_path, gpu1=canned.port, gpu2=1)
        some = call(history, "-i", path)
        assert call(history, "gpu1", "-i", path).stdout == "Nothing has happened yet.\n"
    none = call(history, "gpu2", "-i", path)
    assert (some.exit_code, none.exit_code) == (0, 1)
    assert "gpu2 cannot be asked: " in some.stderr


def test_the_epoch_is_shown_and_adopting_takes_the_next(tmp_path: Path) -> None:
    nodes, key = {name: FakeNode(name) for name in ("gpu1", "gpu2")}, paramiko.ECDSAKey.generate()
    one, two = (Sshd(serve=node.serve, allowed=key) for node in nodes.values())
    with run_sshd(one), run_sshd(two):
        path = write_site(tmp_path, {"gpu1": one, "gpu2": two})
        where = ["--state", tmp_path / "state", "-i", path]
        before = json.loads(call(epoch, "show", "--json", *where).stdout)
        said = call(epoch, "adopt", "gpu1", "gpu2", "--reason", "restored", *where)
        after = call(epoch, "show", *where).stdout
    assert (before["number"], before["inventory"]) == (0, str(path))
    assert said.stdout == "".join(f"{name}: believes {before['holder']} from epoch 1 on\n" for name in nodes)
    assert after.startswith(f"1 of {before['holder']}, for {path}\n")
    (words,) = nodes["gpu2"].words
    assert words[0] == "adopt"
    assert (option(words, "--epoch"), option(words, "--holder")) == ("1", before["holder"])
    assert option(words, "--reason") == "restored"
