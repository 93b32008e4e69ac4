"""The mutants themselves: each can still be applied, and says who should notice it."""

from pathlib import Path

import pytest

from tests.mutants.catalogue import ALL
from tests.mutants.mutant import CATCHERS, ROOT, Mutant


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(ALL) >= 30
    assert len({one.name for one in ALL}) == len(ALL)


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name)
def test_its_old_text_is_there_exactly_once_and_the_new_one_is_python(mutant: Mutant) -> None:
    assert mutant.count() == 1
    text = (ROOT / mutant.file).read_text()
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    assert mutant.by
    assert set(mutant.by) <= set(CATCHERS)


def test_every_catcher_is_there() -> None:
    for words in CATCHERS.values():
        for word in words:
            assert not word.startswith("tests/") or (ROOT / Path(word)).exists(), word
