"""Bad input and bad luck with releases: each refusal names its reason and the mend, and nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dsops.control.bundle.sign import LAB_NAMESPACE, ensure_signer, sign

from tests.live.ills.releases import Ill, build_ill, find_lab_signer
from tests.live.load import run_under
from tests.live.moves import Shelf, activate, assert_refused, bring, push, read_json, roll_back
from tests.live.site import (
    INVENTORY,
    ROOT,
    Service,
    dsops,
    edit_state,
    get_good,
    healthy,
    node_door,
    on,
    read_agent,
    ssh,
    wait,
)
from tests.live.watch import find_lost

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
NODE = "gpu3"
WHO = ("--who", "live test", "--reason", "bad input")
FILL = """
cd /var/lib/dsops && fallocate -l $(($(stat -f -c %f .) * $(stat -f -c %S .) / 100 * 98)) full
dd if=/dev/zero of=rest bs=1M 2>/dev/null || true
"""
STAGED = "find /var/lib/dsops/staging -name '*.part' -size +1M | head -1"


def list_releases(node: str = NODE) -> dict[str, str]:
    """Release -> its state there."""
    said = json.loads(node_door(node, "release", "list", "--json").stdout)
    return {one["release"]: one["state"] for one in said["releases"]}


def forget(release: Path) -> None:
    """Not on the node, whatever an earlier run brought there."""
    node_door(NODE, "release", "remove", release.name, *WHO)
    assert release.name not in list_releases()


def forget_all_but(*releases: str) -> None:
    """An earlier build of an ill release, which another test left, would lend its weights to this one."""
    for release in list_releases().keys() - set(releases):
        node_door(NODE, "release", "remove", release, *WHO)


def copy_release(release: Path, folder: Path) -> Path:
    """One that a test may spoil."""
    return Path(shutil.copytree(release, folder / release.name))


def test_an_unknown_release_is_named_with_what_there_is(fleet: Service) -> None:
    assert_refused(activate("r000000000000", NODE), "r000000000000")
    assert_refused(push("r000000000000", NODE), "r000000000000")
    assert_refused(node_door(NODE, "release", "activate", "r000000000000", *WHO), "r000000000000")
    assert_refused(node_door(NODE, "release", "activate", "../../etc", *WHO), "../../etc")
    assert read_agent(NODE)["release"] == get_good()


def test_a_release_whose_file_was_altered_never_comes_in(fleet: Service, shelf: Shelf, tmp_path: Path) -> None:
    forget(shelf["corrupted"])
    spoilt = copy_release(shelf["corrupted"], tmp_path)
    model = spoilt / "models/llm/1/model.py"
    model.write_text(model.read_text() + "\nimport os\n")
    assert_refused(push(spoilt, NODE), "models/llm/1/model.py")
    manifest = spoilt / "release.json"
    manifest.write_text(manifest.read_text().replace('"quantization":"int8"', '"quantization":"int4"'))
    assert_refused(push(spoilt, NODE))
    assert list_releases().keys().isdisjoint({spoilt.name})


def test_bytes_that_change_on_their_way_are_refused_by_the_node(fleet: Service) -> None:
    digest = "0" * 63 + "1"
    done = node_door(NODE, "release", "receive", digest, "--size", "5", "--offset", "0", stdin="hello")
    assert_refused(done, "altered")
    assert_refused(
        node_door(NODE, "release", "receive", "../x", "--size", "5", "--offset", "0", stdin="hello"), "no sha256"
    )
    on(NODE, f"test ! -e /var/lib/dsops/blobs/{digest} -a ! -e /var/lib/dsops/staging/{digest}.part")


def test_a_blob_that_rotted_on_the_disk_is_not_activated_and_the_next_push_mends_it(
    fleet: Service, shelf: Shelf
) -> None:
    release = shelf["wrong-later"]
    assert push(release, NODE).returncode == 0
    config = f"/var/lib/dsops/releases/{release.name}/models/llm/config.pbtxt"
    on(NODE, f"printf X | dd of={config} conv=notrunc 2>/dev/null")
    assert_refused(activate(release, NODE), "not what its name says")
    assert read_agent(NODE)["release"] == get_good()
    pushed = push(release, NODE)
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    assert on(NODE, f"head -c 1 {config}") != "X"


def test_a_release_signed_by_a_stranger_is_refused(fleet: Service, tmp_path: Path) -> None:
    stranger = ensure_signer(tmp_path / "signer", name="stranger", namespace=LAB_NAMESPACE)
    release = build_ill(Ill("stranger"), folder=tmp_path, signer=stranger)
    assert_refused(push(release, NODE), "sign")
    other = build_ill(Ill("other-purpose"), folder=tmp_path, signer=None)
    assert_refused(push(other, NODE), "sign")
    sign(other / "release.json", find_lab_signer())  # good for bundles, not for releases
    assert_refused(push(other, NODE), "sign")
    assert list_releases().keys().isdisjoint({release.name, other.name})


def test_there_is_no_way_back_where_nothing_was_before(fleet: Service) -> None:
    edit_state(NODE, "replace(state, fallbacks=())")
    assert_refused(node_door(NODE, "rollback", *WHO), "no good release to go back to", "mend")
    assert_refused(roll_back(NODE, "--reason", "live test"), "nothing to go back to")
    assert_refused(node_door(NODE, "rollback", "--to", "r000000000000", *WHO), "r000000000000")
    assert read_agent(NODE)["release"] == get_good()
    wait("it serves", lambda: healthy(NODE), seconds=10)


def test_a_full_disk_stops_a_push_in_words_and_an_activation_not_at_all(fleet: Service, shelf: Shelf) -> None:
    calm = shelf["calm"]
    assert push(calm, NODE).returncode == 0
    forget_all_but(calm.name, get_good())
    on(NODE, FILL, timeout=120)
    assert_refused(push(shelf["corrupted"], NODE), "disk")

    def act() -> subprocess.CompletedProcess[str]:
        return activate(calm, NODE)

    done, load = run_under(fleet.async_client(), act)
    assert done.returncode == 0, done.stdout + done.stderr
    back = node_door(NODE, "rollback", *WHO)
    assert back.returncode == 0, back.stdout + back.stderr
    on(NODE, "rm /var/lib/dsops/full /var/lib/dsops/rest")
    assert not find_lost(load)
    assert push(shelf["corrupted"], NODE).returncode == 0
    wait("the good one again", lambda: read_agent(NODE)["release"] == get_good(), seconds=10)


def test_two_activations_at_once_are_one_too_many(fleet: Service, shelf: Shelf) -> None:
    calm, other = shelf["calm"], shelf["dies"]
    for release in (calm, other):
        assert push(release, NODE).returncode == 0
    argv = [sys.executable, "-m", "dsops", "release", "activate", calm.name, NODE, "-i", str(INVENTORY)]
    first = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait("the first is under way", lambda: bool(read_agent(NODE)["move"]), seconds=20)
    loading = "b" if read_agent(NODE)["slot"] == "a" else "a"
    on(NODE, f"systemctl kill --signal=STOP triton@{loading}")  # it stays under way until the other one was asked
    try:
        assert_refused(activate(other, NODE), "under way", calm.name)
    finally:
        on(NODE, f"systemctl kill --signal=CONT triton@{loading}")
    said = first.communicate(timeout=90)[0]
    assert first.returncode == 0, said
    wait("the agent says so", lambda: read_agent(NODE)["release"] == calm.name, seconds=10)


def test_a_push_that_was_cut_goes_on_where_it_ended(fleet: Service, tmp_path: Path) -> None:
    padding = {"padding.bin": os.urandom(1 << 20) * 160}
    release = build_ill(Ill("big", files=padding), folder=tmp_path, signer=find_lab_signer())
    argv = [sys.executable, "-m", "dsops", "release", "push", str(release), NODE, "-i", str(INVENTORY)]
    on(NODE, "rm -f /var/lib/dsops/staging/*.part")
    running = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        on(NODE, f'for _ in $(seq 1000); do test -z "$({STAGED})" || break; sleep 0.02; done')
    finally:
        with_group = running.poll() is None
        if with_group:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)
    assert with_group, "it was too quick to be cut: this test shows nothing"
    wait("the node has let go of it", lambda: ssh(NODE, f"flock -n $({STAGED}) true").returncode == 0)
    held = int(on(NODE, f"stat -c %s $({STAGED})"))
    done = dsops("release", "push", str(release), NODE, "-i", INVENTORY, "--json")
    said = read_json(done)
    print(f"cut after {held / 1e6:.0f} MB; the second push said {said}")
    assert release.name in list_releases()
    assert not on(NODE, STAGED)
    removed = node_door(NODE, "release", "remove", release.name, *WHO)
    assert removed.returncode == 0, removed.stderr


def test_commands_of_an_older_control_host_are_refused(fleet: Service, shelf: Shelf) -> None:
    bring(shelf["calm"], NODE)
    node_door(NODE, "rollback", *WHO)
    state = json.loads(ssh(NODE, "/opt/dsops/venv/bin/python -", stdin=READ_EPOCH).stdout)
    number, good = state["number"], shelf["calm"].name
    node_door(NODE, "release", "unmark-bad", good, *WHO)
    words = ("release", "activate", good, *WHO)
    stale = node_door(NODE, *words, "--epoch", str(number - 1), "--holder", "old host")
    assert_refused(stale, "older", "dsops epoch adopt")
    assert_refused(node_door(NODE, *words, "--epoch", str(number), "--holder", "twin"), "twin")
    assert_refused(node_door(NODE, *words, "--epoch", str(number + 2000), "--holder", "x"), "jumps too far")
    assert read_agent(NODE)["release"] == get_good()


READ_EPOCH = """
import json
from pathlib import Path
from dsops.node.store.journal import read_state
epoch = read_state(Path("/var/lib/dsops"))[0].epoch
print(json.dumps({"number": epoch.number, "holder": epoch.holder}))
"""
