"""A release that the kernel is to forget, while something still holds it."""

import mmap
import os
import threading
import time
from pathlib import Path

from dsops.node.helper.afresh import drop
from dsops.node.sources.cache import find_cached, forget


def test_what_a_dying_process_maps_is_asked_for_until_it_is_let_go() -> None:
    shares = [1.0, 0.6, 0.0]
    asked: list[int] = []
    held = drop([Path("x")], forget=lambda files: asked.append(len(files)), look=lambda _: shares[len(asked) - 1])
    assert (held, len(asked)) == (0.0, 3)


def test_what_stays_mapped_is_told_after_the_time_that_was_given() -> None:
    began = time.monotonic()
    assert drop([Path("x")], seconds=0.25, forget=lambda _: None, look=lambda _: 0.9) == 0.9
    assert 0.2 < time.monotonic() - began < 3.0


def test_nobody_can_say_is_no_reason_to_wait() -> None:
    assert drop([Path("x")], seconds=60.0, forget=lambda _: None, look=lambda _: None) is None


def test_a_real_mapping_that_ends_while_we_ask(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 16384)
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())
        mapped = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
    assert len(mapped[:: mmap.PAGESIZE]) == file.stat().st_size // mmap.PAGESIZE  # every page is touched
    forget([file])
    before = find_cached([file])
    ends = threading.Timer(0.4, mapped.close)
    ends.start()
    after = drop([file])
    ends.join()
    assert before is None or (before > 0.9 and after is not None and after <= 0.05)
