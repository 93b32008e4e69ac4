"""Whether a site demands passports is said in its inventory, in one of two words."""

from pathlib import Path

import pytest
from dsops.node.store.config import read_store_config
from pyinfra.api.exceptions import DeployError

from roles.helper.defaults import Helper
from roles.helper.deploy import HERE, check_passport
from roles.ops.files import render


@pytest.mark.parametrize("word", ["demanded", "when_there"])
def test_both_words_come_to_the_store(tmp_path: Path, word: str) -> None:
    said = Helper(store_passport=word)
    check_passport(said)
    path = tmp_path / "store.toml"
    path.write_text(render(HERE / "templates/store.toml.j2", said=said, purpose="dsops-release@v1"))
    assert read_store_config(path).passport == word


def test_another_word_is_refused_before_any_change() -> None:
    with pytest.raises(DeployError, match="store_passport is 'always'\n  mend: one of demanded, when_there"):
        check_passport(Helper(store_passport="always"))
