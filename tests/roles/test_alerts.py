"""The alerts: each fires when it should and is silent otherwise, and each has a page for whoever it wakes."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.roles.promtool import ROOT, find_promtool

RULES = ROOT / "roles/monitoring/templates/rules.yml"
TESTS = ROOT / "tests/roles/alerts_test.yml"
RUNBOOKS = ROOT / "docs/runbooks"
# No YAML reader is among our packages; promtool reads the file as a whole, these tests read it rule by rule.
ALERTS = dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", RULES.read_text(), flags=re.DOTALL))
PARTS = ("## What it means", "## What dsops has done already", "## What to look at", "## What to do")


@pytest.mark.slow
def test_each_alert_fires_and_stays_silent_as_its_test_says(tmp_path: Path) -> None:
    promtool = find_promtool(tmp_path)
    for words in (["check", "rules", RULES], ["test", "rules", TESTS]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", TESTS.read_text()))
    silent = set(re.findall(r"alertname: (\w+)\}", TESTS.read_text()))
    assert fired == set(ALERTS)
    assert silent <= fired


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_names_its_page_and_what_to_type(name: str) -> None:
    assert f"runbook: docs/runbooks/{name}.md" in ALERTS[name]
    assert re.search(r'mend: "dsops \w+', ALERTS[name])
    assert re.search(r"severity: (page|ticket|note)}", ALERTS[name])


@pytest.mark.parametrize("name", ALERTS)
def test_each_page_has_the_four_parts(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)


def test_no_page_is_left_over() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)
