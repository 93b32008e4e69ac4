"""A node of a site that demands certificates: no release comes in before `dsops accept`, or a person who says why."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.moves import Done, Shelf, activate, assert_refused, push
from tests.live.site import INVENTORY, ROOT, Service, dsops, edit_state, get_good, on, read_agent, restore, wait

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
NODE, NUMBER = "gpu3", '"10.99.0.13",'
HELD = "/var/lib/dsops/state/certificate.json"
REFUSED = "this node may not serve yet"
WHY = "its GPUs are simulated"
# Only a GPU that works shows these.
LOAD = {"memory", "product", "repeat", "copy_rate", "product_rate", "fp8_rate", "peer_rate", "power_share", "slowdown"}


def deploy(inventory: Path) -> str:
    """What a deploy of the node said."""
    done = dsops("deploy", "-i", inventory, "--limit", NODE)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


@pytest.fixture(scope="module")
def demanding(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory that demands a certificate of one node, deployed there; without that demand again afterwards."""
    restore()
    folder = tmp_path_factory.mktemp("demanding") / "inventory"
    shutil.copytree(ROOT / "inventory", folder, ignore=shutil.ignore_patterns("__pycache__"))
    inventory = folder / INVENTORY.name
    text = inventory.read_text()
    assert NUMBER in text
    inventory.write_text(text.replace(NUMBER, f'{NUMBER} "store_certificate": "required",'))
    try:
        deploy(inventory)
        yield inventory
    finally:
        on(NODE, f"rm -f {HELD}")
        deploy(INVENTORY)
        restore()


@pytest.fixture
def strict(demanding: Path, fleet: Service) -> Iterator[Path]:
    """The same, and the node has no certificate."""
    on(NODE, f"rm -f {HELD}")
    yield demanding
    on(NODE, f"rm -f {HELD}")


@pytest.fixture
def calm(strict: Path, shelf: Shelf) -> Path:
    """A good release that the node holds, and that nobody marked."""
    release = shelf["calm"]
    assert push(release, NODE).returncode == 0
    return release


def accept(state: Path, *words: str | Path) -> Done:
    """`dsops accept` of the node. state: where this control host keeps what it signed."""
    return dsops("accept", NODE, *words, "--state", state, "-i", INVENTORY)


def accept_drained(state: Path, *words: str | Path) -> Done:
    """The same, with the traffic away meanwhile."""
    drained = dsops("drain", NODE, "--reason", "live test", "--wait", "60", "-i", INVENTORY)
    assert drained.returncode == 0, drained.stderr
    try:
        return accept(state, *words)
    finally:
        undrained = dsops("undrain", NODE, "-i", INVENTORY)
        assert undrained.returncode == 0, undrained.stderr


def read_accepted(done: Done) -> dict[str, Any]:
    """Of the one node, as --json tells it."""
    (node,) = json.loads(done.stdout)["nodes"]
    print({key: node["certificate"][key] for key in ("verdict", "forced")}, node["kept"], node["reason"])
    assert isinstance(node, dict)
    return node


def list_checks(node: dict[str, Any], *outcomes: str) -> dict[str, str]:
    """name -> reason of every figure and look with such an outcome."""
    return {one["name"]: one["reason"] for one in node["certificate"]["checks"] if one["outcome"] in outcomes}


def read_last(verb: str) -> dict[str, Any]:
    """What the node's audit says of the last one who did this."""
    lines = on(NODE, f'grep -h \'"verb":"{verb}"\' /var/lib/dsops/audit/*.jsonl || true').splitlines()
    done = [entry for entry in map(json.loads, lines) if entry["kind"] == "done"]
    return done[-1] if done else {}


