"""The list of sums: what is written is what is read, and no path gets through that could write elsewhere."""

import string

import pytest
from dsops.core.errors import DsopsError
from dsops.core.sums import Sums, check_path, compare, make_sums, parse_sums
from hypothesis import given
from hypothesis import strategies as st

A, B = "a" * 64, "b" * 64
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PARTS = st.text(string.ascii_lowercase + string.digits + "_@%+=:,.()~#[]{}!^- ", min_size=1, max_size=8).filter(
    lambda part: part.strip() == part and part not in {".", ".."}
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def is_tree(paths: set[str]) -> bool:
    """No path is also a folder of another."""
    return not any(other.startswith(path + "/") for path in paths for other in paths)


LISTS = st.dictionaries(PATHS, DIGESTS, max_size=8).filter(lambda files: is_tree(set(files)))


@given(LISTS)
def test_what_is_rendered_is_read_back(files: dict[str, str]) -> None:
    sums = make_sums(files.items())
    assert dict(parse_sums(sums.render(), where="x").files) == files


@given(LISTS, st.randoms())
def test_the_id_does_not_depend_on_the_order(files: dict[str, str], random: st.DataObject) -> None:
    shuffled = sorted(files.items(), key=lambda _: random.random())  # type: ignore[attr-defined]
    assert make_sums(shuffled).id == make_sums(files.items()).id


@given(LISTS.filter(bool), DIGESTS)
def test_another_sum_is_another_id(files: dict[str, str], digest: str) -> None:
    name = next(iter(files))
    assert (make_sums((files | {name: digest}).items()).id == make_sums(files.items()).id) == (files[name] == digest)


UNSAFE = {
    "": "empty",
    "/etc/passwd": "absolute",
    "../x": "climbs out",
    "a/../../x": "climbs out in the middle",
    "a/..": "climbs out at the end",
    "./a": "a dot",
    "a//b": "an empty part",
    "a/": "an empty last part",
    "a\\b": "a backslash",
    "a\nb": "a newline",
    "a\n": "a newline at the end",
    "a\r": "a carriage return at the end",
    "a\x0bb": "a vertical tab",
    "a\x00b": "a zero byte",
    "a\x1b[2Jb": "a terminal's control",
    "a\u2028b": "a line separator",
    "a\udcffb": "a byte that is no UTF-8",
    "ä": "not ASCII",
    "a$b": "a dollar",
    "a'b": "a quote",
    "a*": "a star",
    " a": "a space first",
    "a ": "a space last",
    "a/ b": "a space first in a part",
}


@pytest.mark.parametrize("path", UNSAFE, ids=UNSAFE.values())
def test_an_unsafe_path_is_refused_and_cannot_reach_the_terminal(path: str) -> None:
    with pytest.raises(DsopsError) as caught:
        make_sums([(path, A)])
    assert str(caught.value).isprintable()


@given(st.text(max_size=12))
def test_no_accepted_path_climbs_out_or_needs_quoting_by_sha256sum(path: str) -> None:
    try:
        check_path(path)
    except DsopsError:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert path.isascii()
    assert path.isprintable()
    assert "\\" not in path


@pytest.mark.parametrize(
    "paths",
    [("a", "A"), ("dir/a", "dir/A"), ("dir/a", "Dir/b"), ("a", "a/b"), ("a/b", "A"), ("x/Y/1", "x/y/2")],
)
def test_names_that_some_file_system_takes_for_one_are_refused(paths: tuple[str, str]) -> None:
    for both in (paths, paths[::-1]):
        with pytest.raises(DsopsError, match="take for one"):
            make_sums((path, A) for path in both)


def test_a_file_listed_twice_is_refused() -> None:
    with pytest.raises(DsopsError, match="two entries for one file"):
        make_sums([("a", A), ("a", A)])
    with pytest.raises(DsopsError, match="two entries"):
        parse_sums(f"{A}  a\n{B}  a\n", where="SHA256SUMS")


@pytest.mark.parametrize(
    "line",
    ["", "a", f"{A} a", f"{A}  ", f"{A[:-1]}  a", f"{A.upper()}  a", f"\\{A}  a", f"{A}  a\r", f"{A}  a\x0c{B}  b"],
)
def test_a_line_that_is_none_is_named_by_its_number(line: str) -> None:
    with pytest.raises(DsopsError) as caught:
        parse_sums(f"{B}  first\n{line}\n", where="SHA256SUMS")
    assert "SHA256SUMS:2" in str(caught.value) or "character" in str(caught.value)


def test_a_last_line_without_its_end_is_read() -> None:
    assert parse_sums(f"{A}  a", where="x").files == {"a": A}
    assert parse_sums("", where="x").files == {}


def test_every_difference_is_named() -> None:
    expected = make_sums([("same", A), ("changed", A), ("missing", A)])
    found = make_sums([("same", A), ("changed", B), ("extra", A)])
    assert compare(expected, found) == ["changed: changed", "extra: extra", "missing: missing"]


@given(LISTS, LISTS)
def test_nothing_differs_exactly_when_the_lists_are_equal(one: dict[str, str], two: dict[str, str]) -> None:
    assert (compare(make_sums(one.items()), make_sums(two.items())) == []) == (one == two)


def test_a_folder_of_the_list_has_its_own_paths() -> None:
    sums = make_sums([("apt/base/x", A), ("apt/base2/x", B), ("y", B)])
    assert sums.below("apt/base").files == {"x": A}
    assert sums.below("apt/base/").files == {"x": A}
    assert Sums().below("apt").files == {}
