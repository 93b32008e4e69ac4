"""One lab a machine: who it belongs to, and who may change it."""

from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab.owner import Owner, changing, check_owner, find_owner, forget, record, this_checkout
from dsops.lab.place import LAB, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab", "dsopst0", LAB.subnet, LAB.servers, tmp_path / "base")


def test_a_lab_of_nobody_may_be_changed(lab: Lab) -> None:
    with changing(lab, checkout="/a"):
        record(lab, checkout="/a")
    owner = find_owner(lab)
    assert owner
    assert owner.checkout == "/a"


def test_the_owner_may_change_it_again_and_stays_owner_since_then(lab: Lab) -> None:
    with changing(lab, checkout="/a"):
        record(lab, checkout="/a")
    before = find_owner(lab)
    with changing(lab, checkout="/a"):
        record(lab, checkout="/a")
    assert find_owner(lab) == before


def test_a_second_checkout_is_refused_with_the_owner_and_the_mend(lab: Lab, tmp_path: Path) -> None:
    first = str(tmp_path)
    with changing(lab, checkout=first):
        record(lab, checkout=first)
    with (
        pytest.raises(DsopsError, match=f"belongs to {first} since 20") as caught,
        changing(lab, checkout="/b"),
    ):
        pytest.fail("it was let in")
    assert f"`dsops lab down` in {first}" in caught.value.mend
    assert "`dsops lab up --take-over`" in caught.value.mend


def test_an_owner_whose_checkout_is_gone_is_named_so() -> None:
    with pytest.raises(DsopsError) as caught:
        check_owner(Owner("/no/such/checkout", "2026-01-01"), checkout="/b", place="/lab")
    assert caught.value.mend == "that checkout is gone: `dsops lab up --take-over`"


def test_take_over_makes_the_second_checkout_the_owner(lab: Lab) -> None:
    record(lab, checkout="/a")
    with changing(lab, checkout="/b", take_over=True):
        record(lab, checkout="/b")
    owner = find_owner(lab)
    assert owner
    assert owner.checkout == "/b"


def test_two_changes_at_once_are_refused_with_the_holder(lab: Lab) -> None:
    with (
        changing(lab, checkout="/a"),
        pytest.raises(DsopsError, match=r"pid \d+ of /a is changing the lab"),
        changing(lab, checkout="/a", patience=0.2),
    ):
        pytest.fail("it was let in")


def test_the_lock_is_free_after_a_failure(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), changing(lab, checkout="/a"):
        _ = 1 // 0
    with changing(lab, checkout="/a", patience=0):
        pass


@pytest.mark.parametrize("text", ["", "{", "3", "{}", '{"checkout": "/a"}'])
def test_an_unreadable_record_is_nobodys(lab: Lab, text: str) -> None:
    lab.root.mkdir()
    (lab.root / "owner.json").write_text(text)
    assert find_owner(lab) is None
    forget(lab)
    forget(lab)


def test_this_checkout_is_the_folder_of_this_project() -> None:
    assert (Path(this_checkout()) / "pyproject.toml").exists()
