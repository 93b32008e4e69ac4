"""Do slots and lanes lead to whole releases, and does the engine of the one with the traffic answer?"""

import json
import shlex
from typing import Any

from dsops.core.lanes import LANES, SHARES, STABLE, find_lanes

from roles.ops.proofs import Host, fetch

GROUPS = ("gpu",)
HOME = "/var/lib/dsops"


def find_slots(host: Host) -> dict[str, str]:
    """slot -> where its link leads; empty slots are missing."""
    text = host.check_output(f"for s in a b; do echo $s $(readlink {HOME}/slots/$s); done")
    return dict(line.split() for line in text.splitlines() if " " in line.strip())


def read_release(host: Host, slot: str) -> Any:
    """The manifest in a slot."""
    return json.loads(host.check_output(f"cat {HOME}/slots/{slot}/release.json"))


def test_each_slot_leads_to_a_release_whose_name_is_the_hash_of_its_manifest(host: Host) -> None:
    slots = find_slots(host)
    assert slots, "no slot holds a release"
    for slot, target in slots.items():
        id = host.check_output(f"sha256sum < {HOME}/slots/{slot}/release.json")[:12]
        assert target == f"../releases/r{id}", f"slot {slot}"


def test_each_lane_leads_to_a_slot_that_holds_a_release(host: Host) -> None:
    text = host.check_output(f"for l in {shlex.join(LANES)}; do echo $l $(readlink {HOME}/lanes/$l); done")
    lanes = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    wanted = {f"../slots/{slot}" for slot in find_slots(host)}
    assert set(lanes) == set(LANES)
    assert not {lane: target for lane, target in lanes.items() if not wanted & set(target)}
    # All to one slot, or those of a canary's share to the other one.
    led_away = tuple(lane for lane in LANES if lanes[lane] != lanes[STABLE])
    assert led_away in ((), *(find_lanes(share) for share in SHARES)), f"no share is made of {led_away}"


def test_every_file_of_a_release_has_the_size_that_its_manifest_says(host: Host) -> None:
    for slot in find_slots(host):
        files = {name: entry["size"] for name, entry in read_release(host, slot)["files"].items()}
        listing = host.check_output(f"cd {HOME}/slots/{slot}/ && find . -type f -printf '%P %s\\n'")
        found = {name: int(size) for name, size in (line.rsplit(" ", 1) for line in listing.splitlines())}
        assert {name: found.get(name) for name in files} == files, f"slot {slot}"
        extra = found.keys() - files.keys() - {"release.json", "release.json.sig"}
        assert not extra, f"slot {slot}: nothing vouches for these"


def test_the_small_files_of_a_release_are_as_their_manifest_says(host: Host) -> None:
    # The weights were hashed when they came; reading them all again would take minutes on a real model.
    for slot in find_slots(host):
        files = {name: entry for name, entry in read_release(host, slot)["files"].items() if entry["size"] < 1 << 20}
        sums = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
        done = host.run(
            f"cd {HOME}/slots/{slot}/ && printf %s {shlex.quote(sums)} | sha256sum --check --quiet --strict"
        )
        assert done.rc == 0, done.stdout


def test_only_root_can_write_a_release_or_turn_a_lane(host: Host) -> None:
    paths = f"{HOME}/releases {HOME}/slots {HOME}/lanes"
    assert not host.check_output(f"find {paths} ! -type l \\( ! -user root -o -perm /022 \\) | head -n 5")


def test_the_engine_counts_its_progress(host: Host) -> None:
    ports = {"a": 8102, "b": 8202}
    running = [slot for slot in find_slots(host) if host.service(f"triton@{slot}").is_running]
    led = {lane: host.check_output(f"readlink {HOME}/lanes/{lane}").rpartition("/")[2] for lane in LANES}
    active = led[STABLE]
    assert set(led.values()) <= set(running), f"lanes lead to slots {led}, and only {running} run"
    assert host.service(f"triton@{active}").is_enabled, f"slot {active} would not start at boot"
    for slot in running:
        status, metrics = fetch(host, f"http://127.0.0.1:{ports[slot]}/metrics")
        assert status == 200
        assert "dsops_engine_iterations_total" in metrics
