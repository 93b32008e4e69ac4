"""`dsops drift`: servers that could not be looked at never count as free of it."""

import json
from io import StringIO
from pathlib import Path

from dsops.control.cli.drift import decide_exit, render, summarize, to_data
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.plan.dry import Look
from dsops.core.dry import Dry
from rich.console import Console

from tests.control.plan.plans import CONFIG, RESTART

FLEET = Fleet(
    Path("/site/inventory/x.py"), Path("/site"), tuple(Server(name, (), {}, name) for name in ("a", "b", "c")), {}
)
CLEAN = Look(Dry({"a": (), "b": (), "c": ()}), {})
DRIFTED = Look(Dry({"a": (), "b": (CONFIG, RESTART), "c": ()}), {})
HIDDEN = Look(Dry({"a": (), "b": (CONFIG,)}), {"c": "no route to host"})


def page(seen: Look) -> str:
    console = Console(width=100, file=StringIO(), highlight=False, record=True)
    console.print(render(seen, FLEET))
    return console.export_text()


def test_the_exit_status_tells_none_some_and_unknown_apart() -> None:
    assert [decide_exit(seen) for seen in (CLEAN, DRIFTED, HIDDEN)] == [0, 1, 2]
    assert decide_exit(Look(Dry({"a": ()}), {"b": "gone"})) == 2


def test_a_table_and_short_differences() -> None:
    said = page(DRIFTED)
    assert "b       2      gateway: configuration, gateway: running" in said
    assert "+port = 8081" in said
    assert "1 of 3 servers differ. `dsops plan` says what mending costs." in said


def test_a_server_that_could_not_be_looked_at_is_named() -> None:
    said = page(HIDDEN)
    assert "c       UNKNOWN  not looked at: no route to host" in said
    assert "1 of 3 servers differ, 1 could not be looked at." in said


def test_without_drift_it_says_so() -> None:
    assert summarize(CLEAN) == "0 of 3 servers differ."
    assert "gateway" not in page(CLEAN)


def test_for_machines_unknown_is_null_and_none_is_empty() -> None:
    data = json.loads(json.dumps(to_data(HIDDEN, FLEET)))
    changes = {one["server"]: one["changes"] for one in data["servers"]}
    assert changes["a"] == []
    assert changes["c"] is None
    assert changes["b"][0]["details"][0]["diff"] == ["@@ -1 +1 @@", "-port = 8080", "+port = 8081"]
