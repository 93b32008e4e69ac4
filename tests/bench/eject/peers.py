"""haproxy and nginx as Debian packages them, in a folder of their own, with their default checks; on the loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.debs import AptCache
from dsops.control.run import run

PACKAGES = ("haproxy", "nginx")
INSTALLED = Path("/var/lib/dpkg/status")
START_SECONDS = 10.0
TCP, READY, NGINX = "haproxy, TCP check", "haproxy, GET ready", "nginx, passive"
PEERS = (TCP, READY, NGINX)
# Timeouts: those of Debian's haproxy.cfg; haproxy has none of its own. `check`: every 2 s, out after 3, back after 2.
HAPROXY_HEAD = """\
global
    maxconn 4000
defaults
    mode http
    timeout connect 5000
    timeout client 50000
    timeout server 50000
"""
# What is not a default is where files lie, more connections, and the header.
NGINX_CONF = """\
user root;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{pools}}}
"""
NGINX_POOL = """\
    upstream {name} {{
{servers}    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{name};
            add_header X-Server $upstream_addr always;
        }}
    }}
"""


@dataclass(frozen=True)
class Pool:
    """The same servers behind each peer. members: name -> address:port. ports: where each peer listens for it."""

    name: str
    members: Mapping[str, str]
    ports: Mapping[str, int]

    @property
    def names(self) -> dict[str, str]:
        """Servers by address: nginx tells no names."""
        return {address: name for name, address in self.members.items()}


@dataclass(frozen=True)
class Programs:
    """The packages, unpacked with the libraries that this machine lacks: nothing is installed."""

    root: Path

    @property
    def env(self) -> dict[str, str]:
        folders = [str(folder) for folder in self.root.glob("usr/lib/*-linux-gnu")]
        return os.environ | {"LD_LIBRARY_PATH": ":".join(folders)}

    def haproxy(self, config: Path) -> list[str]:
        return [str(self.root / "usr/sbin/haproxy"), "-db", "-f", str(config)]

    def nginx(self, config: Path) -> list[str]:
        return [str(self.root / "usr/sbin/nginx"), "-e", "stderr", "-p", str(config.parent), "-c", str(config)]


def ensure_programs(folder: Path) -> Programs:
    """Fetched by this machine's apt and unpacked, unless they are there."""
    root = folder / "root"
    if not root.is_dir():
        cache = AptCache(folder / "apt")
        shutil.copy(INSTALLED, cache.folder / "status")  # what the machine has need not be fetched
        cache.update()
        part = folder / "root.new"
        shutil.rmtree(part, ignore_errors=True)
        for deb in cache.fetch(list(PACKAGES)):
            run(["dpkg-deb", "-x", deb, part])
        part.rename(root)
    return Programs(root)


def render_haproxy(pools: Sequence[Pool]) -> str:
    return HAPROXY_HEAD + "".join(_render_listen(pool, peer) for pool in pools for peer in (TCP, READY))


def _render_listen(pool: Pool, peer: str) -> str:
    lines = [f"listen {pool.name}-{'tcp' if peer == TCP else 'ready'}", f"    bind 127.0.0.1:{pool.ports[peer]}"]
    lines += ["    option httpchk GET /v2/health/ready"] if peer == READY else []
    lines += ["    http-response set-header X-Server %s"]
    return "\n".join([*lines, *(f"    server {name} {at} check" for name, at in pool.members.items()), ""])


def render_nginx(pools: Sequence[Pool], folder: Path) -> str:
    """Its passive checks are on by default: out for 10 s after one failure."""
    return NGINX_CONF.format(folder=folder, pools="".join(_render_upstream(pool) for pool in pools))


def _render_upstream(pool: Pool) -> str:
    servers = "".join(f"        server {address};\n" for address in pool.members.values())
    return NGINX_POOL.format(name=pool.name, servers=servers, port=pool.ports[NGINX])


def write_configs(pools: Sequence[Pool], folder: Path) -> tuple[Path, Path]:
    """haproxy's and nginx's."""
    files = folder / "haproxy.cfg", folder / "nginx.conf"
    files[0].write_text(render_haproxy(pools))
    files[1].write_text(render_nginx(pools, folder))
    return files


@contextmanager
def serving(programs: Programs, pools: Sequence[Pool], folder: Path) -> Iterator[None]:
    """Both, started afresh: nothing is known of any server. Their logs stay in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    haproxy, nginx = write_configs(pools, folder)
    begun: list[subprocess.Popen[bytes]] = []
    try:
        for name, argv in (("haproxy", programs.haproxy(haproxy)), ("nginx", programs.nginx(nginx))):
            with (folder / f"{name}.log").open("wb") as log:
                begun.append(subprocess.Popen(argv, env=programs.env, stdout=log, stderr=log))
        for pool in pools:
            for port in pool.ports.values():
                _wait_listening(port, folder)
        yield
    finally:
        for process in begun:
            process.terminate()
        for process in begun:
            process.wait(timeout=30)


def _wait_listening(port: int, folder: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                said = "".join(log.read_text()[-500:] for log in sorted(folder.glob("*.log")))
                raise AssertionError(f"nobody listens at {port}: {said}") from error
            time.sleep(0.05)
