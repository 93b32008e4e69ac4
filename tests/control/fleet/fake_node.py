"""A node's store behind an SSH server, for tests: it keeps what it gets, and says what its real helper would."""

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from dsops.core.state import SLOTS, Active, Held, Move, NodeState, Stage, to_data
from dsops.core.state import Kind as MoveKind
from dsops.core.state import Step as MoveStep

from tests.control.fleet.sshd import Reply, Sshd

GOOD = json.dumps({"ok": True})


@dataclass
class FakeNode:
    """blobs: whole content; staging: what has come so far. cut_after: the connection ends after so many bytes.

    room: what it says of its disk; nothing, as an older dsops does. accepts: what it measured of itself; certified:
    the certificates that it got.
    """

    name: str = "gpu1"
    blobs: dict[str, bytes] = field(default_factory=dict)
    staging: dict[str, bytes] = field(default_factory=dict)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    admitted: list[dict[str, Any]] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)
    cut_after: int | None = None
    refuse: dict[str, str] = field(default_factory=dict)
    on_rollback: Callable[["FakeNode"], None] = lambda _: None
    state: NodeState = field(default_factory=NodeState)
    measured: dict[str, Any] = field(default_factory=dict)
    accepts: dict[str, Any] = field(default_factory=dict)
    certified: list[dict[str, str]] = field(default_factory=list)
    room: dict[str, int] = field(default_factory=dict)

    def hold(self, release: str, state: str, **more: Any) -> None:
        """The node lists the release as active, fallback, bad or held."""
        self.releases[release] = {"release": release, "state": state, **more}

    def serve(self, command: str, channel: paramiko.Channel) -> Reply:
        dsops, node, *words = shlex.split(command)
        assert (dsops, node) == ("dsops", "node")
        self.words.append(words)
        verb = " ".join(words[:2]) if words[0] == "release" else words[0]
        if verb in self.refuse:
            return 1, "", f"error: {self.refuse[verb]}\n  mend: as the node says\n"
        if verb == "release receive":
            return self._receive(words[2], option(words, "--size"), option(words, "--offset"), channel)
        content = read(channel) if verb in {"release have", "release admit", "certify"} else b""
        return 0, json.dumps(self._answer(verb, words, content)) + "\n", ""

    def _answer(self, verb: str, words: list[str], content: bytes) -> dict[str, Any]:
        if verb == "release have":
            lacking = [sha for sha in json.loads(content) if sha not in self.blobs]
            missing = [{"sha256": sha, "held": len(self.staging.get(sha, b""))} for sha in lacking]
            return {"missing": missing} | self.room
        if verb == "release admit":
            self.admitted.append(json.loads(content))
            release = "r" + hashlib.sha256(self.admitted[-1]["manifest"].encode()).hexdigest()[:12]
            is_new = release not in self.releases
            self.hold(release, "held")
            return {"release": release, "new": is_new}
        if verb == "release list":
            return {"releases": list(self.releases.values())}
        if verb == "release measure":
            return self.measured
        if verb == "accept":
            return self.accepts
        if verb == "certify":
            self.certified.append(json.loads(content))
        if verb == "release activate":
            self.switch(words[2])
        if verb in {"release cool", "release heat"}:
            self.releases[words[2]]["tier"] = "cold" if verb == "release cool" else "hot+cold"
            return {"ok": True, "freed": 12_000_000_000, "bytes": 9_000_000_000, "seconds": 60.0}
        if verb == "rollback":
            self.on_rollback(self)
            return {"state": to_data(self.state), "seconds": 0.1}
        return {"ok": True}

    def switch(self, release: str) -> None:
        """The release gets the traffic at once."""
        for held in self.releases.values():
            held["state"] = "fallback" if held["state"] == "active" else held["state"]
        self.releases[release]["state"] = "active"
        self.state = NodeState(active=Active(release, "a", 1.0, Stage.BAKING))

    def start_slowly(self, release: str) -> None:
        """A move to the release is under way and waits for its proof."""
        move = Move(MoveKind.ROLLBACK, release, "b", MoveStep.PROVE, 1.0, "me", "why")
        self.state = NodeState(slots=tuple(Held(slot) for slot in SLOTS), move=move)

    def _receive(self, sha: str, size: str, offset: str, channel: paramiko.Channel) -> Reply:
        got = self.staging.get(sha, b"")
        if len(got) != int(offset):
            return 1, "", f"error: {len(got)} bytes are here, not {offset}\n"
        while block := channel.recv(1 << 15):
            got += block
            self.staging[sha] = got
            if self.cut_after is not None and len(got) >= self.cut_after:
                channel.transport.close()
                return 0, "", ""
        if len(got) != int(size) or hashlib.sha256(got).hexdigest() != sha:
            return 1, "", "error: this is not what its sum says\n"
        self.staging.pop(sha, None)
        self.blobs[sha] = got
        return 0, json.dumps({"held": len(got), "whole": True}), ""


def option(words: list[str], name: str) -> str:
    """The value of a command's option."""
    return words[words.index(name) + 1]


def read(channel: paramiko.Channel) -> bytes:
    return b"".join(iter(lambda: channel.recv(1 << 15), b""))


def write_site(folder: Path, nodes: dict[str, Sshd], **data: Any) -> Path:
    """An inventory of gpu servers behind these SSH servers, which all have one operators' key; its path."""
    hosts = []
    lines = [
        f"[127.0.0.1]:{one.port} {one.host_key.get_name()} {one.host_key.get_base64()}\n" for one in nodes.values()
    ]
    (folder / "known_hosts").write_text("".join(lines))
    next(iter(nodes.values())).allowed.write_private_key_file(str(folder / "key"))
    for name, sshd in nodes.items():
        own = {"ssh_hostname": "127.0.0.1", "ssh_port": sshd.port, **data.get(name, {})}
        hosts.append((name, own))
    shared = {"ssh_known_hosts_file": str(folder / "known_hosts"), "dsops_ssh_key": str(folder / "key")}
    shared |= {key: value for key, value in data.items() if key not in nodes}
    (folder / "inventory").mkdir(exist_ok=True)
    path = folder / "inventory/site.py"
    path.write_text(f"gpu = ({hosts!r}, {shared!r})\n")
    return path
