"""Asks the fleet a question through the balancer, as any client would: TLS, API key, streaming."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dsops.control.fleet.http import describe
from dsops.control.fleet.inventory import Fleet
from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Secret:
    """Prints [REDACTED]; `reveal` is for the wire only."""

    _value: str

    def __repr__(self) -> str:
        return "[REDACTED]"

    def reveal(self) -> str:
        return self._value


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. server_name = the name that the certificate must carry."""

    host: str
    port: int
    server_name: str
    ca_file: Path
    key_file: Path
    key: Secret

    @property
    def where(self) -> str:
        return f"https://{self.host}:{self.port}"


@dataclass(frozen=True)
class Piece:
    """A part of the answer as it comes."""

    reasoning: str = ""
    content: str = ""


def get_endpoint(fleet: Fleet) -> Endpoint:
    """`dsops_endpoint`, else port 443 of the first lb. Raises DsopsError naming what the inventory lacks."""
    balancers = fleet.find_role("lb")
    if not balancers:
        raise DsopsError("no server of group lb", where=str(fleet.path), mend='add a group: lb = ["lb1"]')
    server = balancers[0]
    url = urlsplit(server.get("dsops_endpoint", str, f"https://{server.address}"))
    if url.scheme != "https" or not url.hostname:
        raise DsopsError("dsops_endpoint is no https:// address", where=server.where, mend="write https://HOST[:PORT]")
    key_file = fleet.get_path(server, "dsops_api_key_file")
    return Endpoint(
        url.hostname,
        url.port or 443,
        server.get("dsops_server_name", str, url.hostname),
        fleet.get_path(server, "dsops_ca_file"),
        key_file,
        read_key(key_file),
    )


def read_key(path: Path) -> Secret:
    """The first line of the file. Raises DsopsError."""
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        mend = "dsops_api_key_file in the inventory names a file with one key"
        raise DsopsError(f"the API key cannot be read ({error})", where=str(path), mend=mend) from error
    if not lines:
        raise DsopsError("the API key file is empty", where=str(path), mend="put one key into it")
    return Secret(lines[0])


def find_models(endpoint: Endpoint, *, timeout: float) -> list[str]:
    """The ids at /v1/models."""
    with _request(endpoint, "GET", "/v1/models", None, timeout=timeout) as response:
        return [str(model["id"]) for model in _load(endpoint, response).get("data", [])]


def ask(endpoint: Endpoint, question: str, *, model: str, timeout: float) -> dict[str, Any]:
    """The whole answer, OpenAI's object. timeout in seconds between two bytes."""
    body = _body(question, model=model, stream=False)
    with _request(endpoint, "POST", "/v1/chat/completions", body, timeout=timeout) as response:
        return _load(endpoint, response)


def stream(endpoint: Endpoint, question: str, *, model: str, timeout: float) -> Iterator[Piece]:
    """The answer in pieces. Raises DsopsError also when it breaks off in the middle."""
    body = _body(question, model=model, stream=True)
    with _request(endpoint, "POST", "/v1/chat/completions", body, timeout=timeout) as response:
        try:
            for line in response:
                if line.strip() == b"data: [DONE]":
                    return
                if piece := parse_event(line, where=endpoint.where):
                    yield piece
        except (OSError, http.client.HTTPException) as error:
            raise _broken(endpoint, describe(error)) from error
    raise _broken(endpoint, "it ended without its last word")


def parse_event(line: bytes, *, where: str) -> Piece | None:
    """One line of the event stream; None for what carries no text."""
    if not line.startswith(b"data:"):
        return None
    try:
        data = json.loads(line.removeprefix(b"data:"))
    except ValueError as error:
        raise DsopsError("a piece of the answer is no JSON", where=where) from error
    if error_text := _find_error(data):
        raise DsopsError(f"the answer broke off: {error_text}", where=where, mend="ask again; `dsops status`")
    delta = (data.get("choices") or [{}])[0].get("delta") or {}
    piece = Piece(delta.get("reasoning_content") or "", delta.get("content") or "")
    return piece if piece.reasoning or piece.content else None


def _body(question: str, *, model: str, stream: bool) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}], "stream": stream}


@contextmanager
def _request(
    endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, *, timeout: float
) -> Iterator[http.client.HTTPResponse]:
    headers = {"Authorization": f"Bearer {endpoint.key.reveal()}", "Content-Type": "application/json"}
    connection = _connect(endpoint, timeout=timeout)
    try:
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise DsopsError(describe(error), where=endpoint.where, mend="`dsops status`") from error
        if response.status != 200:
            raise judge_refusal(endpoint, response.status, response.read(), response.headers)
        yield response
    finally:
        connection.close()


def judge_refusal(endpoint: Endpoint, status: int, body: bytes, headers: Any) -> DsopsError:
    """What an HTTP status other than 200 means to the person who asked. Pure."""
    try:
        said = _find_error(json.loads(body)) or f"HTTP {status}"
    except ValueError:
        said = f"HTTP {status}"
    if status == 401:
        return DsopsError(
            f"the API key is refused: {said}",
            where=str(endpoint.key_file),
            mend="use a key that the gateways know",
        )
    if status == 429:
        return DsopsError(
            f"too busy: {said}",
            where=endpoint.where,
            mend=f"ask again in {headers.get('Retry-After', '1')} s",
        )
    if status in (502, 503, 504):
        return DsopsError(f"no node takes the question: {said}", where=endpoint.where, mend="`dsops status` says why")
    return DsopsError(said, where=endpoint.where)


def _connect(endpoint: Endpoint, *, timeout: float) -> http.client.HTTPConnection:
    connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout)
    try:
        context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    except (OSError, ssl.SSLError) as error:
        mend = "dsops_ca_file in the inventory names the CA's certificate (PEM)"
        raise DsopsError(
            f"the CA's certificate cannot be read ({error})", where=str(endpoint.ca_file), mend=mend
        ) from error
    try:
        raw = socket.create_connection((endpoint.host, endpoint.port), timeout=min(timeout, 5.0))
        connection.sock = context.wrap_socket(raw, server_hostname=endpoint.server_name)
        connection.sock.settimeout(timeout)
    except ssl.SSLCertVerificationError as error:
        mend = f"do {endpoint.ca_file} and the name {endpoint.server_name} belong to this balancer?"
        raise DsopsError(
            f"its certificate is not trusted: {error.verify_message}", where=endpoint.where, mend=mend
        ) from error
    except OSError as error:
        raise DsopsError(describe(error), where=endpoint.where, mend="is the balancer up? `dsops status`") from error
    return connection


def _load(endpoint: Endpoint, response: http.client.HTTPResponse) -> dict[str, Any]:
    try:
        data = json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise _broken(endpoint, describe(error)) from error
    except ValueError as error:
        raise DsopsError("the answer is no JSON", where=endpoint.where, mend="is this the balancer?") from error
    if not isinstance(data, dict):
        raise DsopsError("the answer is no JSON object", where=endpoint.where, mend="is this the balancer?")
    return data


def _find_error(data: Any) -> str:
    error = data.get("error") if isinstance(data, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error) if error else ""


def _broken(endpoint: Endpoint, why: str) -> DsopsError:
    return DsopsError(f"the answer broke off: {why}", where=endpoint.where, mend="ask again; `dsops status`")
