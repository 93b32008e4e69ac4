"""Where an operation stands: the same answer as pyinfra's own, from whatever depth it is asked."""

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pyinfra
import pytest
from pyinfra.api import util

from roles.ops.frames import NAME, find_order, quicken_order

OPERATION: Any = sys.modules["pyinfra.api.operation"]
STATES = {
    "in the deploy": SimpleNamespace(current_deploy_filename=__file__, current_op_file_number=3),
    "in another deploy": SimpleNamespace(current_deploy_filename="deploy/other.py", current_op_file_number=0),
    "in none": SimpleNamespace(current_deploy_filename=None, current_op_file_number=0),
}


@pytest.fixture(autouse=True)
def left_as_it_was() -> Iterator[None]:
    """pyinfra's own is back afterwards."""
    yield
    setattr(OPERATION, NAME, util.get_operation_order_from_stack)


def deep(levels: int, call: Callable[[], Any]) -> Any:
    return deep(levels - 1, call) if levels else call()


@pytest.mark.parametrize("where", STATES)
@pytest.mark.parametrize("levels", [0, 1, 7])
def test_the_lines_are_pyinfras(where: str, levels: int) -> None:
    state: Any = STATES[where]
    ours, theirs = deep(levels, lambda: (find_order(state), util.get_operation_order_from_stack(state)))
    assert ours == theirs


def test_in_the_cli_the_deploy_files_number_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyinfra, "is_cli", True)
    state: Any = STATES["in the deploy"]
    ours, theirs = find_order(state), util.get_operation_order_from_stack(state)
    assert ours == theirs
    assert ours[0] == 3


def test_it_takes_pyinfras_place_once() -> None:
    state: Any = STATES["in the deploy"]
    assert quicken_order(state)
    assert getattr(OPERATION, NAME) is find_order
    assert quicken_order(state)


def test_a_pyinfra_that_answers_otherwise_keeps_its_own() -> None:
    def another(state: Any) -> list[int]:
        return [1, 2]

    setattr(OPERATION, NAME, another)
    assert not quicken_order(STATES["in the deploy"])  # type: ignore[arg-type]
    assert getattr(OPERATION, NAME) is another
