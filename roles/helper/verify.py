"""Does the store belong to root, does the helper answer, in its sandbox, and are all releases signed and whole?"""

import json
from typing import Any

import pytest

from roles.ops.proofs import Host, get_owners, get_unit

GROUPS = ("gpu",)
HOME = "/var/lib/dsops"
SOCKET = "/run/dsops-helper.sock"
DOOR = "/opt/dsops/venv/bin/dsops node"
FOLDERS = ("audit", "blobs", "lanes", "passports", "releases", "slots", "staging", "state")


def read_releases(host: Host) -> Any:
    """What the helper lists; asking starts it."""
    return json.loads(host.check_output(f"{DOOR} release list --json"))


def test_the_store_belongs_to_root_alone(host: Host) -> None:
    paths = [f"{HOME}/{folder}" for folder in FOLDERS]
    assert get_owners(host, paths) == dict.fromkeys(paths, "755 root root")
    assert not host.check_output(f"find {HOME}/blobs {HOME}/releases -type f ! -perm 444 | head -n 5")
    assert not host.check_output(f"find {HOME}/blobs {HOME}/releases ! -user root | head -n 5")


def test_the_socket_is_for_root_and_the_stores_group(host: Host) -> None:
    assert get_owners(host, [SOCKET]) == {SOCKET: "660 root dsops-store"}
    members = {
        user for user in ("dsops", "dsops-agent") if "dsops-store" in host.check_output(f"id -nG {user}").split()
    }
    assert members == {"dsops", "dsops-agent"}
    assert get_unit(host, "dsops-helper.socket")["UnitFileState"] == "enabled"


def test_the_helper_answers_and_holds_no_capability(host: Host) -> None:
    read_releases(host)
    found = get_unit(host, "dsops-helper.service")
    assert found["ActiveState"] == "active"
    assert found["ProtectSystem"] == "strict"
    assert (int(found["CapEff"], 16), int(found["CapBnd"], 16)) == (0, 0)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_every_release_is_whole_and_all_links_lead_where_the_journal_says(host: Host) -> None:
    said = read_releases(host)
    assert said["damage"] == []
    # One that an older dsops put there is nobody's now; `dsops node release remove` takes it away.
    assert {one["release"]: one["damage"] for one in said["releases"] if one["damage"] and one["state"] != "held"} == {}


def test_the_audit_is_whole_and_has_all_that_the_journal_has(host: Host) -> None:
    said = json.loads(host.check_output(f"{DOOR} audit verify --json"))
    assert (said["ok"], said["flaws"], said["lag"]) == (True, [], "")
    assert not host.check_output(f"find {HOME}/audit ! -user root | head -n 5")


def test_the_cold_tier_is_there_whole_and_roots_alone(host: Host) -> None:
    tier = read_releases(host)["cold"]
    if tier is None:
        pytest.skip("store_cold is empty: there is no cold tier")
    assert tier["reason"] == ""
    root = tier["root"]
    if not host.file(f"{root}/releases").is_directory:
        pytest.skip("nothing went cold yet")
    assert get_owners(host, [f"{root}/blobs", f"{root}/releases"]) == {
        f"{root}/blobs": "755 root root",
        f"{root}/releases": "755 root root",
    }
    assert not host.check_output(f"find {root}/blobs {root}/releases -type f ! -perm 444 | head -n 5")
    assert not host.check_output(f"find {root}/blobs {root}/releases ! -user root | head -n 5")
    assert {one["release"]: one["cold_damage"] for one in read_releases(host)["releases"] if one["cold_damage"]} == {}


def test_on_a_raid0_what_is_good_lies_cold_as_well(host: Host) -> None:
    if not host.file("/etc/dsops/store.toml").contains("^hot_is_raid0 = true"):
        pytest.skip("the hot tier is no RAID0")
    said = read_releases(host)["releases"]
    assert {one["release"]: one["tier"] for one in said if one["state"] == "active" and one["tier"] != "hot+cold"} == {}


def test_every_release_that_serves_is_signed_by_somebody_allowed(host: Host) -> None:
    config = "/etc/dsops/store.toml"
    namespace = host.check_output(f"sed -n 's/^namespace = \"\\(.*\\)\"/\\1/p' {config}").strip()
    served = [one["release"] for one in read_releases(host)["releases"] if one["slot"]]
    for release in served:
        folder, signers = f"{HOME}/releases/{release}", "/etc/dsops/allowed_signers"
        who = f"$(ssh-keygen -Y find-principals -f {signers} -s {folder}/release.json.sig)"
        verify = f"ssh-keygen -Y verify -q -f {signers} -n {namespace} -I {who} -s {folder}/release.json.sig"
        done = host.run(f"{verify} < {folder}/release.json")
        assert done.rc == 0, f"{release}: {done.stderr}"
