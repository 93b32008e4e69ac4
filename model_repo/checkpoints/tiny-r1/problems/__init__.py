"""The problems of tiny-r1, one file for each kind; importing the package registers them all."""

from . import arithmetic, cycles, edits, letters, numerals, order, stories
from .base import TASKS, Problem, Task
from .talk import make_talk

__all__ = [
    "TASKS",
    "Problem",
    "Task",
    "arithmetic",
    "cycles",
    "edits",
    "letters",
    "make_talk",
    "numerals",
    "order",
    "stories",
]
