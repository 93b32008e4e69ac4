"""Waiting until something answers: its real command against a real server, and against none."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from roles.ops.health import answers
from tests.roles.here import CommandFailed, Here, write_program


class _Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200 if type(self).asked > 2 else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers 503 twice, then 200."""
    _Handler.asked = 0
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/healthz"
    server.shutdown()
    server.server_close()


def serve(folder: Path, *, failed: bool) -> Here:
    write_program(folder, "systemctl", f"exit {0 if failed else 1}")
    write_program(folder, "journalctl", "echo '+---+'; echo 'cannot load the model'")
    return Here(path=str(folder))


def test_it_waits_until_the_server_answers_200(url: str, tmp_path: Path) -> None:
    assert serve(tmp_path, failed=False).perform(answers, url=url, unit="x.service", seconds=20)
    assert _Handler.asked == 3


def test_what_answers_already_is_not_waited_for(url: str, tmp_path: Path) -> None:
    _Handler.asked = 2
    assert not serve(tmp_path, failed=False).perform(answers, url=url, unit="x.service")


def test_a_unit_that_gave_up_is_not_waited_for_and_its_journal_is_shown(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot load the model"):
        serve(tmp_path, failed=True).perform(answers, url="http://127.0.0.1:9/", unit="x.service", seconds=60)


def test_the_wait_ends(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        serve(tmp_path, failed=False).perform(answers, url="http://127.0.0.1:9/", unit="x.service", seconds=1)
