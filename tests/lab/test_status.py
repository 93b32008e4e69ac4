"""How the state of a lab is told."""

from io import StringIO

import pytest
from dsops.lab.status import LabStatus, ServerStatus, judge_state, render_table
from rich.console import Console

GPU1 = ServerStatus(
    "gpu1", "10.99.0.11", "running", True, "2026-11-22T00:59:51+00:00", 2, 123_000_000, 8_350_298_112, 4, 6
)
OFF = ServerStatus("gpu2", "10.99.0.12", "off", False, "", 2, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("made", "alive", "frozen", "ssh", "state"),
    [
        (False, False, False, False, "none"),
        (True, False, False, False, "off"),
        (True, True, False, False, "booting"),
        (True, True, True, False, "frozen"),
        (True, True, False, True, "running"),
    ],
)
def test_the_state_follows_from_what_is_seen(made: bool, alive: bool, frozen: bool, ssh: bool, state: str) -> None:
    assert judge_state(made=made, alive=alive, frozen=frozen, ssh=ssh) == state


def show(status: LabStatus) -> str:
    out = StringIO()
    Console(file=out, width=80).print(render_table(status))
    return out.getvalue()


def test_the_table_fits_into_80_columns_and_cuts_nothing() -> None:
    text = show(LabStatus("/var/lib/dsops-lab", "/home/me/dsops", True, [GPU1, OFF]))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for word in ("10.99.0.11", "running", "11-22 00:59", "0.1/8.4", "4 names, 6 hosts", "nothing", "listens"):
        assert word in text


def test_a_dead_sink_and_a_lab_of_nobody_are_told() -> None:
    text = show(LabStatus("/lab", "", False, [OFF]))
    assert "of nobody" in text
    assert "does NOT run" in text


def test_json_has_the_same_facts() -> None:
    data = LabStatus("/lab", "", True, [GPU1]).render_json()
    assert isinstance(data["servers"], list)
    assert data["servers"][0]["connections"] == 6
