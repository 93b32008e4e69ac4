"""Where an operation stands in the deploy, found without reading source files: pyinfra's own takes 1.3 ms each.

pyinfra orders operations by the lines that lead to them, and asks `inspect.stack()` for these, three times over, with
the source around each. With 50 operations on 30 servers that is two seconds. docs/decisions/0011 has the figures.
"""

import sys
from types import FrameType
from typing import Any

import pyinfra
from pyinfra import logger
from pyinfra.api import State, util

NAME = "get_operation_order_from_stack"


def find_order(state: State) -> list[int]:
    """The same list as pyinfra 3.10's: the deploy file's number, then all lines from it inwards but pyinfra's own."""
    frames: list[tuple[str, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    wanted: Any = state.current_deploy_filename
    start = next((i for i, (name, _) in enumerate(frames) if name == wanted), len(frames)) if wanted else 0
    first: list[Any] = [state.current_op_file_number] if pyinfra.is_cli else []
    return first + [line for name, line in frames[start:] if not name.startswith(util.PYINFRA_INSTALL_DIR)]


def quicken_order(state: State) -> bool:
    """Has pyinfra use it, if it gives the same here and now; False, and said, when it does not."""
    # Its module; the attribute of that name in pyinfra.api is the decorator.
    module: Any = sys.modules["pyinfra.api.operation"]
    theirs = getattr(module, NAME, None)
    if theirs is find_order:
        return True
    is_same = theirs is not None and find_order(state) == theirs(state)
    if is_same:
        setattr(module, NAME, find_order)
    else:
        logger.warning(f"operations are ordered the slow way: this pyinfra's {NAME} is another one")
    return is_same
