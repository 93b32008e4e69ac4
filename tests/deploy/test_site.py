"""The whole site in its order, as it is typed, against servers that are not there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from dsops.control.bundle.sign import Signer, sign

from tests.roles.bundle import OS_RELEASE, write_bundle, write_secrets

ROOT = Path(__file__).parents[2]
INVENTORY = """
import re
shared = {shared!r}
system = "/etc/os-release\\n" + {release!r} + "\\n---"
room = "filesystem=ext4\\nfree=200000000000\\nmemory=1000000\\navailable=900000"
shared["fake_responses"] = {{
    re.compile("ls -pdL"): system, "echo filesystem=$(findmnt": room, "command -v": "/usr/bin/found"
}}
lb = [("@fake/lb1", shared)]
gpu = [("@fake/gpu1", {{**shared, **{more!r}}}), ("@fake/gpu2", shared)]
mon = [("@fake/mon1", shared)]
"""

Deploy = Callable[..., tuple[int, str]]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Runs pyinfra on a site of four servers; its exit code and what it said."""
    bundle, secrets = write_bundle(tmp_path / "bundle"), tmp_path / "secrets"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
    sign(bundle / "SHA256SUMS", Signer(key=key, name="test", namespace="test@v1"))
    (tmp_path / "allowed_signers").write_text(f'test namespaces="test@v1" {key.with_suffix(".pub").read_text()}')

    def run(system: str = "debian 12", **more: object) -> tuple[int, str]:
        shared = {
            "bundle_path": str(bundle),
            "bundle_allowed_signers": str(tmp_path / "allowed_signers"),
            "bundle_namespace": "test@v1",
            "fake_delay": 0,
            "fake_delay_jitter": 0,
            **write_secrets(secrets),
        }
        path = tmp_path / "inventory/site.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(INVENTORY.format(shared=shared, release=OS_RELEASE[system], more=more))
        words = [
            str(Path(sys.executable).with_name("pyinfra")),
            "--chdir",
            str(ROOT),
            "-y",
            str(path),
            "deploy/site.py",
        ]
        return call(words)

    run.bundle = bundle  # type: ignore[attr-defined]
    return run


# A folder of locks of its own, which nobody else sees.
ALONE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run/lock && exec "$@"', "sh")


@cache
def can_be_alone() -> bool:
    """Whether this user may mount something that nobody else sees."""
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


def call(words: list[str]) -> tuple[int, str]:
    """It does not wait for another deploy on this machine, where it may have a lock of its own."""
    env = os.environ | {"PYINFRA_PROGRESS": "off"}
    argv = [*ALONE, *words] if can_be_alone() else words
    for _ in range(60):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False, env=env)
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        if "another deploy is running" not in said:
            return done.returncode, said
    raise TimeoutError(said)


def operations(said: str) -> list[str]:
    return [
        match[1].strip() for match in re.finditer(r"^--> Starting (?:serial )?operation: (.*)$", said, re.MULTILINE)
    ]


def test_the_whole_site_is_built_in_order_and_every_operation_has_its_own_name(deploy: Deploy) -> None:
    code, said = deploy()
    assert code == 0, said[-3000:]
    names = operations(said)
    roles = list(dict.fromkeys(name.split(" | ")[0] for name in names))
    # Servers of different groups go side by side; on each of them this is the order.
    gpu = ("base", "swap", "system", "ssh", "firewall", "triton", "helper", "engine", "gateway", "agent")
    assert [role for role in roles if role in gpu] == list(gpu)
    assert set(roles) - set(gpu) == {"nginx", "monitoring"}
    assert (roles[0], roles[-1]) == ("base", "agent")
    assert len(names) == len(set(names)) >= 60
    assert not [name for name in names if "(" in name], "an operation without a name shows its arguments, secrets too"


def test_an_unknown_system_is_refused_before_any_change(deploy: Deploy) -> None:
    code, said = deploy("rocky 9.4")
    assert code != 0
    assert "rocky 9.4 is not supported" in said
    assert operations(said) == []
    assert "Traceback" not in said


def test_a_bundle_of_another_system_is_refused_before_any_change(deploy: Deploy) -> None:
    code, said = deploy("ubuntu 24.04")
    assert code != 0
    assert "this server is ubuntu 24.04, the bundle's packages are for debian 12" in said
    assert operations(said) == []


def test_a_misspelt_key_is_refused_before_any_change(deploy: Deploy) -> None:
    code, said = deploy(gatway_port=8000)
    assert code != 0
    assert "@fake/gpu1: unknown key 'gatway_port'; did you mean 'gateway_port'?" in said
    assert operations(said) == []


def test_an_altered_bundle_is_refused_before_any_change(deploy: Deploy) -> None:
    bundle: Path = deploy.bundle  # type: ignore[attr-defined]
    (bundle / "triton/bin/tritonserver").write_text("altered")
    code, said = deploy()
    assert code != 0
    assert "triton/bin/tritonserver" in said
    assert operations(said) == []


def test_a_key_of_the_wrong_type_is_refused_before_any_change(deploy: Deploy) -> None:
    code, said = deploy(gateway_port="8000")
    assert code != 0
    assert "gateway_port should be a port, is '8000'" in said
    assert operations(said) == []
