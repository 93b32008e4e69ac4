"""Deploy on a lab server that drifted, or whose last deploy was killed: everything is mended, then nothing changes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsops.control.fleet.inventory import Server, get_fleet

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventory/lab.py"
NODE = "gpu3"
BIN = Path(sys.executable).parent
SITE = [str(BIN / "pyinfra"), "--chdir", str(ROOT), "-y", "--limit", NODE, str(INVENTORY), "deploy/site.py"]
ENV = os.environ | {"PYINFRA_PROGRESS": "off"}


@dataclass(frozen=True)
class Deployed:
    """code: pyinfra's. changed: the names of the operations that did something."""

    code: int
    changed: list[str]
    text: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server, as wanted before and after."""
    server = get_fleet(INVENTORY).get_server(NODE)
    if ssh(server, "true").returncode:
        pytest.skip(f"{NODE} does not answer: `dsops lab up`")
    if (first := deploy()).code:
        pytest.fail(first.text[-2000:])
    yield server
    assert deploy().code == 0


def ssh(server: Server, command: str) -> subprocess.CompletedProcess[str]:
    words = ["ssh", "-i", server.get("ssh_key", str), "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5"]
    words += ["-o", f"UserKnownHostsFile={server.get('ssh_known_hosts_file', str)}", "-o", "BatchMode=yes"]
    words += [f"root@{server.address}", command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def deploy() -> Deployed:
    """A deploy of the server; waits while somebody else deploys on this machine."""
    end = time.monotonic() + 240
    while True:
        found = deploy_now()
        if "another deploy is running" not in found.text or time.monotonic() > end:
            return found
        time.sleep(2)


def deploy_now() -> Deployed:
    done = subprocess.run(SITE, capture_output=True, text=True, timeout=400, env=ENV, check=False)
    return parse(done.returncode, done.stdout + done.stderr)


# These only wait for what was started before; whether they had to is a matter of milliseconds.
WAITING = (" ready", " answers")


def parse(code: int, text: str) -> Deployed:
    """From pyinfra's own output: each operation's line, then each server's result."""
    changed, name = [], ""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        if found := re.match(r"--> Starting (?:serial )?operation: (.*)", line):
            name = found[1].split(" | ")[-1].strip()
        elif re.search(r"\] (Success|Error)", line) and not name.endswith(WAITING):
            changed.append(name)
    return Deployed(code, changed, text)


@dataclass(frozen=True)
class Drift:
    """what: shell that does the damage. mended: what the next deploy must change, and nothing else."""

    what: str
    mended: tuple[str, ...]
    proof: str


