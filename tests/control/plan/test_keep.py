"""A plan's file: read back as it was, refused when it was changed; and how far an apply has come."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.plan.keep import Notes, read_plan, write_plan
from dsops.core.errors import DsopsError

from tests.control.plan.plans import make_plan


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plan = make_plan()
    path = write_plan(plan, None, root=tmp_path)
    assert path == tmp_path / f"build/plans/{plan.id}.json"
    assert read_plan(path) == plan


def test_the_same_plan_has_the_same_id_and_another_one_another() -> None:
    assert make_plan().id == make_plan().id != make_plan({}).id


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = write_plan(make_plan(), tmp_path / "p.json", root=tmp_path)
    path.write_text(path.read_text().replace("8081", "8082"))
    with pytest.raises(DsopsError, match="was changed after it was made"):
        read_plan(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is no plan"), ("{}", "is no plan of version 1"), ("[]", "is no plan of"), ('{"version": 1}', "is missing")],
)
def test_what_is_no_plan_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DsopsError, match=said):
        read_plan(tmp_path / "p.json")


def test_a_plan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="cannot be read"):
        read_plan(tmp_path / "p.json")


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DsopsError, match="cannot be written"):
        write_plan(make_plan(), tmp_path / "file/p.json", root=tmp_path)


def test_every_word_of_an_apply_is_there_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    first = Notes(make_plan(), path, who="me@here")
    first.add("begins with a", begun=("a",))
    first.add("done with a", done=("a",))
    first.set_drained(("b",))
    again = Notes(make_plan(), path, who="me@here").noted
    assert (again.begun, again.done, again.drained) == (("a",), ("a",), ("b",))
    assert [line.partition(" me@here: ")[2] for line in again.log] == ["begins with a", "done with a"]


def test_the_same_plan_made_again_begins_anew_but_knows_who_was_left_out_of_traffic(tmp_path: Path) -> None:
    first = Notes(make_plan(), tmp_path / "p.json", who="me@here")
    first.add("x", begun=("gpu1",), done=("gpu1",))
    first.set_drained(("gpu2",))
    again = Notes(replace(make_plan(), made_at="later"), tmp_path / "p.json", who="me@here").noted
    assert (again.begun, again.done, again.drained) == ((), (), ("gpu2",))
    assert len(again.log) == 1


def test_broken_notes_are_told(tmp_path: Path) -> None:
    (tmp_path / "p.progress.json").write_text("{")
    with pytest.raises(DsopsError, match="cannot be read"):
        Notes(make_plan(), tmp_path / "p.json", who="me@here")
