"""The door to the disk itself."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.store.disk import is_open

from tests.node.store.bed import Bed, Made


def test_a_file_that_nobody_has_open_is_not_open(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("x")
    assert not is_open(tmp_path / "one")
    assert not is_open(tmp_path / "none")


def test_a_file_that_a_process_has_open_or_mapped_is_open(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("x")
    with path.open("rb") as file:
        assert is_open(path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert is_open(path)
    mapped.close()
    assert not is_open(path)


def test_who_opens_it_meanwhile_does_not_end_the_one_that_asks(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("x")
    loop = "import sys\nwhile True:\n    open(sys.argv[1]).close()"
    with subprocess.Popen([sys.executable, "-c", loop, str(path)]) as other:
        end = time.monotonic() + 0.3
        seen = set()
        while time.monotonic() < end:
            seen.add(is_open(path))
        other.kill()
    assert seen <= {True, False}


def test_a_release_that_a_process_still_reads_is_not_removed(bed: Bed, pair: tuple[Made, Made]) -> None:
    for made in pair:
        bed.push(made)
    releases = bed.desk().releases
    shared, own = (releases.path(pair[0].id) / name for name in ("chat_template.jinja", "models/llm/1/weights.bin"))
    with shared.open():  # the other release has it too: nobody loses it
        releases.check_closed(pair[0].id)
    fd = os.open(own, os.O_RDONLY)
    with pytest.raises(DsopsError, match="is open in a process") as caught:
        releases.check_closed(pair[0].id)
    assert "fuser" in caught.value.mend
    os.close(fd)
    releases.check_closed(pair[0].id)
