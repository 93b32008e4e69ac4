"""The whole way of a release: this side, SSH, the node's real door, and its real helper on a store of its own."""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest
from dsops.control.bundle.held import Held
from dsops.control.bundle.sign import SITE_NAMESPACE, ensure_signer
from dsops.control.fleet.push import Pushed, push
from dsops.control.fleet.releases import read_releases
from dsops.control.fleet.ssh import open_session
from dsops.core.errors import DsopsError

from tests.control.bundle.test_held import make_held
from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.control.fleet.test_push import total
from tests.control.fleet.test_ssh import make_fleet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the helper answers to root, dsops and dsops-agent only"),
]
# What the role makes.
FOLDERS = ("blobs", "releases", "passports", "staging", "slots", "lanes", "state")
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@dataclass
class Node:
    """A store below `root` with its helper; commands of the SSH server run as its door. cut: bytes until a cut."""

    root: Path
    cut: int | None = None

    @property
    def store(self) -> Path:
        return self.root / "var/lib/dsops"

    def door(self, command: str, channel: paramiko.Channel) -> Reply:
        words = [sys.executable, "-m", "dsops", "node", "--helper", str(self.root / "helper.sock")]
        words += ["--store", str(self.root / "store.toml"), *shlex.split(command)[2:]]
        process = subprocess.Popen(
            words, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        threading.Thread(target=self._feed, args=(channel, process), daemon=True).start()
        assert process.stdout
        assert process.stderr
        out, err = process.stdout.read(), process.stderr.read()
        return process.wait(), out.decode(), err.decode()

    def _feed(self, channel: paramiko.Channel, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        fed = 0
        while block := channel.recv(1 << 15):
            process.stdin.write(block)
            fed += len(block)
            if self.cut is not None and fed >= self.cut:
                channel.transport.close()
                break
        process.stdin.close()


@contextmanager
def running_helper(root: Path) -> Iterator[Node]:
    """A helper of its own process, on a socket below root."""
    node = Node(root)
    for name in FOLDERS:
        (node.store / name).mkdir(parents=True)
    config = f'namespace = "dsops-release@v1"\nstate = "{node.store}"\n'
    (root / "store.toml").write_text(config + f'allowed_signers = "{root}/signer/allowed_signers"\n')
    argv = [
        sys.executable,
        "-m",
        "dsops.node.helper",
        "--config",
        root / "store.toml",
        "--socket",
        root / "helper.sock",
    ]
    with subprocess.Popen(argv, env=ENV) as helper:
        end = time.monotonic() + 20
        while not (root / "helper.sock").exists():
            assert helper.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        try:
            yield node
        finally:
            helper.terminate()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_helper(tmp_path) as node:
        yield node


def bring(node: Node, sshd: Sshd, held: Held) -> Pushed:
    fleet = make_fleet(node.root, sshd)
    with open_session(fleet, fleet.servers[0]) as session:
        return push(session, held)


def test_a_release_arrives_whole_is_listed_and_lies_as_it_was_built(node: Node) -> None:
    held = make_held(node.root)
    with run_sshd(Sshd(serve=node.door)) as sshd:
        assert bring(node, sshd, held) == Pushed(sent=total(held), there=0, new=True)
        assert bring(node, sshd, held) == Pushed(sent=0, there=total(held), new=False)
        fleet = make_fleet(node.root, sshd)
        (listed,) = read_releases(fleet, fleet.servers[0])
    assert (listed.release, listed.state, listed.model, listed.slot) == (held.id, "held", "fake", "")
    there = node.store / "releases" / held.id
    for name in [*held.release.files, "release.json", "release.json.sig"]:
        assert (there / name).read_bytes() == (held.path / name).read_bytes()


def test_a_cut_push_goes_on_where_the_node_says(node: Node) -> None:
    held = make_held(node.root, weights=bytes(range(256)) * 16384)
    with run_sshd(Sshd(serve=node.door)) as sshd:
        node.cut = 2 << 20
        with pytest.raises(DsopsError, match="the connection broke") as caught:
            bring(node, sshd, held)
        assert caught.value.mend
        assert not list((node.store / "releases").iterdir())
        node.cut = None
        time.sleep(0.5)  # the cut door still hands over what it got
        went = bring(node, sshd, held)
    assert 0 < went.sent <= total(held) - (1 << 20)
    assert (node.store / "releases" / held.id / "models/llm/1/model/model.safetensors").stat().st_size == 4 << 20


def test_a_release_of_another_hand_is_refused_by_the_node_in_its_words(node: Node, tmp_path: Path) -> None:
    held = make_held(node.root)
    ensure_signer(tmp_path / "other", name="them", namespace=SITE_NAMESPACE)
    (node.root / "signer/allowed_signers").write_text((tmp_path / "other/allowed_signers").read_text())
    with run_sshd(Sshd(serve=node.door)) as sshd:
        with pytest.raises(DsopsError, match="signed by nobody whom this site allows") as caught:
            bring(node, sshd, held)
        fleet = make_fleet(node.root, sshd)
        assert read_releases(fleet, fleet.servers[0]) == ()
    assert caught.value.where == "gpu1"
