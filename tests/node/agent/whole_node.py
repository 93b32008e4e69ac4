"""A whole node in one process: real helper, gateway, agent and brain on real sockets; systemd and Triton are played.

The store is real and its releases are signed; a slot's Triton is an HTTP server and a gRPC server that answer golden
prompts, and a process that can be killed.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from dsops.core.release import FileSum, Limits, Probe, Release
from dsops.core.state import Policy
from dsops.node.agent.config import AgentConfig, GatewayConfig, GpuConfig, ProbeConfig
from dsops.node.agent.history import History
from dsops.node.agent.loop import Loop as Agent
from dsops.node.gateway.config import Address
from dsops.node.gateway.config import Config as GatewaySettings
from dsops.node.gateway.daemon import Gateway
from dsops.node.helper.client import acall
from dsops.node.helper.peers import Peer
from dsops.node.run import Done
from dsops.node.sources.slots import Ports

from tests.node.agent.fake_node import ANSWERS, FakeNode
from tests.node.agent.releases import QUESTIONS
from tests.node.gateway.bed import Loop
from tests.node.gateway.fake_triton import FakeTriton, start
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made, Signer, Systemd, make_root
from tests.ports import find_free_port


def make_golden(name: str) -> Made:
    """A release with golden prompts that the played engines know."""
    prompts = [{"id": k, "prompt": q, "accepted": [a], "tokens": 16} for k, (q, a) in QUESTIONS.items()]
    files = {
        "prompts.json": json.dumps({"format": 1, "prompts": prompts}).encode(),
        "chat_template.jinja": b"{{ messages[0].content }}",
        "models/llm/1/model.py": f"# {name}".encode(),
    }
    release = Release(
        model="tiny",
        quantization="int8",
        engine="openvino",
        template="chat_template.jinja",
        eos="<eos>",
        reasoning=None,
        limits=Limits(1024, 512, 16, 4),
        files={path: FileSum(len(data), sha256(data).hexdigest()) for path, data in files.items()},
        prompts="prompts.json",
        probe=Probe(5, 1, 16),
    )
    return Made(release.render(), files)


class Triton(FakeTriton):
    """Answers golden prompts over gRPC. mode: right, wrong, failing."""

    mode = "right"

    async def script(self, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self.mode == "failing":
            yield {"error": "segmentation fault"}
            return
        for char in ANSWERS[asked["prompt"]] if self.mode == "right" else "rubbish":
            yield {"text": char, "prompt_tokens": 1, "tokens": 1}
        yield {"final": True, "finish": "stop"}


@dataclass
class Slot:
    """One slot's played Triton; nothing listens while its unit does not run."""

    loop: Loop
    node: FakeNode = field(default_factory=FakeNode)
    triton: Triton = field(default_factory=Triton)
    http: int = field(default_factory=find_free_port)
    grpc: int = field(default_factory=find_free_port)
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    result: str = "success"
    servers: list[Any] = field(default_factory=list)

    def run(self) -> None:
        self.stop()
        self.node, self.triton = FakeNode(), Triton()
        self.loop.run(self._open())
        self.process, self.started, self.result = subprocess.Popen(["sleep", "300"]), time.monotonic(), "success"

    def spoil(self, mode: str) -> None:
        self.node.mode = "right" if mode == "failing" else mode
        self.triton.mode = mode

    def kill(self) -> None:
        """The process dies; systemd has not started another one yet."""
        assert self.process
        self.result = "signal"
        self.process.kill()
        self.process.wait()
        self.process = None
        self.loop.run(self._close())

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.loop.run(self._close())

    async def _open(self) -> None:
        http = await asyncio.start_server(self.node.serve, host="127.0.0.1", port=self.http)
        grpc, _ = await start(self.triton, port=self.grpc)
        self.servers = [http, grpc]

    async def _close(self) -> None:
        for server in self.servers:
            if isinstance(server, asyncio.Server):
                server.close()
            else:
                await server.stop(None)
        self.servers = []

    def show(self) -> dict[str, str]:
        runs = self.process is not None
        state = "active" if runs else "activating" if self.result == "signal" else "inactive"
        return {
            "LoadState": "loaded",
            "ActiveState": state,
            "SubState": "running" if runs else "dead",
            "Result": self.result,
            "ExecMainStatus": "9" if self.result == "signal" else "0",
            "NRestarts": "0",
            "MainPID": str(self.process.pid) if self.process else "0",
            "ExecMainStartTimestampMonotonic": f"{self.started * 1e6:.0f}",
        }


