"""A dry run: pyinfra's plan and what the operations told of it become the changes of each server."""

import json

import pytest
from dsops.core.dry import Certainty, Change, Detail, find_differences, parse_dry
from dsops.core.errors import DsopsError


def op(number: int, name: str, change: tuple[str, ...] = (), maybe: tuple[str, ...] = ()) -> dict[str, object]:
    hosts = {"hosts_with_change": list(change), "hosts_with_conditional_change": list(maybe)}
    return {"op_hash": f"h{number}", "name": name, "names": [name], "args": [], **hosts}


def line(host: str, number: int = 0, **more: object) -> str:
    told = {"kind": "file", "target": "/f", "says": "", "diff": [], "secret": False, "name": "", **more}
    return json.dumps({"host": host, "op": f"h{number}", **told} if number else {"host": host, "kind": "looked"})


def parse(ops: list[dict[str, object]], *lines: str) -> dict[str, tuple[Change, ...]]:
    return dict(parse_dry(json.dumps({"plan": ops, "results": None}), "\n".join(lines)).changes)


def test_each_server_has_its_changes_in_the_order_of_the_run() -> None:
    found = parse(
        [op(1, "base | base: a", ("x", "y")), op(2, "base | packages | base: b", ("x",))], line("x"), line("y")
    )
    assert [(one.role, one.operation) for one in found["x"]] == [("base", "base: a"), ("base", "base: b")]
    assert [one.operation for one in found["y"]] == ["base: a"]


def test_a_server_that_was_not_looked_at_to_the_end_is_missing_not_unchanged() -> None:
    found = parse([op(1, "base | base: a", ("x", "y"))], line("x"), line("y", 1))
    assert set(found) == {"x"}
    assert parse([op(1, "base | base: a")], line("z"))["z"] == ()


def test_what_is_conditional_and_what_only_follows_is_told_apart() -> None:
    ops = [op(1, "r | r: file", ("x",)), op(2, "r | r: unit"), op(3, "r | r: other", (), ("x",))]
    found = parse(ops, line("x", 2, kind="unit", target="a.service", says="restart"), line("x"))
    assert [one.certainty for one in found["x"]] == [Certainty.SURE, Certainty.FOLLOWS, Certainty.CONDITIONAL]
    assert found["x"][1].details == (Detail("unit", "a.service", "restart"),)


def test_an_operation_with_several_names_has_the_one_that_the_server_told() -> None:
    both = op(1, "s | s: mount a", ("x", "y")) | {"names": ["s | s: mount a", "s | s: mount b"]}
    found = parse([both], line("y", 1, name="s: mount b"), line("x"), line("y"))
    assert (found["x"][0].operation, found["y"][0].operation) == ("s: mount a", "s: mount b")


@pytest.mark.parametrize("said", ["", "no JSON", '{"plan": [{}]}', '{"results": null}', "[]"])
def test_words_that_are_no_plan_are_an_error_in_words(said: str) -> None:
    with pytest.raises(DsopsError, match="pyinfra's plan is not understood"):
        parse_dry(said, "")


def test_a_book_that_is_no_json_is_an_error_in_words() -> None:
    with pytest.raises(DsopsError, match="what the operations told is no JSON"):
        parse_dry('{"plan": []}', "half a li")


FILE = Change("r", "r: file", Certainty.SURE, (Detail("file", "/f", "", ("-a", "+b")),))
UNIT = Change("r", "r: unit", Certainty.FOLLOWS, (Detail("unit", "x.service", "restart"),))


def test_the_same_changes_are_no_difference() -> None:
    assert find_differences((FILE, UNIT), (FILE, UNIT)) == []


def test_what_was_begun_may_have_less_left_and_start_what_was_to_restart() -> None:
    start = Change("r", "r: unit", Certainty.SURE, (Detail("unit", "x.service", "start"),))
    assert find_differences((FILE, UNIT), (start,), is_begun=True) == []
    assert find_differences((FILE, UNIT), (start,)) == [
        "r: file has nothing to do any more",
        "r: unit would do something else than planned: x.service start, x.service restart",
    ]


def test_another_file_than_planned_is_a_difference_also_where_it_was_begun() -> None:
    edited = Change("r", "r: file", Certainty.SURE, (Detail("file", "/f", "", ("-c", "+b")),))
    for is_begun in (False, True):
        (said,) = find_differences((FILE,), (edited,), is_begun=is_begun)
        assert said == "r: file would do something else than planned: /f"
