"""Asking through the balancer: TLS is verified, the key goes with it, and each refusal has its words."""

import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dsops.control.cli.ask import ask
from dsops.control.fleet.chat import Secret, parse_event
from dsops.core.errors import DsopsError

ANSWER = {"choices": [{"message": {"reasoning_content": "2 and 2", "content": "4"}}]}


def make_certificate(folder: Path, name: str) -> None:
    """A self-signed certificate for `name`: cert.pem is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.key").write_bytes(pem)


class Balancer:
    """status and body of the answer to a question; events are streamed when it asks for a stream."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = ANSWER
        self.events = [
            b'data: {"choices": [{"delta": {"role": "assistant"}}]}',
            b'data: {"choices": [{"delta": {"reasoning_content": "2 and "}}]}',
            b'data: {"choices": [{"delta": {"reasoning_content": "2"}}]}',
            b": keep-alive",
            b'data: {"choices": [{"delta": {"content": "\\n\\n4"}}]}',
            b'data: {"choices": [], "usage": {}}',
            b"data: [DONE]",
        ]
        self.asked: list[tuple[str, str, Any]] = []
        self.port = 0


@contextmanager
def run_balancer(balancer: Balancer, folder: Path) -> Iterator[Balancer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "tiny-r1"}, {"id": "other"}]})

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            balancer.asked.append((self.path, self.headers["Authorization"], question))
            if balancer.status == 200 and question["stream"]:
                self.send_response(200)
                self.end_headers()
                for event in balancer.events:
                    self.wfile.write(event + b"\n\n")
                    self.wfile.flush()
            else:
                self.reply(balancer.status, balancer.body)

        def reply(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "cert.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    balancer.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield balancer
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Balancer]:
    make_certificate(tmp_path, "lb1")
    (tmp_path / "api-key").write_text("sk-secret\n")
    with run_balancer(Balancer(), tmp_path) as balancer:
        write_inventory(tmp_path, balancer.port)
        yield balancer


def write_inventory(folder: Path, port: int, **more: str) -> None:
    data = {
        "dsops_endpoint": f"https://127.0.0.1:{port}",
        "dsops_server_name": "lb1",
        "dsops_ca_file": "cert.pem",
        "dsops_api_key_file": "api-key",
        **more,
    }
    (folder / "site.py").write_text(f'lb = [("lb1", {data!r})]\n')


def put(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(ask, ["-i", str(folder / "site.py"), *words], color=True)


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    assert "sk-secret" not in f"{result.output}{result.exception}{result.exception.mend}"
    return result.exception


def test_reasoning_comes_dimmed_then_the_answer(balancer: Balancer, tmp_path: Path) -> None:
    result = put(tmp_path, "2+2?")
    assert result.output == "\x1b[2m2 and \x1b[0m\x1b[2m2\x1b[0m\n\n4\n"
    path, key, question = balancer.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer sk-secret")
    assert question == {
        "model": "tiny-r1",
        "messages": [{"role": "user", "content": "2+2?"}],
        "stream": True,
    }


def test_the_whole_answer_at_once_looks_the_same(balancer: Balancer, tmp_path: Path) -> None:
    assert put(tmp_path, "2+2?", "--no-stream").output == "\x1b[2m2 and 2\x1b[0m\n\n4\n"
    assert json.loads(put(tmp_path, "2+2?", "--json", "--model", "other").output) == ANSWER
    assert [q["model"] for _, _, q in balancer.asked] == ["tiny-r1", "other"]


@pytest.mark.parametrize(
    ("status", "body", "said", "mend"),
    [
        (401, {"error": {"message": "wrong key"}}, "the API key is refused: wrong key", "use a key"),
        (429, {"error": {"message": "full"}}, "too busy: full", "ask again in 7 s"),
        (503, {"error": {"message": "draining"}}, "no node takes the question: draining", "`dsops status`"),
        (502, b"<html>Bad Gateway</html>", "no node takes the question: HTTP 502", "`dsops status`"),
        (400, {"error": {"message": "context_length_exceeded: 9 > 5"}}, "context_length_exceeded: 9 > 5", ""),
    ],
)
def test_a_refusal_has_its_words(
    balancer: Balancer, tmp_path: Path, status: int, body: Any, said: str, mend: str
) -> None:
    balancer.status, balancer.body = status, body
    for option in ([], ["--no-stream"]):
        error = error_of(put(tmp_path, "2+2?", *option))
        assert error.what == said
        assert mend in error.mend


def test_an_answer_that_breaks_off_is_said_after_what_came(balancer: Balancer, tmp_path: Path) -> None:
    balancer.events = balancer.events[:3]
    result = put(tmp_path, "2+2?")
    assert error_of(result).what == "the answer broke off: it ended without its last word"
    assert "2 and" in result.output


def test_an_error_in_the_stream_is_said(balancer: Balancer, tmp_path: Path) -> None:
    balancer.events[3] = b'data: {"error": {"message": "engine died"}}'
    assert error_of(put(tmp_path, "2+2?")).what == "the answer broke off: engine died"


def test_a_stream_that_is_no_json_is_said() -> None:
    with pytest.raises(DsopsError, match="no JSON"):
        parse_event(b"data: <html>", where="x")


def test_a_certificate_of_somebody_else_is_refused(balancer: Balancer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", "lb1")
    write_inventory(tmp_path, balancer.port, dsops_ca_file="other/cert.pem")
    error = error_of(put(tmp_path, "2+2?"))
    assert "its certificate is not trusted" in error.what
    assert str(tmp_path / "other/cert.pem") in error.mend
    assert balancer.asked == []


def test_a_certificate_for_another_name_is_refused(balancer: Balancer, tmp_path: Path) -> None:
    write_inventory(tmp_path, balancer.port, dsops_server_name="lb2")
    assert "its certificate is not trusted" in error_of(put(tmp_path, "2+2?")).what


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dsops_endpoint": "http://127.0.0.1"}, "dsops_endpoint is no https:// address"),
        ({"dsops_ca_file": "none.pem"}, "the CA's certificate cannot be read"),
        ({"dsops_api_key_file": "none"}, "the API key cannot be read"),
        ({"dsops_api_key_file": "empty"}, "the API key file is empty"),
        ({"dsops_endpoint": "https://127.0.0.1:1"}, "connection refused"),
    ],
)
def test_a_wrong_inventory_is_said(balancer: Balancer, tmp_path: Path, more: dict[str, str], said: str) -> None:
    (tmp_path / "empty").touch()
    write_inventory(tmp_path, balancer.port, **more)
    assert said in error_of(put(tmp_path, "2+2?")).what


def test_a_fleet_without_balancer_is_said(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text('gpu = ["gpu1"]')
    assert error_of(put(tmp_path, "2+2?")).what == "no server of group lb"


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("sk-secret")
    assert {str(secret), repr(secret), f"{secret}", f"{secret!s:>10}"} == {"[REDACTED]"}
