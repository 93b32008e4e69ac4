"""A loopback HTTP server with canned answers, for tests."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Canned:
    """Path to (status, body or function). delay in seconds; asked collects (method, path, body)."""

    answers: dict[str, tuple[int, bytes | Callable[[], bytes]]] = field(default_factory=dict)
    delay: float = 0.0
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    port: int = 0


@contextmanager
def serve(canned: Canned) -> Iterator[Canned]:
    """On a free port of 127.0.0.1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            canned.asked.append((self.command, self.path, body))
            time.sleep(canned.delay)
            status, answer = canned.answers.get(self.path, (404, b"{}"))
            data = answer if isinstance(answer, bytes) else answer()
            # Who asked may have gone: a traceback would land in what another test has captured.
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", canned.port), Handler)
    canned.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        server.server_close()
