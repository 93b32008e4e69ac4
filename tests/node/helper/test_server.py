"""The helper over its real socket, with real signatures: what it does, and what it refuses and why."""

import json
import os
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.helper.client import call
from dsops.node.helper.peers import Peer, get_caller
from dsops.node.helper.verbs import VERBS
from dsops.node.store.journal import journal_path, read_history

from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made, Signer, make_release, make_signer


def test_a_proof_names_the_move_that_it_is_about(talk: Talk, one: Made) -> None:
    talk.push(one)
    talk("activate", release=one.id, who="kim", reason="new")
    began = talk("state")["state"]["move"]["began"]
    with pytest.raises(DsopsError, match="about an earlier move"):
        talk("proven", release=one.id, began=began - 60, evidence="8 of 8")
    with pytest.raises(DsopsError, match="began should be a time"):
        talk("proven", release=one.id, began="now", evidence="8 of 8")
    assert talk("proven", release=one.id, began=began, evidence="8 of 8")["state"]["active"]["release"] == one.id


def test_a_pushed_release_is_activated_proven_and_rolled_back(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    assert talk.push(one) == {"ok": True, "release": one.id, "new": True, "signer": "signer"}
    talk.push(two)
    state = talk("activate", release=one.id, who="kim", reason="first")["state"]
    assert state["move"]["step"] == "prove"
    assert bed.serves() == ("", "")
    talk("proven", release=one.id, evidence="8 of 8")
    assert bed.serves() == ("a", one.id)
    talk.bring(two.id)
    assert bed.serves() == ("b", two.id)
    assert set(bed.systemd.since) == {"triton@a.service", "triton@b.service"}
    said = talk("rollback", who="kim", reason="wrong answers", lasting=True)
    assert said["state"]["active"]["release"] == one.id
    assert 0 <= said["seconds"] < 15
    assert bed.serves() == ("a", one.id)
    assert bed.systemd.enabled == {"triton@a.service"} == set(bed.systemd.since)
    listed = {entry["release"]: entry for entry in talk("list")["releases"]}
    assert (listed[one.id]["state"], listed[two.id]["state"]) == ("active", "bad")
    assert listed[two.id]["bad"] == "wrong answers"
    events = [record.event for record in read_history(journal_path(bed.root))]
    moves = ["activate", "started", "proven", "switched"]
    assert events == ["begin", *moves, *moves, "rollback", "switched", "tidied"]


def test_what_operators_do_is_audited_with_their_reason(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    assert bed.said[-1] == f"dsops: activate {one.id} by kim: new"


def test_blobs_are_read_only_and_shared_between_releases(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    talk.push(one)
    said = talk("have", sums=list(two.blobs))
    assert len(said["missing"]) == 2
    assert said["room"] == said["free"] > 0
    talk.push(two)
    file = bed.root / "releases" / one.id / "models/llm/1/guardian.sh"
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert file.samefile(bed.root / "releases" / two.id / "models/llm/1/guardian.sh")
    assert file.stat().st_nlink == 3


def test_a_cut_push_goes_on_where_it_stopped(talk: Talk, one: Made) -> None:
    digest, data = max(one.blobs.items(), key=lambda item: len(item[1]))
    said = talk("receive", sha256=digest, size=len(data), offset=0, payload=data[:1000])
    assert said == {"ok": True, "held": 1000, "whole": False}
    assert talk("have", sums=[digest])["missing"] == [{"sha256": digest, "held": 1000}]
    said = talk("receive", sha256=digest, size=len(data), offset=1000, payload=data[1000:])
    assert said == {"ok": True, "held": len(data), "whole": True}
    assert talk("have", sums=[digest])["missing"] == []
    assert talk("receive", sha256=digest, size=len(data), offset=0, payload=b"")["whole"]


def test_a_blob_that_comes_altered_is_refused_and_starts_afresh(talk: Talk, one: Made) -> None:
    digest, data = next(iter(one.blobs.items()))
    with pytest.raises(DsopsError, match="came altered"):
        talk("receive", sha256=digest, size=len(data), offset=0, payload=b"x" * len(data))
    assert talk("have", sums=[digest])["missing"] == [{"sha256": digest, "held": 0}]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"sha256": "../../etc/passwd", "size": 1, "offset": 0}, "is no sha256"),
        ({"sha256": "a" * 64, "size": 1, "offset": 2}, "no place to go on from"),
        ({"sha256": "a" * 64, "size": -1, "offset": 0}, "should be a whole number"),
        ({"sha256": "a" * 64, "size": 10**17, "offset": 0}, "GB left, this blob needs"),
        ({"sha256": "a" * 64, "size": True, "offset": 0}, "should be a whole number"),
        ({"sha256": "a" * 64, "size": 1, "offset": 0, "folder": "/x"}, "takes no 'folder'"),
    ],
)
def test_what_cannot_be_received_is_refused_with_its_reason(talk: Talk, words: dict[str, object], says: str) -> None:
    with pytest.raises(DsopsError, match=says):
        talk("receive", payload=b"x", **words)