DRIFTS = {
    "a file's content": Drift(
        "echo '# by hand' >> /etc/dsops/gateway.toml",
        ("gateway: configuration", "gateway: running"),
        "! grep -q 'by hand' /etc/dsops/gateway.toml",
    ),
    "a secret's mode": Drift(
        "chmod 644 /etc/dsops/api-keys",
        ("gateway: API keys",),
        "[ \"$(stat -c '%a %U %G' /etc/dsops/api-keys)\" = '640 root dsops-gateway' ]",
    ),
    "a file's owner": Drift(
        "chown nobody /opt/dsops/bin/dsops-triton",
        ("triton: start script", "engine: active slot"),
        "[ $(stat -c %U /opt/dsops/bin/dsops-triton) = root ]",
    ),
    "a stopped service": Drift(
        "systemctl stop dsops-gateway",
        ("gateway: running",),
        "systemctl is-active --quiet dsops-gateway",
    ),
    "a disabled service": Drift(
        "systemctl disable -q dsops-agent",
        ("agent: running",),
        "systemctl is-enabled --quiet dsops-agent",
    ),
    "a deleted lane": Drift(
        "rm /var/lib/dsops/lanes/l20",
        ("engine: the store's links",),
        "[ $(readlink /var/lib/dsops/lanes/l20) = $(readlink /var/lib/dsops/lanes/l50) ]",
    ),
    "a lane that somebody turned by hand": Drift(
        "ln -sfn ../slots/none /var/lib/dsops/lanes/l1",
        ("engine: the store's links",),
        "[ $(readlink /var/lib/dsops/lanes/l1) = $(readlink /var/lib/dsops/lanes/l50) ]",
    ),
    "a deleted slot": Drift(
        "rm /var/lib/dsops/lanes/$(readlink /var/lib/dsops/lanes/l50)",
        ("engine: the store's links",),
        "test -f /var/lib/dsops/lanes/l50/release.json",
    ),
    "the link of dsops' own Python": Drift(
        "rm /opt/dsops/venv",
        ("base: dsops", "helper: listens", "gateway: running", "agent: running"),
        "/opt/dsops/venv/bin/dsops --version",
    ),
    "a file of the release": Drift(
        "f=$(readlink -f /var/lib/dsops/lanes/l50)/chat_template.jinja; printf x >> $f",
        ("engine: release r",),
        "cd $(readlink -f /var/lib/dsops/lanes/l50) && ! tail -c 1 chat_template.jinja | grep -q x",
    ),
    "the mode of a file of the release": Drift(
        "chmod 600 $(readlink -f /var/lib/dsops/lanes/l50)/release.json",
        ("engine: release r",),
        "[ $(stat -L -c %a /var/lib/dsops/lanes/l50/release.json) = 444 ]",
    ),
    "a file of the release that is gone": Drift(
        "rm $(readlink -f /var/lib/dsops/lanes/l50)/prompts.json",
        ("engine: release r",),
        "test -s /var/lib/dsops/lanes/l50/prompts.json",
    ),
    "the helper's door": Drift(
        "systemctl stop dsops-helper.socket dsops-helper.service; systemctl disable -q dsops-helper.socket",
        ("helper: listens",),
        "systemctl is-active --quiet dsops-helper.socket && systemctl is-enabled --quiet dsops-helper.socket",
    ),
    "who may speak to the helper": Drift(
        "gpasswd -d dsops-agent dsops-store",
        ("helper: the agent",),
        "id -nG dsops-agent | grep -qw dsops-store",
    ),
    "a unit's file, its daemon-reload already done": Drift(
        "echo '# by hand' >> /etc/systemd/system/dsops-agent.service; systemctl daemon-reload",
        ("agent: unit", "agent: running"),
        "! grep -q 'by hand' /etc/systemd/system/dsops-agent.service",
    ),
    "a drop-in by hand that came after the start": Drift(
        "d=/etc/systemd/system/dsops-agent.service.d; mkdir -p $d;"
        " printf '[Service]\\nNice=1\\n' > $d/x.conf; systemctl daemon-reload",
        ("agent: running",),
        "rm -r /etc/systemd/system/dsops-agent.service.d && systemctl daemon-reload && systemctl restart dsops-agent",
    ),
    "a removed package": Drift(
        "dpkg --force-depends --remove libpython3.11 >/dev/null",
        ("engine: packages",),
        "ldconfig -p | grep -q libpython3.11.so",
    ),
    "a package that a cut dpkg left unpacked": Drift(
        "dpkg --unpack /var/lib/dsops/bundle/apt/engine/libpython3.11_*.deb >/dev/null",
        ("base: packages",),
        '[ -z "$(dpkg --audit)" ]',
    ),
    "apt's lists": Drift(
        "rm -rf /var/lib/dsops/apt-lists",
        ("base: apt reads the bundle",),
        "test -d /var/lib/dsops/apt-lists",
    ),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_deploy_mends_exactly_what_drifted(server: Server, name: str) -> None:
    drift = DRIFTS[name]
    assert ssh(server, drift.what).returncode == 0
    mended = deploy()
    assert mended.code == 0, mended.text[-2000:]
    proof = ssh(server, drift.proof)
    assert proof.returncode == 0, proof
    # Operation names of the bundle's release end with its id.
    assert [re.sub(r"(release r)[0-9a-f]{12}", r"\1", one) for one in mended.changed] == list(drift.mended)
    assert deploy().changed == []


WIPE = """
systemctl stop dsops-helper.socket dsops-helper dsops-agent dsops-gateway triton@a triton@b 2>/dev/null
systemctl disable -q dsops-helper.socket dsops-agent dsops-gateway triton@a triton@b 2>/dev/null
rm -rf /opt/dsops /etc/dsops
for part in bundle apt-lists blobs releases passports staging slots lanes state; do rm -rf /var/lib/dsops/$part; done
rm -rf /etc/systemd/system/triton@.service /etc/systemd/system/dsops-*.service /etc/systemd/system/dsops-*.socket
systemctl daemon-reload
dpkg --force-depends --purge libpython3.11 libpython3.11-dev chrony python3.11-venv python3-venv python3-pip-whl \
    python3-setuptools-whl >/dev/null 2>&1
true
"""
# (operation, seconds after its start) at which pyinfra is killed, one run after the other, on a wiped server.
MOMENTS = (
    ("bundle: apt/base", 0.3),
    ("base: packages", 0.4),
    ("base: packages", 1.5),
    ("bundle: wheels/node", 0.3),
    ("base: dsops", 1.0),
    ("base: dsops", 4.0),
    ("bundle: triton", 0.4),
    ("triton: unit", 0.02),
    ("engine: apt source", 0.03),
    ("engine: openvino", 2.0),
    ("helper: listens", 0.05),
    ("engine: release r", 0.1),
    ("engine: release in use", 0.3),
    ("engine: release in use", 2.0),
    ("gateway: unit", 0.02),
    ("gateway: running", 0.05),
    ("agent: configuration", 0.05),
    ("agent: running", 0.05),
)


def deploy_killed(operation: str, seconds: float) -> bool:
    """Starts a deploy and kills it with SIGKILL so long after an operation began. False when it never came to it."""
    for _ in range(60):
        text = ""
        process = subprocess.Popen(SITE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENV)
        with process:
            assert process.stdout
            for line in process.stdout:
                text += line
                if "--> Starting" in line and operation in line:
                    time.sleep(seconds)
                    process.send_signal(signal.SIGKILL)
                    return True
        if "another deploy is running" not in text:
            return False
        time.sleep(3)  # somebody else deploys on this machine
    return False


def check_well(server: Server) -> None:
    words = [str(BIN / "dsops"), "verify", "-i", str(INVENTORY), "--limit", NODE]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.thorough
def test_a_server_whose_deploys_were_killed_again_and_again_comes_out_whole(server: Server) -> None:
    assert ssh(server, WIPE).returncode == 0
    killed = [moment for moment in MOMENTS if deploy_killed(*moment)]
    print(f"killed at {len(killed)} of {len(MOMENTS)} moments: {killed}")
    assert len(killed) >= 12
    last = deploy()
    assert last.code == 0, last.text[-3000:]
    again = deploy()
    assert (again.code, again.changed) == (0, [])
    check_well(server)


@pytest.mark.thorough
@pytest.mark.parametrize("operation", ["base: packages", "base: dsops", "engine: openvino", "bundle: triton"])
def test_one_deploy_after_a_kill_is_enough(server: Server, operation: str) -> None:
    assert ssh(server, WIPE).returncode == 0
    assert deploy_killed(operation, 0.8)
    mended = deploy()
    assert mended.code == 0, mended.text[-3000:]
    again = deploy()
    assert (again.code, again.changed) == (0, [])


def is_between_two(said: dict[int, str], winner: int) -> bool:
    """Whether the refused one met the other one of ours, and nobody else's."""
    pids = {int(found) for text in said.values() for found in re.findall(r"pid (\d+),", text)}
    return pids == {winner}


def test_of_two_deploys_at_once_one_is_refused_and_told_who_the_other_is(server: Server) -> None:
    assert server
    for _ in range(20):
        pair = [
            subprocess.Popen(SITE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENV) for _ in "12"
        ]
        said = {process.pid: process.communicate(timeout=120)[0] for process in pair}
        winners = [process.pid for process in pair if process.returncode == 0]
        if winners and is_between_two(said, winners[0]):
            break
        time.sleep(3)  # somebody else deploys on this machine
    (winner,) = winners
    (loser,) = said.keys() - {winner}
    assert "another deploy is running" in said[loser]
    assert f"pid {winner}," in said[loser]
    assert "--> Starting" not in said[loser]
