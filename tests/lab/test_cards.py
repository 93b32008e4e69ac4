"""The kinds of cards, and the keys that their files may have: as data, whole and without slips."""

import re
import tomllib

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import cards, gpus
from dsops.lab.place import Server
from hypothesis import given
from hypothesis import strategies as st

KEYS = tomllib.loads((cards.NVML / "keys.toml").read_text())
# Quoted in the library's source and no key: forms, names of files and calls, parts of keys.
NO_KEYS = re.compile(r"[%/ \\]|\.(conf|h)$|^(re|we|default|nvlink\.|ecc_|corrected)$|^nvml[A-Z]|^DSOPS|^\.|^$")


def quoted_in_the_library() -> set[str]:
    """Every literal of its source, the texts of errors left out."""
    source = "".join(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL) for path in cards.get_sources())
    before, errors = source.split("static const char *names[] = {")
    return set(re.findall(r'"([^"\n]*)"', before + errors.partition("};")[2]))


def test_each_known_key_is_read_and_each_key_that_is_read_is_known() -> None:
    quoted = quoted_in_the_library()
    known = {*KEYS["driver"], *KEYS["gpu"]} - {"profile", "xid", "xid_sequence"}
    assert {key for key in known if key.removesuffix(".sram") not in quoted} == set()
    keys = {key for key in quoted if not NO_KEYS.search(key)}
    assert {key for key in keys if not (cards.is_known(key, part="gpu") or cards.is_known(key, part="driver"))} == set()


def test_the_profiles_are_these_three_with_source_and_date() -> None:
    assert cards.list_profiles() == ["a100", "h100", "t4"]
    for name in cards.list_profiles():
        head = (cards.NVML / "profiles" / f"{name}.toml").read_text().split("[driver]")[0]
        assert "Source:" in head
        assert "2026-" in head


@pytest.mark.parametrize("name", ["a100", "h100", "t4"])
def test_a_profile_says_nothing_that_nobody_reads(name: str) -> None:
    profile = cards.get_profile(name)
    assert cards.find_unknown(profile.driver, part="driver") == []
    assert cards.find_unknown(profile.gpu, part="gpu") == []
    assert cards.find_unknown(gpus.default_gpu(Server("gpu1", 11, gpus=1), 0, profile=name), part="gpu") == []


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(DsopsError, match="no profile 'b200'"):
        cards.get_profile("b200")


@pytest.mark.parametrize(
    "key",
    [
        "return",
        "hang",
        "return.nvmlDeviceGetName",
        "hang.nvmlInit",
        "nvlink.17",
        "nvlink.3.crc_flit",
        "event.17",
        "field.9",
    ],
)
def test_faults_links_events_and_fields_are_known_by_their_form(key: str) -> None:
    assert cards.is_known(key, part="gpu")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("temperatur", "temperatur (temperature?)"),
        ("return.nvmlDeviceGetPowerUsag", "return.nvmlDeviceGetPowerUsag (return.nvmlDeviceGetPowerUsage?)"),
        ("hang.nvmlReturn_t", "hang.nvmlReturn_t (hang.nvmlUnitGetCount?)"),
        ("nvlink.3.crc", "nvlink.3.crc (nvlinks?)"),
        ("zzz", "zzz"),
    ],
)
def test_a_slip_is_told_with_the_key_that_was_meant(key: str, near: str) -> None:
    (told,) = cards.find_unknown([key], part="gpu")
    assert told == near


def test_a_key_of_a_gpu_is_none_of_the_driver() -> None:
    assert cards.find_unknown(["temperature", "event.1"], part="driver") == ["temperature", "event.1"]
    assert cards.find_unknown(["count"], part="gpu")


@given(st.text(st.characters(codec="ascii", exclude_characters="=\n"), min_size=1, max_size=30))
def test_no_key_is_silently_ignored(key: str) -> None:
    """Either the library reads it, or it is told."""
    exact = key in KEYS["gpu"] or key in KEYS["both"]
    formed = re.fullmatch(r"(return|hang)\.nvml\w+|nvlink\.\d+(\.\w+)?|(event|process|field)\.\d+", key)
    assert exact or formed or cards.find_unknown([key], part="gpu")