def test_a_release_of_a_foreign_signer_is_refused(talk: Talk, bed: Bed, tmp_path: Path) -> None:
    foreign = make_signer(tmp_path, name="foreign").sign(make_release())
    with pytest.raises(DsopsError, match="signed by nobody whom this site allows"):
        talk.push(foreign)
    assert not list((bed.root / "releases").iterdir())


def test_a_signature_for_something_else_is_refused(talk: Talk, signer: Signer, one: Made, two: Made) -> None:
    wrong = Signer(signer.key, signer.allowed, namespace="dsops-bundle-lab@v1").sign(make_release())
    for made in (wrong, Made(one.manifest, one.files, two.signature)):
        with pytest.raises(DsopsError, match="does not fit the release, or signer may not sign"):
            talk.push(made)
    with pytest.raises(DsopsError, match="there is no signature"):
        talk.push(Made(one.manifest, one.files))


def test_a_release_whose_blobs_did_not_all_come_is_refused(talk: Talk, one: Made) -> None:
    with pytest.raises(DsopsError, match="is not here"):
        talk("admit", manifest=one.manifest.decode(), signature=one.signature.decode())
    assert talk.push(one)["new"]
    assert not talk.push(one)["new"]


def test_an_altered_blob_is_found_at_the_next_activate_after_a_boot(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    digest = max(one.blobs, key=lambda key: len(one.blobs[key]))
    blob = bed.root / "blobs" / digest
    before = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(b"x" * len(one.blobs[digest]))
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    (bed.root / "seen.json").unlink()  # /run is new after a boot
    with pytest.raises(DsopsError, match="is not what its name says"):
        talk("activate", release=one.id, who="kim", reason="x")
    assert talk("have", sums=[digest])["missing"], "the next push brings it again"
    with pytest.raises(DsopsError, match="is not here"):
        talk("activate", release=one.id, who="kim", reason="x")


def test_a_release_that_was_altered_in_place_is_refused(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    file = bed.root / "releases" / one.id / "models/llm/1/model.py"
    file.unlink()
    file.write_text("import os")
    with pytest.raises(DsopsError, match="is not the file that the manifest names"):
        talk("activate", release=one.id, who="kim", reason="x")


def test_a_manifest_that_was_altered_in_place_is_refused(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    path = bed.root / "releases" / one.id / "release.json"
    path.unlink()
    path.write_bytes(one.manifest.replace(b"tiny", b"evil"))
    with pytest.raises(DsopsError, match="is not the manifest of"):
        talk("activate", release=one.id, who="kim", reason="x")


@pytest.mark.parametrize("release", ["../../x", "r123", "", None, 5, "rZZZZZZZZZZZZ"])
def test_only_a_release_id_is_one(talk: Talk, release: object) -> None:
    with pytest.raises(DsopsError, match="is no release id"):
        talk("activate", release=release, who="kim", reason="x")


def test_a_release_that_is_not_here_says_how_to_bring_it(talk: Talk) -> None:
    with pytest.raises(DsopsError, match="is not on this node") as caught:
        talk("activate", release="r0123456789ab", who="kim", reason="x")
    assert "push" in caught.value.mend


def test_a_release_that_does_not_fit_into_memory_is_refused_before_anything_is_done(
    talk: Talk, bed: Bed, one: Made
) -> None:
    talk.push(one)
    (bed.root / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable: 1 kB\n")
    with pytest.raises(DsopsError, match=r"needs .* GB of memory") as caught:
        talk("activate", release=one.id, who="kim", reason="x")
    assert "drain" in caught.value.mend
    assert "--alone" in caught.value.mend
    assert bed.systemd.asked == []


def test_the_left_slot_stops_at_once_where_memory_is_short(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
    talk.bring(one.id)
    (bed.root / "meminfo").write_text("MemTotal: 80000000 kB\nMemAvailable: 1000000 kB\n")
    talk.bring(two.id)
    assert set(bed.systemd.since) == {"triton@b.service"}


def test_an_older_epoch_is_refused_even_when_the_newer_command_was_refused_too(talk: Talk, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    with pytest.raises(DsopsError, match="has the traffic already"):
        talk("activate", release=one.id, who="kim", reason="x", epoch=7, holder="east")
    with pytest.raises(DsopsError, match="epoch 6 is older than 7 of east"):
        talk("rollback", who="kim", reason="x", epoch=6, holder="west")
    with pytest.raises(DsopsError, match="held by east"):
        talk("rollback", who="kim", reason="x", epoch=7, holder="west")
    talk("adopt", epoch=2, holder="west", who="kim", reason="restored")
    with pytest.raises(DsopsError, match="no good release to go back to"):
        talk("rollback", who="kim", reason="x", epoch=3, holder="west")


def test_the_agent_may_save_the_node_and_nothing_else(talk: Talk, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
        talk.bring(made.id)
    talk.peer = Peer.AGENT
    for verb in VERBS:
        if Peer.AGENT not in VERBS[verb].may:
            with pytest.raises(DsopsError, match=f"dsops-agent may not ask for {verb}"):
                talk(verb)
    with pytest.raises(DsopsError, match="on its own account only"):
        talk("rollback", reason="x")
    assert talk("rollback", reason="x", own=True)["state"]["rollbacks"]


def test_the_agents_restarts_count_and_a_persons_do_not(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    for _ in range(3):
        talk("restart", unit="slot", reason="looks odd", who="kim")
    talk.peer = Peer.AGENT
    for _ in range(2):
        talk("restart", unit="slot", reason="test of blame")
    with pytest.raises(DsopsError, match="2 times within the hour"):
        talk("restart", unit="gateway", reason="test of blame")
    assert bed.systemd.asked.count("restart triton@a.service") == 6


def test_a_gateway_is_restarted_by_name_and_nothing_else_is(talk: Talk, bed: Bed) -> None:
    talk("restart", unit="gateway", reason="wedged", who="kim")
    assert "restart dsops-gateway.service" in bed.systemd.asked
    for unit in ("sshd", "../x", ""):
        with pytest.raises(DsopsError):
            talk("restart", unit=unit, reason="x", who="kim")


def test_a_person_gives_who_and_why(talk: Talk, one: Made) -> None:
    talk.push(one)
    for words, says in (({"who": "kim"}, "reason is missing"), ({"reason": "x"}, "who is missing")):
        with pytest.raises(DsopsError, match=says):
            talk("activate", release=one.id, **words)


def test_in_use_releases_stay_and_others_go_with_their_blobs(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
    talk.bring(one.id)
    with pytest.raises(DsopsError, match="in use"):
        talk("remove", release=one.id, who="kim", reason="room")
    freed = talk("remove", release=two.id, who="kim", reason="room")["freed"]
    assert freed == sum(len(two.blobs[digest]) for digest in two.blobs.keys() - one.blobs.keys())
    assert {path.name for path in (bed.root / "blobs").iterdir()} == set(one.blobs)
    assert not list((bed.root / "staging").iterdir())
    with pytest.raises(DsopsError, match="is not on this node"):
        talk("remove", release=two.id, who="kim", reason="room")


def test_a_tree_that_a_deploy_brought_becomes_a_release_without_a_copy(talk: Talk, bed: Bed, one: Made) -> None:
    tree = write_tree(bed.root / "staging/deploy-x", one)
    inode = (tree / "models/llm/1/weights.bin").stat().st_ino
    assert talk("adopt_tree", path=str(tree))["new"]
    assert (bed.root / "releases" / one.id / "models/llm/1/weights.bin").stat().st_ino == inode
    assert not tree.exists()
    talk.bring(one.id)
    again = write_tree(bed.root / "staging/deploy-y", one)
    assert not talk("adopt_tree", path=str(again))["new"]


def test_only_an_honest_tree_below_staging_is_adopted(talk: Talk, bed: Bed, one: Made, tmp_path: Path) -> None:
    elsewhere = write_tree(tmp_path / "tree", one)
    (bed.root / "staging/link").symlink_to(elsewhere)
    for path in (elsewhere, bed.root / "staging/link", bed.root / "staging", bed.root / "staging/../slots"):
        with pytest.raises(DsopsError, match="no folder of the store's staging"):
            talk("adopt_tree", path=str(path))
    tree = write_tree(bed.root / "staging/deploy-z", one)
    (tree / "models/llm/1/model.py").write_text("import os")
    with pytest.raises(DsopsError, match="came altered"):
        talk("adopt_tree", path=str(tree))
    (tree / "models/llm/1/model.py").unlink()
    (tree / "models/llm/1/model.py").symlink_to("/etc/passwd")
    with pytest.raises(DsopsError, match="the disk refuses"):
        talk("adopt_tree", path=str(tree))


def write_tree(path: Path, made: Made) -> Path:
    for name, data in made.files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "release.json").write_bytes(made.manifest)
    (path / "release.json.sig").write_bytes(made.signature)
    return path


def test_a_big_push_does_not_hold_up_a_rollback(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
        talk.bring(made.id)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(talk.path))
        slow.sendall(json.dumps({"verb": "receive", "sha256": "a" * 64, "size": 1 << 20, "offset": 0}).encode() + b"\n")
        slow.sendall(b"x" * 1000)
        began = time.monotonic()
        talk("rollback", who="kim", reason="x")
        assert time.monotonic() - began < 15
        with pytest.raises(DsopsError, match="coming in from another push"):
            talk("receive", sha256="a" * 64, size=1 << 20, offset=0, payload=b"y")


def test_two_activates_at_once_are_one_and_a_refusal(talk: Talk, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
    said: list[str] = []

    def ask(release: str) -> None:
        try:
            talk("activate", release=release, who="kim", reason="x")
            said.append("done")
        except DsopsError as error:
            said.append(error.what)

    threads = [threading.Thread(target=ask, args=(made.id,)) for made in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(said)[1] == "done"
    assert "is under way" in sorted(said)[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "was cut"),
        (b'{"verb": "state"', "was cut"),
        (b"nonsense\n", "not JSON"),
        (b"[]\n", "has no verb"),
        (b'{"verb": 5}\n', "has no verb"),
        (b'{"verb": "roolback"}\n', "no verb 'roolback'"),
        (b'{"verb": "receive", "sha256": "x", "size": NaN, "offset": 0}\n', "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"verb": "activate", "release": {"a": 1}}\n', "is no release id"),
        (b'{"verb": "activate", "release": "r0123456789ab", "who": 5, "reason": "x"}\n', "who should be a text"),
        (b'{"verb": "rollback", "who": "kim", "reason": "x", "epoch": 1.5}\n', "should be a whole number"),
        (b'{"verb": "rollback", "who": "kim", "reason": "x", "epoch": 1}\n', "holder is missing"),
        (b'{"verb": "rollback", "who": "kim", "reason": "x", "own": 1}\n', "should be true or false"),
        (b'{"verb": "have", "sums": [5]}\n', "is no sha256"),
        (b'{"verb": "have", "sums": "aaa"}\n', "should be a list"),
    ],
)
def test_nonsense_is_answered_and_the_helper_lives_on(talk: Talk, line: bytes, says: str) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(20)
        door.connect(str(talk.path))
        door.sendall(line)
        door.shutdown(socket.SHUT_WR)
        answer = json.loads(door.makefile().readline())
    assert says in answer["error"]["what"], answer
    assert talk("state")["ok"]


def test_it_ends_itself_when_nobody_asks(bed: Bed) -> None:
    with serving(bed.desk(), bed.root / "sock", idle_seconds=0.3) as talk:
        assert talk("state")["seq"] == 0
        wait = time.monotonic() + 5
        while any("serve" in thread.name for thread in threading.enumerate()) and time.monotonic() < wait:
            time.sleep(0.05)
        with pytest.raises(DsopsError, match=r"does not answer|ended before"):
            call(talk.path, "state", timeout=0.5)


def test_a_helper_that_is_not_there_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="cannot be reached") as caught:
        call(tmp_path / "none", "state")
    assert "dsops-helper.socket" in caught.value.mend


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_kernel_says_who_asks(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    (tmp_path / "s").chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o011)
    code = f"import os,socket; os.setuid({{}}); s=socket.socket(1); s.connect({str(tmp_path / 's')!r}); s.recv(1)"
    for uid, peer in ((0, Peer.ROOT), (4001, Peer.OPERATOR), (4002, Peer.AGENT), (4003, None)):
        with subprocess.Popen(["/usr/bin/python3", "-c", code.format(uid)]):
            connection, _ = listener.accept()
            with connection:
                if peer is None:
                    with pytest.raises(DsopsError, match="user id 4003 may not"):
                        get_caller(connection, find={"dsops": 4001, "dsops-agent": 4002}.get)
                else:
                    assert get_caller(connection, find={"dsops": 4001, "dsops-agent": 4002}.get).peer is peer
    listener.close()


def test_a_blob_that_was_altered_in_place_is_brought_again_for_all_that_hold_it(
    talk: Talk, bed: Bed, one: Made, two: Made
) -> None:
    for made in (one, two):
        talk.push(made)
        talk.bring(made.id)
    shared = bed.root / "releases" / two.id / "chat_template.jinja"
    shared.chmod(0o644)
    shared.write_text("by hand")
    assert all("is not as the manifest says" in entry["damage"] for entry in talk("list")["releases"])
    tree = write_tree(bed.root / "staging/deploy-x", two)
    assert not talk("adopt_tree", path=str(tree))["new"]
    assert [entry["damage"] for entry in talk("list")["releases"]] == ["", ""]
    for made in (one, two):
        assert (bed.root / "releases" / made.id / "chat_template.jinja").read_bytes() == b"template"


def test_a_mode_or_a_file_that_is_gone_is_mended_by_another_push(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    folder = bed.root / "releases" / one.id
    (folder / "release.json").chmod(0o600)
    (folder / "prompts.json").unlink()
    (folder / "models/llm/1/model.py").chmod(0o755)
    assert talk("list")["releases"][0]["damage"]
    talk.push(one)
    assert talk("list")["releases"][0]["damage"] == ""
    talk.bring(one.id)


def test_links_that_were_turned_by_hand_are_mended_by_whatever_is_done_next(
    talk: Talk, bed: Bed, one: Made, two: Made
) -> None:
    for made in (one, two):
        talk.push(made)
    talk.bring(one.id)
    (bed.root / "lanes/l20").unlink()
    (bed.root / "slots/a").unlink()
    assert talk("list")["damage"] == [
        "slot a leads to nothing, not to " + one.id,
        "lane l20 leads to slot nothing, not to a",
    ]
    talk("activate", release=two.id, who="kim", reason="new")
    assert talk("list")["damage"] == []
    assert bed.serves() == ("a", one.id)
    assert "mend" in [record.event for record in read_history(journal_path(bed.root))]
    (bed.root / "slots/a").unlink()
    assert talk("recover")["did"] == [f"slot a leads to nothing, not to {one.id}"]


def test_a_way_back_that_was_damaged_is_passed_over_while_there_is_another(
    talk: Talk, bed: Bed, signer: Signer, one: Made, two: Made
) -> None:
    three = signer.sign(make_release("three"))
    for made in (one, two, three):
        talk.push(made)
        talk.bring(made.id)
        bed.at += bed.config.bake_seconds
        talk("age")
    (bed.root / "releases" / two.id / "models/llm/1/model.py").unlink()
    move = talk("rollback", who="kim", reason="x")["state"]["move"]
    assert move["release"] == one.id


def test_a_wedged_engine_is_killed_soon_when_it_must_restart(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    bed.systemd.hung.add("triton@a.service")
    began = bed.systemd.now
    talk("restart", unit="slot", reason="hung", who="kim")
    assert "kill --signal=KILL triton@a.service" in bed.systemd.asked
    assert 9 < bed.systemd.now - began < 12


def test_a_slot_that_does_not_end_is_killed_before_it_gets_another_release(
    talk: Talk, bed: Bed, one: Made, two: Made
) -> None:
    for made in (one, two):
        talk.push(made)
    talk.bring(one.id)
    bed.at += bed.config.bake_seconds
    talk.bring(two.id)
    bed.systemd.hung.add("triton@a.service")
    bed.at += bed.config.bake_seconds
    talk("age")
    assert "triton@a.service" in bed.systemd.deactivating
    talk("rollback", who="kim", reason="x")
    assert "kill --signal=KILL triton@a.service" in bed.systemd.asked
    assert "triton@a.service" in bed.systemd.since


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_a_unit_that_cannot_be_enabled_starts_all_the_same(
    talk: Talk, bed: Bed, one: Made, two: Made, verb: str
) -> None:
    bed.systemd.fails.add(verb)
    for made in (one, two):
        talk.push(made)
        talk.bring(made.id)
    talk("rollback", who="kim", reason="x")
    assert bed.serves() == ("a", one.id)
    assert any(f"could not be {verb}d" in line for line in bed.logged)


def test_when_systemd_refuses_to_start_a_slot_the_activation_is_given_up(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    bed.systemd.fails.add("restart")
    with pytest.raises(DsopsError, match="systemd refuses"):
        talk("activate", release=one.id, who="kim", reason="x")
    bed.systemd.fails.clear()
    state = talk("state")["state"]
    assert (state["move"], state["bad"]) == (None, [])
    talk.bring(one.id)


def test_a_rollback_that_systemd_refuses_is_tried_again_by_recover(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        talk.push(made)
        talk.bring(made.id)
    bed.at += bed.config.bake_seconds
    talk("age")
    bed.systemd.fails.add("restart")
    with pytest.raises(DsopsError, match="systemd refuses"):
        talk("rollback", who="kim", reason="x")
    with pytest.raises(DsopsError, match="systemd refuses"):
        talk("recover")
    bed.systemd.fails.clear()
    assert talk("recover")["did"][-1] == "slot a starts"
    talk("proven", release=one.id, evidence="8 of 8")
    assert bed.serves() == ("a", one.id)


def test_a_state_from_before_there_was_a_store_is_taken_from_the_links(bed: Bed, one: Made) -> None:
    bed.push(one)
    (bed.root / "slots/a").symlink_to(f"../releases/{one.id}")
    for lane in ("l1", "l4", "l20", "l25", "l50"):
        (bed.root / "lanes" / lane).symlink_to("../slots/a")
    bed.desk().moves.begin()
    state, seq = bed.desk().moves.read()
    assert (state.active and state.active.release, seq) == (one.id, 1)


def test_a_lost_journal_is_told_and_the_links_say_what_serves(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    journal_path(bed.root).write_bytes(b"x" * 2_000_000)
    talk("recover")
    (begin,) = read_history(journal_path(bed.root))
    assert "lost: " in begin.says
    assert bed.desk().moves.read()[0].active is not None
    assert any("the journal is damaged" in line for line in bed.logged)
    assert (bed.root / "state/journal.spoiled-0").exists()
