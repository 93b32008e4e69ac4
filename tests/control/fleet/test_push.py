"""A push sends only what a node lacks, goes on where it was cut, and is whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dsops.control.bundle.held import Held
from dsops.control.fleet.push import Pushed, Signed, push
from dsops.control.fleet.ssh import open_session
from dsops.core.errors import DsopsError

from tests.control.bundle.test_held import make_held
from tests.control.fleet.fake_node import FakeNode
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.control.fleet.test_ssh import make_fleet


@contextmanager
def running(tmp_path: Path, node: FakeNode) -> Iterator[Sshd]:
    with run_sshd(Sshd(serve=node.serve)) as sshd:
        yield sshd


def bring(tmp_path: Path, sshd: Sshd, held: Held, *, passports: tuple[Signed, ...] = ()) -> Pushed:
    fleet = make_fleet(tmp_path, sshd)
    with open_session(fleet, fleet.servers[0]) as session:
        return push(session, held, passports=passports)


def total(held: Held) -> int:
    return sum({entry.sha256: entry.size for entry in held.release.files.values()}.values())


def test_all_of_it_goes_once_and_nothing_the_second_time(tmp_path: Path) -> None:
    held, node = make_held(tmp_path), FakeNode()
    with running(tmp_path, node) as sshd:
        assert bring(tmp_path, sshd, held) == Pushed(sent=total(held), there=0, new=True)
        assert bring(tmp_path, sshd, held) == Pushed(sent=0, there=total(held), new=False)
    for name, entry in held.release.files.items():
        assert node.blobs[entry.sha256] == (held.path / name).read_bytes()
    assert node.admitted[0] == {"manifest": held.manifest.decode(), "signature": held.signature.decode()}


def test_another_release_sends_only_what_is_new(tmp_path: Path) -> None:
    node = FakeNode()
    first = make_held(tmp_path)
    with running(tmp_path, node) as sshd:
        bring(tmp_path, sshd, first)
        second = make_held(tmp_path, weights=b"\x02" * 77)
        assert bring(tmp_path, sshd, second) == Pushed(sent=77, there=total(second) - 77, new=True)


def test_an_empty_file_and_twins_are_brought_too(tmp_path: Path) -> None:
    make_held(tmp_path)
    for name in ("twin.safetensors", "empty.txt"):
        (tmp_path / "checkpoint/weights" / name).write_bytes(b"" if name == "empty.txt" else b"\x01" * 100)
    held, node = make_held(tmp_path), FakeNode()
    with running(tmp_path, node) as sshd:
        assert bring(tmp_path, sshd, held).new
    assert node.blobs.keys() == {entry.sha256 for entry in held.release.files.values()}


def test_a_cut_push_says_how_far_it_came_and_the_next_goes_on_there(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 8192
    held, node = make_held(tmp_path, weights=weights), FakeNode(cut_after=1 << 20)
    with running(tmp_path, node) as sshd:
        with pytest.raises(
            DsopsError, match=r"the connection broke .* of 2097152 bytes of model\.safetensors"
        ) as caught:
            bring(tmp_path, sshd, held)
        assert (caught.value.where, bool(caught.value.mend)) == ("gpu1", True)
        assert node.admitted == []
        kept = next(len(content) for content in node.staging.values())
        node.cut_after = None
        assert bring(tmp_path, sshd, held).sent == len(weights) - kept
    offsets = [words[-1] for words in node.words if words[1] == "receive"]
    assert offsets[-1] == str(kept)
    assert weights in node.blobs.values()


def test_what_the_node_says_comes_through_also_when_it_does_not_want_the_rest(tmp_path: Path) -> None:
    held = make_held(tmp_path, weights=bytes(8 << 20))
    node = FakeNode(refuse={"release receive": "No space left on device"})
    with running(tmp_path, node) as sshd, pytest.raises(DsopsError, match="No space left on device") as caught:
        bring(tmp_path, sshd, held)
    assert (caught.value.where, caught.value.mend) == ("gpu1", "as the node says")


def test_a_release_that_the_node_refuses_is_said_with_its_words(tmp_path: Path) -> None:
    held, node = make_held(tmp_path), FakeNode(refuse={"release admit": "signed by nobody whom this site allows"})
    with running(tmp_path, node) as sshd, pytest.raises(DsopsError, match="signed by nobody"):
        bring(tmp_path, sshd, held)


def test_passports_go_along(tmp_path: Path) -> None:
    held, node = make_held(tmp_path), FakeNode()
    with running(tmp_path, node) as sshd:
        bring(tmp_path, sshd, held, passports=(Signed("text", "signature"), Signed("two", "other")))
    pair = [{"text": "text", "signature": "signature"}, {"text": "two", "signature": "other"}]
    assert node.admitted[0]["passports"] == pair


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"missing": 1}', '{"missing": [{"sha256": "0", "held": 0}]}'])
def test_an_answer_without_sense_is_said(tmp_path: Path, said: str) -> None:
    held = make_held(tmp_path)
    with run_sshd(Sshd(lambda _: (0, said, ""))) as sshd, pytest.raises(DsopsError, match="not understand") as caught:
        bring(tmp_path, sshd, held)
    assert caught.value.where == "gpu1"


def test_a_file_that_is_not_whole_after_all_of_it_went_is_said(tmp_path: Path) -> None:
    held, node = make_held(tmp_path), FakeNode()

    def forget(command: str, channel: object) -> tuple[int, str, str]:
        answer = node.serve(command, channel)  # type: ignore[arg-type]
        return (0, json.dumps({"held": 5, "whole": False}), "") if " receive " in command else answer

    with run_sshd(Sshd(serve=forget)) as sshd, pytest.raises(DsopsError, match=r"holds 5 of .* though all went"):
        bring(tmp_path, sshd, held)


def test_what_does_not_fit_as_a_whole_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    held = make_held(tmp_path, weights=b"\x03" * 1_000_000)
    size = total(held)
    node = FakeNode(room={"free": size, "room": size})
    with running(tmp_path, node) as sshd:
        with pytest.raises(DsopsError, match="it does not fit") as caught:
            bring(tmp_path, sshd, held)
        assert caught.value.where == "gpu1"
        assert "1.0 MB are missing there, with a tenth to spare 1.1 MB; 1.0 MB are free" in str(caught.value)
        assert "`dsops release list gpu1`" in caught.value.mend
        assert [words[1] for words in node.words] == ["have"]
        node.room = {"free": 0, "room": int(size * 1.05)}
        with pytest.raises(DsopsError, match=r"0 B are free, 1\.\d MB once old releases went cold"):
            bring(tmp_path, sshd, held)
        node.room = {"free": 0, "room": int(size * 1.1) + 1}  # it makes room itself when the content comes
        assert bring(tmp_path, sshd, held).new


def test_half_of_it_that_came_already_needs_no_room_again(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 8192
    held, node = make_held(tmp_path, weights=weights), FakeNode(cut_after=1 << 20)
    with running(tmp_path, node) as sshd:
        with pytest.raises(DsopsError, match="the connection broke"):
            bring(tmp_path, sshd, held)
        came = sum(len(content) for content in node.staging.values())
        node.cut_after, node.room = None, {"free": 0, "room": int((len(weights) - came) * 1.1) + 1}
        assert bring(tmp_path, sshd, held).new
