"""Where every way out of the lab ends: a process that counts, logs and drops what servers try to reach."""

import hashlib
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import launch
from dsops.lab.attempts import (
    ASKED_AGAIN_S,
    RETRANSMITTED_S,
    Attempt,
    Place,
    Tally,
    judge_packet,
    judge_question,
    parse_counters,
    read_counters,
    read_log,
)
from dsops.lab.network import has_ipv6
from dsops.lab.packets import parse_packet, parse_question, render_answer
from dsops.lab.place import Lab
from dsops.lab.processes import end_parts, find_parts
from dsops.lab.run import read, write

__all__ = ["ensure_sink", "find_sink", "read_counters", "read_log"]

PART = "sink"
LOG_BYTES = 10_000_000
NO_SUCH_NAME, REFUSED = 3, 5
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
# Kernel filter: frames for the bridge itself, and of TCP only those with a lone SYN; the rest (a gigabyte of
# answers over ssh) never wakes the sink. Lines: code, jump if true, jump if false, value.
FILTER = (
    (0x20, 0, 0, 0xFFFFF004), (0x15, 0, 16, 0),  # packet type: to this host?
    (0x30, 0, 0, 0), (0x74, 0, 0, 4), (0x15, 0, 6, 4),  # IP version 4?
    (0x30, 0, 0, 9), (0x15, 0, 10, 6),  # TCP?
    (0xB1, 0, 0, 0), (0x50, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 6, 7, 2),  # SYN without ACK?
    (0x15, 0, 6, 6),  # IP version 6?
    (0x30, 0, 0, 6), (0x15, 0, 3, 6),  # TCP?
    (0x30, 0, 0, 53), (0x54, 0, 0, 0x12), (0x15, 0, 1, 2),  # SYN without ACK?
    (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),  # take it; leave it
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What the process is started with; a change of anything in it needs a new process."""

    folder: str
    bridge: str
    ifindex: int
    gateways: list[str]
    subnets: list[str]
    names: dict[str, str]
    code: str  # hash of the modules it runs


def wanted_config(lab: Lab) -> Config:
    place = Place.of(lab)
    files = sorted(Path(__file__).parent.glob("*.py"))
    used = [file for file in files if file.stem in ("sink", "attempts", "packets")]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in used)).hexdigest()[:12]
    index = socket.if_nametoindex(lab.bridge)
    return Config(str(lab.sink), lab.bridge, index, [*place.gateways], [*place.subnets], place.names, code)


def find_sink(lab: Lab) -> int | None:
    """The pid of the running sink."""
    return next((part.pid for part in find_parts(lab, PART) if not part.inside), None)


def ensure_sink(lab: Lab) -> bool:
    """Start the sink unless the right one runs; whether it was started. The counts go on."""
    text = json.dumps(asdict(wanted_config(lab)))
    ready = lab.sink / "ready"
    if find_sink(lab) and read(lab.sink / "config.json") == text and read(ready) == text:
        return False
    end_parts(lab, PART, thaw=lambda: None)
    ready.unlink(missing_ok=True)
    write(lab.sink / "config.json", text)
    argv = [sys.executable, "-m", "dsops.lab.sink", str(lab.sink / "config.json")]
    launch.launch(lab, PART, argv, log=lab.sink / "sink.log", groups=[])
    _wait_ready(lab, ready)
    return True


def _wait_ready(lab: Lab, ready: Path, *, patience: float = 15) -> None:
    until = time.monotonic() + patience
    while not ready.exists():
        if time.monotonic() > until:
            last = read(lab.sink / "sink.log").strip().splitlines()[-1:]
            raise DsopsError(f"the sink does not start: {' '.join(last)}", where=str(lab.sink / "sink.log"))
        time.sleep(0.02)


class Sink:
    """The process's sockets and files."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.place = Place(
            (config.gateways[0], config.gateways[1]), (config.subnets[0], config.subnets[1]), config.names
        )
        self.folder = Path(config.folder)
        self.tally = Tally(parse_counters(read(self.folder / "counters.json")))
        self.log = (self.folder / "log.jsonl").open("a", buffering=1)
        self.dirty = True
        self.selector = selectors.DefaultSelector()

    def open(self) -> None:
        for gateway, family in zip(self.config.gateways, (socket.AF_INET, socket.AF_INET6), strict=True):
            if family == socket.AF_INET6 and not has_ipv6():
                continue
            self._watch(_bound(family, socket.SOCK_DGRAM, gateway), self.on_datagram)
            self._watch(_bound(family, socket.SOCK_STREAM, gateway), self.on_stream)
        self._watch(_tap(self.config.bridge), self.on_packet)

    def _watch(self, sock: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        self.selector.register(sock, selectors.EVENT_READ, handler)

    def on_datagram(self, sock: socket.socket) -> None:
        query, sender = sock.recvfrom(4096)
        if answer := self.answer(query, sender[0], sock.getsockname()[0], "udp"):
            sock.sendto(answer, sender)

    def on_stream(self, sock: socket.socket) -> None:
        stream, sender = sock.accept()
        with stream:
            stream.settimeout(0.5)
            query = stream.recv(4096)[2:]
            if answer := self.answer(query, sender[0], sock.getsockname()[0], "tcp"):
                stream.sendall(struct.pack("!H", len(answer)) + answer)

    def answer(self, query: bytes, source: str, target: str, protocol: str) -> bytes:
        """Nothing is ever resolved: own names do not exist in DNS, all others are refused."""
        asked = parse_question(query)
        if asked is None:
            return b""
        attempt = judge_question(self.place, source, target, asked, protocol)
        if attempt:
            self.note(attempt, self.tally.is_new(attempt, time.monotonic(), within=ASKED_AGAIN_S))
        return render_answer(query, code=REFUSED if attempt else NO_SUCH_NAME)

    def on_packet(self, sock: socket.socket) -> None:
        packet = parse_packet(sock.recv(65535))
        attempt = judge_packet(self.place, packet) if packet else None
        if packet and attempt:
            self.note(attempt, self.tally.is_new(packet.flow, time.monotonic(), within=RETRANSMITTED_S))

    def note(self, attempt: Attempt, new: bool) -> None:
        self.tally.count(attempt, new=new)
        self.dirty = True
        if new:
            facts = {key: value for key, value in asdict(attempt).items() if value}
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.log.write(json.dumps({"time": now, "kind": attempt.kind, **facts}) + "\n")
            self._rotate()

    def _rotate(self) -> None:
        if self.log.tell() > LOG_BYTES:
            self.log.close()
            path = self.folder / "log.jsonl"
            path.replace(self.folder / "log.jsonl.1")
            self.log = path.open("a", buffering=1)

    def serve(self) -> None:
        while True:
            if self.dirty:
                write(self.folder / "counters.json", self.tally.render())
                self.dirty = False
            for key, _ in self.selector.select():
                with suppress(OSError):  # the asker went away
                    key.data(key.fileobj)


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, address: str) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, 53))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    return sock


def _tap(bridge: str) -> socket.socket:
    """Sees each packet that servers address to the bridge, before any filter drops it."""
    import ctypes

    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in FILTER))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(FILTER), ctypes.addressof(program)))
    sock.bind((bridge, ETH_P_ALL))
    return sock


def main() -> None:
    """The process: `python -m dsops.lab.sink CONFIG`."""
    text = Path(sys.argv[1]).read_text()
    sink = Sink(Config(**json.loads(text)))
    sink.open()
    os.chdir("/")
    write(sink.folder / "ready", text)
    sink.serve()


if __name__ == "__main__":
    main()
