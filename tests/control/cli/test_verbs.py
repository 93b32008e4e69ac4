"""The verbs of the fleet, from the words typed to the words shown."""

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from dsops.control.cli.drain import drain
from dsops.control.cli.logs import logs
from dsops.control.cli.status import status
from dsops.control.cli.undrain import undrain
from dsops.core.errors import DsopsError

from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.core.test_status import make_status
from tests.node.sources.server import Canned, serve


def write_inventory(folder: Path, **data: Any) -> Path:
    (folder / "inventory").mkdir()
    path = folder / "inventory/site.py"
    path.write_text(f"gpu = [('gpu1', {dict(ssh_hostname='127.0.0.1', **data)!r})]\n")
    return path


def call(command: click.Command, *words: str, **env: str) -> Result:
    return CliRunner().invoke(command, list(words), env=env)


def error_of(result: Result) -> DsopsError:
    assert isinstance(result.exception, DsopsError), (result.output, result.exception)
    return result.exception


def test_status_shows_the_table_and_the_same_as_json(tmp_path: Path) -> None:
    with serve(Canned({"/v1/status": (200, make_status().to_json().encode())})) as canned:
        path = write_inventory(tmp_path, dsops_agent_port=canned.port)
        shown = call(status, "-i", str(path))
        data = json.loads(call(status, "--json", DSOPS_INVENTORY=str(path)).output)
    assert shown.exit_code == 0
    assert "gpu1  r0123456789ab  serving  ok" in shown.output
    assert data["servers"][0]["status"]["release"] == "r0123456789ab"
    assert data["inventory"] == str(path)


def test_status_of_a_dead_fleet_is_shown_in_time(tmp_path: Path) -> None:
    with serve(Canned(delay=5)) as canned:
        path = write_inventory(tmp_path, dsops_agent_port=canned.port)
        start = time.perf_counter()
        result = call(status, "-i", str(path), "--timeout", "0.3")
        assert time.perf_counter() - start < 1.5
    assert result.exit_code == 0
    assert "unreachable" in result.output


def test_the_inventory_is_found_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inventory(tmp_path, dsops_agent_port=1)
    monkeypatch.chdir(tmp_path)
    assert "connection refused" in call(status).output
    monkeypatch.chdir("/")
    assert "no inventory found" in error_of(call(status)).what


def serve_ssh(tmp_path: Path, sshd: Sshd) -> Path:
    (tmp_path / "known_hosts").write_text(
        f"[127.0.0.1]:{sshd.port} {sshd.host_key.get_name()} {sshd.host_key.get_base64()}\n"
    )
    sshd.allowed.write_private_key_file(str(tmp_path / "key"))
    return write_inventory(
        tmp_path,
        ssh_port=sshd.port,
        ssh_known_hosts_file=str(tmp_path / "known_hosts"),
        dsops_ssh_key=str(tmp_path / "key"),
    )


def test_drain_undrain_and_logs_run_on_the_node(tmp_path: Path) -> None:
    def answer(command: str) -> Reply:
        return 0, ('{"drained": "fan"}\n' if "--json" in command else f"did {command.split()[2]}\n"), ""

    with run_sshd(Sshd(answer)) as sshd:
        path = str(serve_ssh(tmp_path, sshd))
        assert call(drain, "gpu1", "--reason", "a fan", "-i", path).output == "gpu1: did drain\n"
        assert json.loads(call(drain, "gpu1", "--reason", "x", "--json", "-i", path).output) == {"drained": "fan"}
        assert call(undrain, "gpu1", "-i", path).output == "gpu1: did undrain\n"
        assert call(logs, "gpu1", "--unit", "triton@a", "-n", "9", "-i", path).output == "did logs\n"
    commands = [command for _, command in sshd.asked]
    assert commands[0].startswith("dsops node drain --reason 'a fan' --who ")
    assert commands[0].endswith(" --wait 0")
    assert commands[3] == "dsops node logs triton@a --lines 9"


def test_the_nodes_refusal_is_shown(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (1, "", "error: no gateway runs on this server\n  mend: x\n"))) as sshd:
        error = error_of(call(drain, "gpu1", "--reason", "x", "-i", str(serve_ssh(tmp_path, sshd))))
    assert (str(error), error.mend) == ("gpu1: no gateway runs on this server", "x")


@pytest.mark.parametrize("words", [(drain, "--reason", "x"), (undrain,), (logs,)])
def test_an_unknown_node_gets_its_neighbour(tmp_path: Path, words: tuple[Any, ...]) -> None:
    error = error_of(call(words[0], "gpu9", *words[1:], "-i", str(write_inventory(tmp_path))))
    assert (error.what, error.mend) == ("no such node 'gpu9'", "did you mean gpu1?")


def test_a_reason_is_asked_for(tmp_path: Path) -> None:
    result = call(drain, "gpu1", "-i", str(write_inventory(tmp_path)))
    assert result.exit_code == 2
    assert "--reason" in result.output


def test_node_names_complete_from_the_inventory(tmp_path: Path) -> None:
    path = write_inventory(tmp_path)
    complete = ShellComplete(drain, {}, "drain", "_DRAIN_COMPLETE")
    assert [item.value for item in complete.get_completions(["-i", str(path)], "gp")] == ["gpu1"]
    assert complete.get_completions(["-i", "/nonexistent.py"], "gp") == []
