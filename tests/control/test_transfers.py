"""Transfers to several nodes: a line now and then where nobody watches, bars where somebody does."""

import io

from dsops.control.progress import render_bytes
from dsops.control.transfers import EVERY_SECONDS, Transfers
from rich.console import Console


def make(*, terminal: bool = False) -> tuple[Transfers, io.StringIO, list[float]]:
    out, now = io.StringIO(), [0.0]
    return Transfers(Console(file=out, width=100, force_terminal=terminal), clock=lambda: now[0]), out, now


def test_plain_lines_come_now_and_then_with_the_speed() -> None:
    transfers, out, now = make()
    with transfers:
        transfers.begin("gpu1", 100_000_000)
        transfers.advance("gpu1", 1_000_000)
        now[0] = EVERY_SECONDS
        transfers.advance("gpu1", 49_000_000)
        transfers.advance("gpu1", 1_000_000)
    assert out.getvalue() == "  gpu1: 100.0 MB to send\n  gpu1: 50.0 MB of 100.0 MB, 10.0 MB/s\n"


def test_nothing_to_send_is_no_line() -> None:
    transfers, out, _ = make()
    with transfers:
        transfers.begin("gpu1", 0)
    assert out.getvalue() == ""


def test_a_terminal_gets_bars_that_go_away_again() -> None:
    transfers, out, _ = make(terminal=True)
    with transfers:
        transfers.begin("gpu1", 10)
        transfers.advance("gpu1", 10)
    assert "gpu1" in out.getvalue()
    assert "to send" not in out.getvalue()


def test_sizes_are_for_people() -> None:
    assert [render_bytes(size) for size in (0, 999, 1000, 4_250_000, 999_900_000, 15_300_000_000, 2.5e12)] == [
        *["0 B", "999 B", "1.0 kB", "4.2 MB", "999.9 MB", "15.3 GB", "2500.0 GB"]
    ]