@dataclass
class Units(Systemd):
    """systemctl for the helper and for the agent."""

    slots: dict[str, Slot] = field(default_factory=dict)

    def do_restart(self, unit: str) -> None:
        super().do_restart(unit)
        self.slots[unit[7]].run()

    def do_stop(self, unit: str) -> None:
        super().do_stop(unit)
        self.slots[unit[7]].stop()

    def read(self, argv: Sequence[str]) -> Done:
        """As the agent asks."""
        blocks = [{"Id": name, **self.slots[name[7]].show()} for name in argv[4:]]
        return Done(0, "\n\n".join("\n".join(f"{k}={v}" for k, v in block.items()) for block in blocks), "")


@dataclass
class WholeNode:
    """What a test plays with. operator: the helper as a person asks it."""

    root: Path
    bed: Bed
    loop: Loop
    slots: dict[str, Slot]
    gateway: Gateway
    port: int
    operator: Talk
    agent: Agent

    def read_lanes(self) -> dict[str, str]:
        return self.bed.desk().hands.pointers.read_lanes()

    async def ask(self, verb: str, **words: Any) -> dict[str, Any]:
        """A person's order."""
        self.bed.at = time.time()
        words = {"who": "kim", "reason": "new"} | words
        return await asyncio.to_thread(partial(self.operator, verb, **words))

    async def until(self, holds: Callable[[], bool], *, within: float = 10.0) -> float:
        began = time.perf_counter()
        while not holds():
            assert time.perf_counter() - began < within, self.agent.status
            await asyncio.sleep(0.005)
        return time.perf_counter() - began

    async def send(self, lane: str, count: int) -> list[tuple[int, str]]:
        """A client's requests on a lane: (status, release) of each."""
        body = {"model": "tiny", "prompt": QUESTIONS["sum"][0], "max_tokens": 16, "stream": True}
        url, headers = f"http://127.0.0.1:{self.port}/v1/completions", {"x-dsops-lane": lane}
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answers = [await client.post(url, json=body, headers=headers) for _ in range(count)]
        return [(answer.status_code, answer.headers.get("x-dsops-release", "")) for answer in answers]


@contextmanager
def make_node(folder: Path, signer: Signer, **config: Any) -> Iterator[WholeNode]:
    """Everything runs but the agent's ticks."""
    with ExitStack() as stack:
        root, loop = make_root(folder / "store"), Loop()
        stack.callback(loop.close)
        slots = {name: Slot(loop) for name in ("a", "b")}
        for slot in slots.values():
            stack.callback(slot.stop)
        units = Units(slots=slots)
        bed = Bed(root, signer, systemd=units, at=time.time())
        bed.desk().moves.begin()
        operator = stack.enter_context(serving(bed.desk(), folder / "operator.sock"))
        helper = stack.enter_context(serving(bed.desk(), folder / "helper.sock"))
        helper.peer = Peer.AGENT
        port = find_free_port()
        gateway = loop.run(_start_gateway(folder, root, slots, port))
        stack.callback(lambda: loop.run(gateway.stop()))
        settings = AgentConfig(
            "gpu1",
            "gpu",
            state=str(root),
            slots=tuple(Ports(name, slot.http, slot.http) for name, slot in slots.items()),
            gateway=GatewayConfig(str(folder / "gateway.sock")),
            gpus=GpuConfig(expected=0),
            probe=ProbeConfig(every_seconds=1.0, retry_seconds=0.5),
            tick_seconds=0.2,
            hold_seconds=0.0,
            canary_pause_seconds=0.2,
        )
        history = History(folder / "history.db")
        ask = partial(acall, folder / "helper.sock")
        agent = Agent(replace(settings, **config), run=units.read, policy=Policy(), ask_helper=ask, history=history)
        yield WholeNode(root, bed, loop, slots, gateway, port, operator, agent)


async def _start_gateway(folder: Path, root: Path, slots: dict[str, Slot], port: int) -> Gateway:
    gateway = Gateway(
        GatewaySettings(
            listen=Address("127.0.0.1", port),
            admin_listen=Address("127.0.0.1", find_free_port()),
            control_socket=folder / "gateway.sock",
            state_file=root / "state" / "gateway.json",
            lanes_dir=root / "lanes",
            slots_dir=root / "slots",
            auth=False,
            slots={name: Address("127.0.0.1", slot.grpc) for name, slot in slots.items()},
            drain_linger=0.1,
            shutdown_grace=1.0,
        )
    )
    await gateway.start()
    return gateway


@asynccontextmanager
async def ticking(node: WholeNode) -> AsyncIterator[None]:
    """The agent lives."""
    ticks = asyncio.create_task(node.agent.run_ticks())
    try:
        yield
    finally:
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)
        await node.agent.close()
