"""The program that turns one server to another build: what it proves, and what it does when it cannot."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from roles.base.templates.upgrade import PROVEN, Pace, Place, UnprovenError, parse_units, upgrade
from roles.ops.upgrade import PROGRAM
from tests.roles.here import write_program

AGENT, GATEWAY, BALANCER = "dsops-agent.service", "dsops-gateway.service", "dsops-balancer.service"
HELPER, SOCKET = "dsops-helper.service", "dsops-helper.socket"
PACE = Pace(restart=5, answer=0.5, steady=0.1, look=0.02)
# A systemd whose services do what a file of the build in use says: `dies` at the start, `loops` after it.
SYSTEMCTL = """
cd {state}
build=$(readlink {link})
says() {{ grep -qx "$2" "$build/$1" 2>/dev/null; }}
case "$1" in
show) for file in *.service *.socket; do [ ! -e "$file" ] || {{ cat "$file"; echo; }}; done ;;
restart)
    echo "$2 $(basename "$build")" >> restarts
    pid=$(($(wc -l < restarts) + 100))
    if says dies "$2"; then sed -i s/^ActiveState=.*/ActiveState=failed/ "$2"; exit 1; fi
    mkdir -p {root}/proc/$pid
    open=$build
    if says keeps "$2"; then open={link}s/old; fi
    echo "7f0 r-xp 0 0:0 1 $open/lib/x.so" > {root}/proc/$pid/maps
    sed -i "s/^MainPID=.*/MainPID=$pid/; s/^ActiveState=.*/ActiveState=active/; s/^NRestarts=.*/NRestarts=0/" "$2"
    echo "$build" > "$2.build"
    if says idles "$2"; then sed -i s/^ActiveState=.*/ActiveState=inactive/ "$2"; fi
    if says loops "$2"; then sed -i s/^NRestarts=.*/NRestarts=1/ "$2"; fi
    if says forgets "$2"; then echo '{{"drained": null}}' > {root}/state.json; fi ;;
