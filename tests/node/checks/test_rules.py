"""The tables that ship with dsops, and what a site may change of them."""

from dataclasses import replace
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from dsops.core.checks import DRAINS, ORDER, Kind
from dsops.core.errors import DsopsError
from dsops.core.status import Blame, Measure
from dsops.node.checks.catalogue import CHECKS
from dsops.node.checks.rules import change, get_rules, get_shipped

SHIPPED = get_shipped()
# Told, and never acted upon: no fault, but good to know beside one.
TOLD_ONLY = ("gpu.throttle_sw",)


def test_every_rule_says_what_to_do_and_where_it_comes_from() -> None:
    assert len(SHIPPED.rules) > 50
    for code, rule in SHIPPED.rules.items():
        assert rule.code == code
        assert rule.mend, code
        assert rule.source, code
        assert (rule.measure is not Measure.NONE) or rule.kind is Kind.EVENT or code in TOLD_ONLY, code


def test_every_code_that_a_check_may_say_has_a_rule_and_every_threshold_is_a_number() -> None:
    for check in CHECKS:
        assert check.codes, check.name
        for code in check.codes:
            assert code in SHIPPED.rules, f"{check.name}: {code}"
            assert code.startswith(check.name.partition(".")[0]), f"{check.name}: {code}"


def test_causes_explain_and_never_each_other() -> None:
    """A circle of causes would hide them all."""
    rules = SHIPPED.rules.values()
    explains = {
        rule.code: {
            other.code
            for other in rules
            if other.code != rule.code
            and any(fnmatchcase(other.code, pattern) for pattern in rule.hides)
            and find_strongest(rule.code) >= find_weakest(other.code)
        }
        for rule in rules
    }
    list(TopologicalSorter(explains).static_order())


def find_strongest(code: str) -> int:
    rule = SHIPPED.rules[code]
    return max(ORDER.index(rule.measure), ORDER.index(rule.again or Measure.NONE))


def find_weakest(code: str) -> int:
    return ORDER.index(SHIPPED.rules[code].measure)


def test_what_an_engine_can_cause_itself_excuses_no_release() -> None:
    for number in (13, 31, 43, 45, 68, 69, 137, 109, 9999):
        assert SHIPPED.rules[SHIPPED.find_code("xid", number)].blame is Blame.UNKNOWN


def test_an_unknown_code_never_drains() -> None:
    for kind in ("xid", "km", "sxid"):
        rule = SHIPPED.rules.get(f"{kind}.other")
        if rule:
            assert rule.measure not in DRAINS
            assert rule.again is None


def test_events_that_drain_last_until_the_next_boot() -> None:
    for rule in SHIPPED.rules.values():
        if rule.kind is Kind.EVENT and rule.measure in DRAINS:
            assert rule.latched, rule.code


def test_a_site_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "checks.toml"
    assert get_rules(file) == SHIPPED
    file.write_text('["xid.94"]\nmeasure = "alert"\nalert_only = true\n')
    changed = get_rules(file)
    assert changed.rules["xid.94"].measure is Measure.ALERT
    assert changed.rules["xid.94"].source == str(file)
    assert changed.rules["xid.94"].mend == SHIPPED.rules["xid.94"].mend
    others = {code: rule for code, rule in changed.rules.items() if code != "xid.94"}
    assert others == {code: rule for code, rule in SHIPPED.rules.items() if code != "xid.94"}


@pytest.mark.parametrize(
    ("changes", "says", "mend"),
    [
        ({"xid.97": {"measure": "alert"}}, "no check says 'xid.97'", "xid.9"),
        ({"xid.94": {"mesure": "alert"}}, "unknown key 'mesure'", "measure"),
        ({"xid.94": {"measure": "explode"}}, "should be one of none, alert", ""),
        ({"xid.94": 5}, "should be a table", ""),
        ({"xid.94": {"limits": {"celsius": 80}}}, "no threshold 'celsius'", ""),
        ({"xid.94": {"samples": "three"}}, "should be a whole number", ""),
    ],
)
def test_a_mistake_is_named_with_its_place(changes: dict[str, object], says: str, mend: str) -> None:
    with pytest.raises(DsopsError, match=says) as caught:
        change(SHIPPED, changes, where="/etc/dsops/checks.toml")
    assert "/etc/dsops/checks.toml" in str(caught.value)
    assert mend in caught.value.mend


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checks.toml"
    file.write_text("[xid")
    with pytest.raises(DsopsError, match="cannot be read") as caught:
        get_rules(file)
    assert str(file) in str(caught.value)


def test_the_shipped_tables_are_not_touched_by_a_change() -> None:
    before = dict(SHIPPED.rules)
    change(SHIPPED, {"xid.79": {"measure": "none"}}, where="x")
    assert dict(SHIPPED.rules) == before
    assert replace(SHIPPED) == SHIPPED