def test_no_release_comes_in_before_the_node_was_accepted_and_then_one_does(calm: Path, tmp_path: Path) -> None:
    assert_refused(activate(calm, NODE), REFUSED, "it has no certificate", "dsops accept", "--uncertified")
    assert read_agent(NODE)["release"] == get_good()
    serving = accept(tmp_path)
    assert serving.returncode == 2, serving.stdout
    assert f"{get_good()} serves here" in serving.stdout
    page = tmp_path / "page.html"
    done = accept_drained(tmp_path, "--json", "--html", page)
    assert done.returncode == 0, done.stdout + done.stderr
    node = read_accepted(done)
    assert (node["certificate"]["verdict"], node["kept"]) == ("pass", True)
    assert len(node["certificate"]["measured"]["gpus"]) == 2
    skipped, passed = list_checks(node, "skipped"), list_checks(node, "pass")
    assert {skipped[name] for name in LOAD} == {"accept_burn_in is off in the inventory"}
    assert {"gpu_count", "ecc_on", "ecc_corrected", "remap_failed", "xids", "storage_read"} <= passed.keys()
    assert "accept_burn_in is off in the inventory" in page.read_text()
    shown = dsops("accept", "--show", NODE, "--state", tmp_path, "-i", INVENTORY)
    assert shown.stdout.startswith(f"{NODE}: pass;"), shown.stdout + shown.stderr
    came = activate(calm, NODE)
    assert came.returncode == 0, came.stdout + came.stderr
    wait("it serves", lambda: read_agent(NODE)["release"] == calm.name, seconds=10)


def test_what_is_incomplete_lets_none_in_unless_it_is_forced_with_a_reason(calm: Path, tmp_path: Path) -> None:
    # Back to what the inventory says by the deploy at the end, and right after this test.
    on(NODE, "sed -i.kept 's/^burn_in = false/burn_in = true/' /etc/dsops/accept.toml")
    try:
        done = accept_drained(tmp_path, "--json")
        assert done.returncode == 2, done.stdout + done.stderr
        node = read_accepted(done)
        assert (node["certificate"]["verdict"], node["kept"]) == ("incomplete", False)
        skipped = list_checks(node, "skipped")
        assert skipped.keys() >= LOAD
        assert all(skipped[name].startswith("no engine here has PyTorch") for name in LOAD)
        assert not list_checks(node, "fail"), "a GPU at rest is no GPU that is slow"
        on(NODE, f"test ! -e {HELD}")
        assert_refused(activate(calm, NODE), REFUSED, "it has no certificate")
        assert_refused(accept(tmp_path, "--force"), "--force wants a reason")
        forced = accept_drained(tmp_path, "--json", "--force", "--reason", WHY)
    finally:
        on(NODE, "mv /etc/dsops/accept.toml.kept /etc/dsops/accept.toml")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    node = read_accepted(forced)
    assert (node["certificate"]["verdict"], node["certificate"]["forced"]) == ("incomplete", WHY)
    assert node["kept"]
    wait("the audit has it", lambda: WHY in str(read_last("certify").get("why")), seconds=10)
    came = activate(calm, NODE)
    assert came.returncode == 0, came.stdout + came.stderr


def test_a_deploy_waits_for_the_certificate_and_a_person_may_go_before_it(
    calm: Path, strict: Path, tmp_path: Path
) -> None:
    words = ("release", "activate", calm.name, NODE, "--uncertified")
    assert_refused(dsops(*words, "-i", INVENTORY), "--uncertified wants a reason")
    done = dsops(*words, "--reason", WHY, "-i", INVENTORY)
    assert done.returncode == 0, done.stdout + done.stderr
    wait("the audit has it", lambda: WHY in str(read_last("activate").get("why")), seconds=10)
    assert "uncertified" in read_last("activate")["evidence"]
    # As on a node that never had the bundle's release: a deploy brings no release back that somebody left.
    edit_state(NODE, "replace(state, fallbacks=())")
    assert "waits: it has no certificate. Run `dsops accept`, then deploy again" in deploy(strict)
    assert read_agent(NODE)["release"] == calm.name
    assert accept_drained(tmp_path).returncode == 0
    assert "it has no certificate" not in deploy(strict)
    assert read_agent(NODE)["release"] == get_good()
