"""A site of fake nodes behind real SSH and HTTP, each as its agent and its store would answer in a rollout."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import paramiko
from click.testing import CliRunner, Result
from dsops.core.errors import DsopsError
from dsops.core.samples import ReleaseTally, Samples, Tally, add_release
from dsops.core.status import BadMark, Canary, Phase, Verdict

from tests.control.fleet.fake_node import FakeNode, option, write_site
from tests.control.fleet.sshd import Sshd, run_sshd
from tests.control.fleet.test_rollback import fine
from tests.control.rollout.world import NEW, OLD, tally
from tests.node.sources.server import Canned, serve

MEMORY = {"free": 100 * 10**9, "total": 200 * 10**9}


@dataclass
class RolloutNode(FakeNode):
    """share: percent of the requests that NEW gets; says: what its status has beside the quiet one.

    rate: percent of NEW's requests that fail. memory: what the store says of it. is_empty: no release serves there,
    so that it cannot go back.
    """

    share: int = 0
    drained: str = ""
    bad: bool = False
    rate: float = 0.0
    skew: float = 0.0
    is_empty: bool = False
    memory: dict[str, int] = field(default_factory=lambda: dict(MEMORY))
    says: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, ReleaseTally] = field(default_factory=dict)

    def _answer(self, verb: str, words: list[str], content: bytes) -> dict[str, Any]:
        if verb in {"release activate", "release widen"}:
            self.share = int(option(words, "--share"))
        elif verb == "rollback":
            self.share, self.bad = 0, True
        elif verb in {"drain", "undrain"}:
            self.drained = f"{option(words, '--reason')} (me)" if verb == "drain" else ""
        elif verb == "release list":
            return {"releases": list(self.releases.values()), "memory": self.memory}
        return {"ok": True}

    def status(self) -> bytes:
        has_all = self.share == 100
        canary = Canary(NEW, "b", self.share, 1.0, Verdict.OK) if 0 < self.share < 100 else None
        words = {
            "release": NEW if has_all else "" if self.is_empty else OLD,
            "phase": Phase.STOPPED if self.is_empty and not has_all else Phase.SERVING,
            "canary": canary,
            "move": f"activate of {NEW}" if canary else "",
            "drained": self.drained or None,
            "bad": (BadMark(NEW, "wrong"),) if self.bad else (),
            "observed_at": time.time() + self.skew,
            "proof": None,
        }
        return json.dumps(asdict(fine(self.name, **(words | self.says)))).encode()

    def samples(self) -> bytes:
        """At each look 100,000 requests more came. Nobody timed the old release's: there is nothing to compare."""
        for release, share in ((NEW, self.share), (OLD, 100 - self.share)):
            if share and not (self.is_empty and release == OLD):
                rate = self.rate if release == NEW else 0.0
                came = ReleaseTally(release, tally(1000 * share, rate), tally(500, rate))
                if release == OLD:
                    came = ReleaseTally(OLD, Tally(1000 * share), Tally(500))
                self.counts[release] = add_release(self.counts.get(release, ReleaseTally(release)), came)
        return Samples(self.name, time.time() + self.skew, tuple(self.counts.values())).to_json().encode()

    def told(self, verb: str) -> list[list[str]]:
        """The commands that begin so."""
        return [words for words in self.words if " ".join(words).startswith(verb)]


@dataclass
class Site:
    """root: where state lies, too."""

    root: Path
    inventory: Path
    nodes: dict[str, RolloutNode]

    @property
    def state(self) -> Path:
        return self.root / "state"

    def argv(self, *words: str) -> list[str]:
        return [*words, "--inventory", str(self.inventory), "--state", str(self.state)]

    def call(self, command: click.Command, *words: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(command, self.argv(*words), input=answer)

    def orders(self) -> list[str]:
        """The nodes that were told anything that changes them."""
        return [
            name for name, node in self.nodes.items() if any(words[:2] != ["release", "list"] for words in node.words)
        ]


@contextmanager
def run_site(root: Path, *names: str) -> Iterator[Site]:
    nodes = {name: RolloutNode(name) for name in names}
    for node in nodes.values():
        node.hold(OLD, "active", since=10.0, slot="a", engine="openvino", bytes=10**9, seconds=9.0)
        node.hold(NEW, "held", since=50.0, engine="openvino", bytes=10**9, seconds=9.0)
    with ExitStack() as stack:
        servers, ports, key = {}, {}, paramiko.ECDSAKey.generate()
        for name, node in nodes.items():
            servers[name] = stack.enter_context(run_sshd(Sshd(serve=node.serve, allowed=key)))
            canned = Canned({"/v1/status": (200, node.status), "/v1/samples": (200, node.samples)})
            ports[name] = {"dsops_agent_port": stack.enter_context(serve(canned)).port}
        yield Site(root, write_site(root, servers, **ports), nodes)


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception
