"""`dsops backup` and `dsops restore`, from the words typed to the words shown."""

from pathlib import Path

from click.testing import CliRunner, Result
from dsops.control.cli.backup import backup
from dsops.control.cli.restore import restore
from dsops.control.fleet.epoch import take_epoch
from dsops.control.rollout.backup import RAISE
from dsops.control.rollout.store import Store
from dsops.core.errors import DsopsError

SITE = Path("inventory/site.py")


def call(command: object, *words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])  # type: ignore[arg-type]


def test_what_is_saved_comes_back_and_says_what_is_not_in_it(tmp_path: Path) -> None:
    take_epoch(tmp_path / "state", inventory=SITE)
    Store(tmp_path / "state", SITE).start(lambda *_: "{}", release="r1", who="me", reason="new", at=1.0)
    saved = call(backup, tmp_path / "b", "--state", tmp_path / "state")
    assert saved.exit_code == 0, saved.exception
    assert f"epoch 2 of {SITE.resolve()}" in saved.stdout
    assert "Not in it: secrets" in saved.stdout
    said = call(restore, tmp_path / "b", "--state", tmp_path / "new")
    assert said.exit_code == 0, said.exception
    assert f"epoch {2 + RAISE} of {SITE.resolve()}" in said.stdout
    assert f"rollout 1 of r1 ({SITE.resolve()}) was under way when the backup was made" in said.stdout
    assert "dsops epoch adopt NODE" in said.stdout
    assert "Secrets were not in it" in said.stdout
    again = call(restore, tmp_path / "b", "--state", tmp_path / "new")
    assert isinstance(again.exception, DsopsError)
    assert "there is state already" in again.exception.what
    assert call(restore, tmp_path / "b", "--state", tmp_path / "new", "--replace").exit_code == 0


def test_a_state_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = call(backup, tmp_path / "b", "--state", tmp_path / "state")
    assert isinstance(result.exception, DsopsError)
    assert result.exception.what == "there is nothing to save: no epoch was ever taken here"
    assert call(restore, tmp_path / "b", "--state", tmp_path / "state").exit_code == 2