start) echo "$2 started" >> restarts ;;
esac
"""


@dataclass
class Server:
    """A server in a folder, with one port for all that answers there."""

    folder: Path

    @property
    def link(self) -> Path:
        return self.folder / "opt/venv"

    @property
    def state(self) -> Path:
        return self.folder / "systemd"

    def build(self, name: str, **does: str) -> Path:
        """An environment. does: which unit shows which ill (`dies`, `loops`, `still` ...)."""
        path = self.folder / "opt/venvs" / name
        (path / f"lib/python3.11/site-packages/dsops-{name}.dist-info").mkdir(parents=True)
        for ill, unit in does.items():
            (path / ill).write_text(f"{unit}\n")
        return path

    def unit(self, name: str, state: str = "active", *, socket: str = "", restarts: int = 0) -> None:
        text = f"Id={name}\nActiveState={state}\nMainPID=1\nNRestarts={restarts}\nTriggeredBy={socket}\n"
        (self.state / name).write_text(text)
        (self.state / f"{name}.build").write_text(f"{self.link}s/old\n")

    def upgrade(self, target: Path) -> None:
        upgrade(Place(self.link, root=self.folder / "root", pace=PACE), target)

    @property
    def restarts(self) -> list[str]:
        """`unit build` in their order, unit names shortened."""
        file = self.state / "restarts"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix("dsops-").replace(".service", "") for line in lines]

    def build_of(self, unit: str) -> Path:
        """The build that a unit runs, by its last restart."""
        return Path((self.state / f"{unit}.build").read_text().strip())

    def says(self, unit: str, ill: str) -> bool:
        file = self.build_of(unit) / ill
        return file.exists() and file.read_text().strip() == unit

    def answer(self, path: str, count: int) -> tuple[int, dict[str, Any]]:
        if path == "/v1/status":
            version = "other" if self.says(AGENT, "lies") else self.build_of(AGENT).name
            return 200, {"dsops_version": version, "observed_at": 1.0 if self.says(AGENT, "still") else count}
        if path == "/metrics":
            return (0 if self.says(GATEWAY, "silent") else 200), {}
        if json.loads((self.folder / "root/state.json").read_text())["drained"]:
            return 503, {"phase": "drained", "reason": "drained by ops: fans"}
        return (503, {"phase": "loading", "reason": "no engine"}) if self.says(GATEWAY, "ill") else (200, {})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A gpu server with the build `old`, proven, in use."""
    here = Server(tmp_path)
    for folder in ("root/etc/dsops", "systemd", "opt/venvs"):
        (tmp_path / folder).mkdir(parents=True)
    (here.build("old") / PROVEN).touch()
    here.link.symlink_to(tmp_path / "opt/venvs/old")
    os.utime(here.link, ns=(10**18, 10**18), follow_symlinks=False)
    here.unit(AGENT)
    here.unit(GATEWAY)
    (tmp_path / "root/state.json").write_text('{"drained": null}')
    script = SYSTEMCTL.format(state=here.state, link=here.link, root=tmp_path / "root")
    write_program(tmp_path / "bin", "systemctl", script)
    write_program(tmp_path / "bin", "journalctl", 'echo "last words of $2"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with serve(here) as port:
        config = tmp_path / "root/etc/dsops"
        (config / "agent.toml").write_text(f'listen = "0.0.0.0:{port}"\n')
        (config / "balancer.toml").write_text(f'listen = "0.0.0.0:{port}"\n')
        (config / "gateway.toml").write_text(f'admin_listen = "127.0.0.1:{port}"\nstate_file = "/state.json"\n')
        yield here


class Handler(BaseHTTPRequestHandler):
    """Answers for all daemons of a server."""

    here: Server
    count = 0

    def do_GET(self) -> None:
        type(self).count += 1
        status, body = self.here.answer(self.path, self.count)
        if status:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: a test fails with words of its own."""


@contextmanager
def serve(here: Server) -> Iterator[int]:
    """The port at which a server's daemons answer."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"here": here}))
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield int(http.server_address[1])
    http.shutdown()
    http.server_close()


def test_a_good_build_is_in_use_and_proven_and_the_agent_came_before_the_gateway(server: Server) -> None:
    server.unit(BALANCER)
    new = server.build("new")
    server.upgrade(new)
    assert server.link.readlink() == new
    assert (new / PROVEN).exists()
    assert server.restarts == ["agent new", "balancer new", "gateway new"]


ILLS = {
    "dies": "dsops-agent.service does not start",
    "loops": "dsops-agent.service does not stay up",
    "still": "the agent answers, but observes nothing new",
    "lies": "the agent says that it is dsops other, not new",
    "keeps": "dsops-agent.service still runs another build",
}


@pytest.mark.parametrize("ill", ILLS)
def test_a_bad_agent_goes_back_before_the_gateway_was_touched(server: Server, ill: str) -> None:
    new = server.build("new", **{ill: AGENT})
    with pytest.raises(UnprovenError) as caught:
        server.upgrade(new)
    said = str(caught.value)
    assert said.startswith(ILLS[ill])
    assert "| last words of dsops-agent.service" in said
    assert said.endswith("put back to old: dsops-agent.service as before")
    assert server.restarts == ["agent new", "agent old"]
    assert server.link.readlink().name == "old"
    assert not (new / PROVEN).exists()


def test_the_link_is_as_old_as_before_so_that_nobody_restarts_anything_for_it(server: Server) -> None:
    before = server.link.lstat().st_mtime_ns
    with pytest.raises(UnprovenError):
        server.upgrade(server.build("new", dies=AGENT))
    assert server.link.lstat().st_mtime_ns == before


GATEWAY_ILLS = {
    "dies": "dsops-gateway.service does not start",
    "silent": "dsops-gateway.service does not answer",
    "ill": "the gateway was well, and is not: loading no engine",
}


@pytest.mark.parametrize("ill", GATEWAY_ILLS)
def test_a_bad_gateway_goes_back_with_the_agent(server: Server, ill: str) -> None:
    with pytest.raises(UnprovenError, match=GATEWAY_ILLS[ill]):
        server.upgrade(server.build("new", **{ill: GATEWAY}))
    assert server.restarts == ["agent new", "gateway new", "gateway old", "agent old"]
    assert server.link.readlink().name == "old"


def test_a_gateway_that_was_not_well_before_need_not_be(server: Server) -> None:
    (server.folder / "opt/venvs/old/ill").write_text(GATEWAY)
    server.upgrade(server.build("new", ill=GATEWAY))
    assert server.link.readlink().name == "new"


def test_a_drained_node_stays_drained(server: Server) -> None:
    (server.folder / "root/state.json").write_text('{"drained": "fans"}')
    server.upgrade(server.build("new"))
    assert (server.folder / "root/state.json").read_text() == '{"drained": "fans"}'


def test_a_build_that_forgets_an_operators_drain_goes_back_and_the_drain_too(server: Server) -> None:
    (server.folder / "root/state.json").write_text('{"drained": "fans"}')
    with pytest.raises(UnprovenError, match="the gateway is not drained any more"):
        server.upgrade(server.build("new", forgets=GATEWAY))
    assert (server.folder / "root/state.json").read_text() == '{"drained": "fans"}'


def test_what_was_stopped_stays_stopped_and_what_had_failed_may_fail(server: Server) -> None:
    server.unit(GATEWAY, "inactive")
    server.unit(BALANCER, "failed")
    server.upgrade(server.build("new", dies=BALANCER))
    assert server.restarts == ["agent new", "balancer new"]
    assert server.link.readlink().name == "new"


def test_a_helper_that_rests_behind_its_socket_is_woken_to_see_whether_it_starts(server: Server) -> None:
    server.unit(HELPER, "inactive", socket=SOCKET)
    server.unit(SOCKET)
    server.upgrade(server.build("new"))
    assert server.restarts == ["agent new", "helper new", "gateway new"]


def test_a_helper_that_does_not_start_goes_back_and_its_socket_is_open_again(server: Server) -> None:
    server.unit(HELPER, "inactive", socket=SOCKET)
    server.unit(SOCKET)
    with pytest.raises(UnprovenError, match=r"dsops-helper\.service does not start"):
        server.upgrade(server.build("new", dies=HELPER))
    assert server.restarts == ["agent new", "helper new", "helper old", "agent old", "helper.socket started"]
    assert server.link.readlink().name == "old"


def test_a_helper_that_ends_because_nobody_asks_is_well(server: Server) -> None:
    server.unit(HELPER, socket=SOCKET)
    server.unit(SOCKET)
    server.upgrade(server.build("new", idles=HELPER))
    assert server.restarts == ["agent new", "helper new", "gateway new"]


def test_what_was_restarted_by_systemd_in_its_life_is_judged_all_the_same(server: Server) -> None:
    server.unit(GATEWAY, restarts=3)
    with pytest.raises(UnprovenError, match=r"dsops-gateway\.service does not stay up"):
        server.upgrade(server.build("new", loops=GATEWAY))
    assert server.link.readlink().name == "old"


def test_a_server_without_any_unit_has_nothing_to_prove(server: Server) -> None:
    for file in server.state.iterdir():
        file.unlink()
    server.upgrade(new := server.build("new"))
    assert (server.link.readlink(), (new / PROVEN).exists()) == (new, True)


def test_an_upgrade_that_was_cut_off_is_proven_by_the_next(server: Server) -> None:
    new = server.build("new")
    server.link.unlink()
    server.link.symlink_to(new)
    server.upgrade(new)
    assert (new / PROVEN).exists()
    assert server.restarts == ["agent new", "gateway new"]
    server.upgrade(new)
    assert server.restarts == ["agent new", "gateway new"], "it is proven: nothing to do"


def test_an_upgrade_that_was_cut_off_and_is_bad_goes_back_to_what_was_proven(server: Server) -> None:
    new = server.build("new", still=AGENT)
    server.link.unlink()
    server.link.symlink_to(new)
    with pytest.raises(UnprovenError, match="put back to old"):
        server.upgrade(new)
    assert server.link.readlink().name == "old"


def test_without_an_older_build_it_says_that_nothing_was_put_back(server: Server) -> None:
    new = server.build("new", still=AGENT)
    (server.folder / "opt/venvs/old" / PROVEN).unlink()
    server.link.unlink()
    server.link.symlink_to(new)
    with pytest.raises(UnprovenError, match="nothing was put back"):
        server.upgrade(new)


def test_an_old_build_that_does_not_come_up_any_more_is_told_too(server: Server) -> None:
    (server.folder / "opt/venvs/old/dies").write_text(AGENT)
    with pytest.raises(
        UnprovenError, match=r"observes nothing new(.|\n)*put back to old, but that does not run as before"
    ):
        server.upgrade(server.build("new", still=AGENT))
    assert server.link.readlink().name == "old"


def test_one_that_stays_down_after_going_back_does_not_keep_the_others_down(server: Server) -> None:
    (server.folder / "opt/venvs/old/dies").write_text(GATEWAY)
    with pytest.raises(UnprovenError, match=r"put back to old, but .*dsops-gateway\.service does not start"):
        server.upgrade(server.build("new", dies=GATEWAY))
    assert server.restarts == ["agent new", "gateway new", "gateway old", "agent old"]


def test_half_of_the_program_does_nothing(server: Server) -> None:
    text = PROGRAM.read_bytes()
    for cut in (len(text) // 2, text.index(b'if __name__ == "__main__"')):
        whole_lines = text[:cut].rsplit(b"\n", 1)[0]
        words = [sys.executable, "-I", "-", str(server.link), str(server.build(f"new{cut}"))]
        subprocess.run(words, input=whole_lines, capture_output=True, timeout=20, check=False)
    assert server.link.readlink().name == "old"
    assert server.restarts == []


def test_a_unit_that_did_its_work_at_boot_is_no_daemon_without_a_process() -> None:
    boot = "Id=dsops-tuning.service\nType=oneshot\nActiveState=active\nMainPID=0\n"
    said = f"{boot}\nId={AGENT}\nType=exec\nActiveState=active\nMainPID=7\n"
    assert [unit.name for unit in parse_units(said)] == [AGENT]
