"""A gateway with two small Tritons behind it, in one background loop, for tests that talk over sockets."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
from dsops.core.keys import hash_key
from dsops.core.release import Limits, Probe, Reasoning, Release
from dsops.node.gateway.config import LANES, Config, load_config
from dsops.node.gateway.daemon import Gateway

from tests.node.gateway.fake_triton import FakeTriton, start
from tests.ports import find_free_port

KEY = "sk-test"
T = TypeVar("T")
TEMPLATE = """{{ bos_token }}{% for m in messages %}
{% if m.content == 'refuse' %}{{ raise_exception('not this') }}{% endif %}
<{{ m.role }}>{{ m.content }}
{% endfor %}
{% if add_generation_prompt %}<assistant><think>
{% endif %}"""


class Place:
    """The files of one server below a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("releases", "slots", "lanes", "state"):
            (root / name).mkdir()
        self.keys = root / "api-keys"
        self.keys.write_text(hash_key(KEY, b"0123456789abcdef", name="test") + "\n")
        self.port, self.admin_port = find_free_port(), find_free_port()
        self.socket = root / "gateway.sock"
        release = self.add_release()
        for slot in "ab":
            self.link(root / "slots" / slot, f"../releases/{release}")
        for lane in LANES:
            self.switch(lane, "a")

    def add_release(self, *, model: str = "tiny-r1", template: str = TEMPLATE) -> str:
        release = Release(
            model=model,
            quantization="int8",
            engine="openvino",
            template="chat_template.jinja",
            eos="<eos>",
            bos="<bos>",
            reasoning=Reasoning(open="<think>", close="</think>", opened_by_prompt=True),
            limits=Limits(context=1024, max_tokens=512, queue=128, sequences=64),
            files={},
            prompts="prompts.json",
            probe=Probe(load_seconds=60, answer_seconds=5, tokens=16),
        )
        folder = self.root / "releases" / release.id
        folder.mkdir(exist_ok=True)
        (folder / "release.json").write_bytes(release.render())
        (folder / "chat_template.jinja").write_text(template)
        return release.id

    def switch(self, lane: str, slot: str) -> None:
        self.link(self.root / "lanes" / lane, f"../slots/{slot}")

    @staticmethod
    def link(path: Path, target: str) -> None:
        """By rename, as on a real server."""
        fresh = path.with_name(path.name + ".new")
        fresh.symlink_to(target)
        fresh.rename(path)

    def write_config(self, slots: Mapping[str, int], **more: object) -> Path:
        lines: dict[str, object] = {
            "listen": f"127.0.0.1:{self.port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "control_socket": str(self.socket),
            "state_file": str(self.root / "state" / "gateway.json"),
            "lanes_dir": str(self.root / "lanes"),
            "slots_dir": str(self.root / "slots"),
            "keys_file": str(self.keys),
            **more,
        }
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        text += "[slots]\n" + "".join(f'{name} = "127.0.0.1:{port}"\n' for name, port in slots.items())
        path = self.root / "gateway.toml"
        path.write_text(text)
        return path

    def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request on the control socket."""
        answer: dict[str, Any] = json.loads(self.control_raw(method, path, body, {}))
        return answer

    def control_raw(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
        """The same, as the bytes that came."""
        connection = http.client.HTTPConnection("local")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.socket))
        connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
        answer = connection.getresponse().read()
        connection.close()
        return answer


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)


class Bed:
    """Everything that a test needs; `a` and `b` are the slots' Tritons."""

    def __init__(self, root: Path, *, ports: Mapping[str, int] | None = None, **config: object) -> None:
        """ports: gRPC ports of other Tritons that take a slot."""
        self.place = Place(root)
        self.loop = Loop()
        self.a, self.b = FakeTriton(name="a"), FakeTriton(name="b")
        self.servers = {
            name: self.loop.run(start(fake, port=find_free_port())) for name, fake in (("a", self.a), ("b", self.b))
        }
        slots = {name: port for name, (_, port) in self.servers.items()} | dict(ports or {})
        self.config = load_config(self.place.write_config(slots, **config))
        self.gateway = self.loop.run(_start(self.config))
        self.url = f"http://127.0.0.1:{self.place.port}"
        self.admin = f"http://127.0.0.1:{self.place.admin_port}"
        self.http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20, trust_env=False
        )

    def chat(self, prompt: str, *, headers: Mapping[str, str] | None = None, **more: object) -> httpx.Response:
        body = {"model": "tiny-r1", "messages": [{"role": "user", "content": prompt}], **more}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def stop_slot(self, name: str) -> None:
        self.loop.run(self.servers[name][0].stop(None))

    def start_slot(self, name: str, fake: FakeTriton) -> None:
        self.servers[name] = self.loop.run(start(fake, port=self.servers[name][1]))

    def restart(self) -> None:
        """A new gateway in the same place, with its configuration read again."""
        self.loop.run(self.gateway.stop())
        self.config = load_config(self.place.root / "gateway.toml")
        self.gateway = self.loop.run(_start(self.config))

    def metrics(self) -> str:
        return httpx.get(self.admin + "/metrics", trust_env=False).text

    def close(self) -> None:
        self.http.close()
        self.loop.run(self.gateway.stop())
        for server, _ in self.servers.values():
            self.loop.run(server.stop(None))
        self.loop.close()


async def _start(config: Config) -> Gateway:
    gateway = Gateway(config)
    await gateway.start()
    return gateway


def events(text: str) -> list[Any]:
    """The data of a stream's events; [DONE] stays text."""
    datas = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


def wait_for(condition: Callable[[], bool], *, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
