"""The local door's verbs of the checks, against a real helper and an agent that says what it is told to say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dsops.core.baseline import Baseline, Number
from dsops.core.checklist import Checklist, CheckSeen, Item
from dsops.core.errors import DsopsError
from dsops.core.maintenance import parse_maintenance
from dsops.core.status import Verdict
from dsops.node.cli import Door, node

from tests.node.helper.conftest import Talk, serving
from tests.node.sources.server import Canned, serve
from tests.node.store.bed import Bed, Signer, make_root, make_signer

LIST = Checklist(
    "gpu1",
    "b1",
    1e9,
    (
        CheckSeen("gpu.hot", ("gpu.hot",), 1e9, items=(Item("gpu.hot", "gpu0", Verdict.OK, 40.0, 85.0),)),
        CheckSeen("ib", ("ib.down",), 1e9, "no such port"),
    ),
    (Number("gpu0", "width", 16.0),),
)
BAD = Item("gpu.hot", "gpu1", Verdict.BAD, 91.0, 85.0, "hot", streak=3, needed=3, since=1e9)
ONCE = replace(BAD, streak=1, since=None)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def bed(tmp_path: Path, signer: Signer) -> Bed:
    return Bed(make_root(tmp_path / "store"), signer)


@pytest.fixture
def talk(bed: Bed) -> Iterator[Talk]:
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        yield talk


@contextmanager
def telling(*items: Item) -> Iterator[str]:
    """The address of an agent whose first check has these, too."""
    first, *rest = LIST.checks
    seen = replace(LIST, checks=(replace(first, items=(*first.items, *items)), *rest))
    with serve(Canned({"/v1/checks": (200, seen.to_json().encode())})) as canned:
        yield f"127.0.0.1:{canned.port}"


def run(talk: Talk, *words: str, agent: str = "127.0.0.1:1") -> Result:
    return CliRunner().invoke(node, list(words), obj=Door(talk.path.parent / "none", agent, helper=talk.path))


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), result.output
    return result.exception


def test_what_the_checks_say_is_told_in_lines_and_as_json(talk: Talk) -> None:
    with telling(BAD) as agent:
        lines = run(talk, "checks", agent=agent).output.splitlines()
        assert Checklist.from_json(run(talk, "checks", "--json", agent=agent).output, where="x").node == "gpu1"
    assert lines == ["OK       gpu0 gpu.hot", "BAD      gpu1 gpu.hot: hot", "SKIPPED  ib: no such port"]


def test_what_is_normal_is_frozen_with_who_and_why(talk: Talk, bed: Bed) -> None:
    with telling(ONCE) as agent:
        done = run(talk, "freeze", "--reason", "commissioned", "--who", "kim", agent=agent)
    assert done.output == "1 numbers are normal here from now on\n"
    held = Baseline.from_json((bed.root / "state/baseline.json").read_text(), where="x")
    assert (held.who, held.reason, held.forced, held.numbers) == ("kim", "commissioned", False, LIST.normal)
    assert any("freeze by kim: commissioned" in line for line in bed.said)


def test_what_is_wrong_does_not_become_normal_but_by_force(talk: Talk, bed: Bed) -> None:
    words = ("freeze", "--reason", "commissioned")
    with telling(BAD) as agent:
        error = error_of(run(talk, *words, agent=agent))
        assert "gpu1 gpu.hot" in error.what
        assert "--force" in error.mend
        assert not (bed.root / "state/baseline.json").exists()
        assert run(talk, *words, "--force", agent=agent).exit_code == 0
    assert Baseline.from_json((bed.root / "state/baseline.json").read_text(), where="x").forced


def test_without_an_agent_nothing_is_frozen(talk: Talk, bed: Bed) -> None:
    assert "does not answer" in error_of(run(talk, "freeze", "--reason", "commissioned")).what
    assert not (bed.root / "state/baseline.json").exists()


def test_maintenance_begins_and_ends_with_a_name(talk: Talk, bed: Bed) -> None:
    done = run(talk, "maintenance", "--reason", "fans", "--who", "kim", "--for", "90m", "--checks", "xid.*", "--json")
    held = parse_maintenance((bed.root / "state/maintenance.json").read_text(), where="x")
    assert json.loads(done.output)["until"] == held.until == held.began + 5400
    assert (held.reason, held.who, held.checks) == ("fans", "kim", ("xid.*",))
    assert "in maintenance until 20" in run(talk, "maintenance", "--reason", "fans").output
    held = parse_maintenance((bed.root / "state/maintenance.json").read_text(), where="x")
    assert (held.until - held.began, held.checks) == (7200, ())
    assert run(talk, "maintenance", "--end").output.startswith("ended: maintenance until ")
    assert not (bed.root / "state/maintenance.json").exists()
    assert [line.split(" by ")[0] for line in bed.said] == ["dsops: maintain"] * 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "the reason is empty"),
        (("--reason", " "), "the reason is empty"),
        (("--reason", "x", "--for", "8d"), "more than 7 days"),
        (("--reason", "x", "--for", "soon"), "no span of time"),
        (("--reason", "x", "--checks", "gpus*"), "no check says"),
        (("--end", "--reason", "x"), "takes no other words"),
        (("--end",), "no maintenance here to end"),
    ],
)
def test_whatever_makes_no_sense_is_refused(talk: Talk, bed: Bed, words: tuple[str, ...], says: str) -> None:
    assert says in error_of(run(talk, "maintenance", *words)).what
    assert not (bed.root / "state/maintenance.json").exists()


def test_one_that_ended_by_itself_is_said_to_have(talk: Talk, bed: Bed) -> None:
    run(talk, "maintenance", "--reason", "fans", "--for", "1m")
    bed.at += 61
    assert "it ended by itself at 20" in run(talk, "maintenance", "--end").output
