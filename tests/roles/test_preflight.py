"""The preflight as a deploy runs it: all servers once, all problems at once, before the first change."""

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
import pytest
from dsops.control.bundle.sign import Signer, sign
from dsops.control.cli.deploy import find_pyinfra
from paramiko import SSHException

from roles.preflight.look import ask
from tests.control.doctor.sites import DEPLOYED
from tests.deploy.test_site import call
from tests.roles.bundle import write_bundle, write_secrets

ROOT = Path(__file__).parents[2]
GOOD = DEPLOYED.replace("gpus.nvml=2\n", "")
NO_SYSTEMD = GOOD.replace("systemd=running", "systemd=")
NOEXEC = GOOD.replace("mount=/ rw", "mount=/opt rw,noexec\nmount=/ rw")
SERVERS = ("lb1", "gpu1", "gpu2")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs deploy/preflight.py on lb1, gpu1 and gpu2; what each of them answers, and more of its data, is given."""
    bundle, secrets = write_bundle(tmp_path / "bundle"), write_secrets(tmp_path / "secrets")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
    sign(bundle / "SHA256SUMS", Signer(key=key, name="test", namespace="test@v1"))
    (tmp_path / "allowed_signers").write_text(f'test namespaces="test@v1" {key.with_suffix(".pub").read_text()}')

    def run(*words: str, said: Mapping[str, Any], deploy: str = "deploy/preflight.py", **more: Any) -> tuple[int, str]:
        shared = {
            "bundle_path": str(bundle),
            "bundle_allowed_signers": str(tmp_path / "allowed_signers"),
            "bundle_namespace": "test@v1",
            "fake_delay": 0,
            "fake_delay_jitter": 0,
            **secrets,
        }
        answers = {name: said.get(name, GOOD).replace("now=1000.5", f"now={time.time()}") for name in SERVERS}
        hosts = {
            name: {**shared, "fake_responses": {"put probe 3": answers[name]}, **more.get(name, {})} for name in SERVERS
        }
        path = tmp_path / "site.py"
        listed = {name: (f"@fake/{name}", data) for name, data in hosts.items()}
        path.write_text(f"lb = [{listed['lb1']!r}]\ngpu = [{listed['gpu1']!r}, {listed['gpu2']!r}]\n")
        return call([str(find_pyinfra()), "--chdir", str(ROOT), "-y", *words, str(path), deploy])

    return run


def test_a_sound_site_passes_without_a_word(run: Run) -> None:
    code, said = run(said={})
    assert code == 0, said
    assert "preflight:" not in said


def test_every_problem_of_every_server_is_told_before_the_first_change(run: Run) -> None:
    code, said = run(said={"lb1": NO_SYSTEMD, "gpu2": NOEXEC}, deploy="deploy/site.py")
    assert code != 0
    assert "preflight: 2 problems stand in the way" in said
    assert "@fake/lb1: does not answer, should be running [systemd]" in said
    assert "@fake/gpu2: /opt is mounted noexec" in said
    assert "nothing was changed" in said
    assert "Starting operation" not in said
    assert said.count("preflight: 2 problems") == 1
    assert "Traceback" not in said


def test_a_limit_leaves_the_others_problems_alone(run: Run) -> None:
    assert run("--limit", "@fake/gpu1", said={"lb1": NO_SYSTEMD})[0] == 0
    assert run("--limit", "lb", said={"lb1": NO_SYSTEMD})[0] != 0


def test_a_site_may_go_on_with_open_eyes(run: Run) -> None:
    bad = {"gpu2": NOEXEC}
    code, said = run(said=bad, gpu2={"preflight": "warn"})
    assert code == 0, said
    assert "/opt is mounted noexec" in said
    code, said = run(said=bad, gpu2={"preflight_accept": ["noexec"]})
    assert code == 0, said
    assert "preflight: 1 warning, which `dsops doctor` shows" in said
    assert run(said=bad, gpu1={"preflight": "warn", "preflight_accept": ["noexec"]})[0] != 0


def test_a_server_that_says_nothing_of_use_is_told_and_stops_nobody(run: Run) -> None:
    code, said = run(said={"gpu1": "Welcome!"})
    assert code == 0, said
    assert "@fake/gpu1: its answer was cut short [unknown]" in said


def test_a_level_that_is_none_is_refused(run: Run) -> None:
    code, said = run(said={}, gpu1={"preflight": "off"})
    assert code != 0
    assert "@fake/gpu1: preflight is 'off' [preflight]" in said


class Data:
    def dict(self) -> dict[str, Any]:
        return {"agent_gpus": 8, "ssh_password": "secret", "fake_responses": {re.compile("x"): "y"}, "a": ["b"]}


class Server:
    """What the look needs of pyinfra's; `run` is what becomes of its command."""

    name, groups, data = "gpu1", ("gpu",), Data()

    def __init__(self, run: Callable[..., Any]) -> None:
        self.connector = self
        self.run_shell_command = run


def fail(error: BaseException) -> Callable[..., Any]:
    def run(*_: Any) -> Any:
        raise error

    return run


@pytest.mark.parametrize("error", [EOFError(), OSError("gone"), SSHException("gone")])
def test_a_server_that_is_lost_meanwhile_has_no_answer_and_raises_nothing(error: Exception) -> None:
    server: Any = Server(fail(error))
    said = ask(server, "true")
    assert (said.name, said.groups, said.said) == ("gpu1", ["gpu"], None)


def test_a_server_that_hangs_holds_nobody_up() -> None:
    server: Any = Server(lambda *_: gevent.sleep(9))
    said = ask(server, "true", seconds=0.1)
    assert (said.said, said.ended - said.started < 5) == ("", True)


def test_the_judges_get_no_password() -> None:
    server: Any = Server(fail(EOFError()))
    assert ask(server, "true").data == {"agent_gpus": 8, "a": ["b"]}
