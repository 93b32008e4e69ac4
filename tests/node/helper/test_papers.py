"""The files that the helper keeps for the agent: whole or not at all, with a name, for nobody but people."""

import errno
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.helper.peers import Peer
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger

from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed

NUMBER = {"entity": "gpu0", "key": "width", "value": 16.0}
WHO = {"who": "kim", "reason": "new"}


class Full(Disk):
    """No room at one step."""

    fails = ""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._check("write")
        super().write(fd, data, offset)

    def rename(self, source: Path, target: Path) -> None:
        self._check("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._check("unlink")
        super().unlink(path)

    def _check(self, step: str) -> None:
        if step == self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_full_disk_leaves_the_old_one(bed: Bed, step: str) -> None:
    bed.disk = disk = Full()
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk("maintain", seconds=60, **WHO)
        talk("freeze", numbers=[NUMBER], **WHO)
        before = [(bed.root / f"state/{name}.json").read_text() for name in ("maintenance", "baseline")]
        disk.fails = step
        for verb, words in (("maintain", {"seconds": 600}), ("freeze", {"numbers": [NUMBER | {"value": 8.0}]})):
            with pytest.raises(DsopsError, match="the disk is full"):
                talk(verb, **words, **WHO)
    assert [(bed.root / f"state/{name}.json").read_text() for name in ("maintenance", "baseline")] == before


def test_one_that_cannot_be_ended_is_said_to_go_on(bed: Bed) -> None:
    bed.disk = disk = Full()
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk("maintain", seconds=60, **WHO)
        disk.fails = "unlink"
        with pytest.raises(DsopsError, match="the disk is full"):
            talk("maintain", end=True, who="kim")
        assert (bed.root / "state/maintenance.json").exists()
        disk.fails = ""
        assert "new" in talk("maintain", end=True, who="kim")["ended"]


def test_one_that_is_spoilt_can_be_ended(talk: Talk, bed: Bed) -> None:
    (bed.root / "state/maintenance.json").write_text("{")
    assert talk("maintain", end=True, who="kim")["ended"] == "what could not be read"


def test_the_agent_may_neither(talk: Talk, bed: Bed) -> None:
    talk.peer = Peer.AGENT
    for verb, words in (("maintain", {"seconds": 60}), ("freeze", {"numbers": [NUMBER]})):
        with pytest.raises(DsopsError, match="may not ask"):
            talk(verb, **words, **WHO)
    assert list((bed.root / "state").glob("*.json")) == []


def test_the_audit_has_who_why_and_for_how_long(bed: Bed) -> None:
    bed.ledger = ledger = Ledger(bed.root, Disk(), node="gpu1")
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk("maintain", seconds=5400, checks=["gpu.*"], **WHO)
        talk("freeze", numbers=[NUMBER], force=True, **WHO)
        talk("maintain", end=True, who="ann")
    ledger.flush(5.0)
    text = "".join(path.read_text() for path in sorted((bed.root / "audit").glob("*.jsonl")))
    assert "seconds 5400; checks ['gpu.*']" in text
    assert '"verb":"freeze","who":"kim","why":"new"' in text
    assert "force; asked as root" in text
    assert "end; asked as root" in text
