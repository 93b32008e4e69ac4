"""Bad input and bad luck: each gives its message, changes nothing and loses nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.site import ENDPOINT, INVENTORY, LAB, ROOT, Service, dsops, healthy, on, restore, wait

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
BUNDLE = "/var/lib/dsops/bundle"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An inventory of the lab's servers that a test may spoil."""
    (tmp_path / "inventory").mkdir()
    shutil.copytree(ROOT / "inventory/group_data", tmp_path / "inventory/group_data")
    return Path(shutil.copy(INVENTORY, tmp_path / "inventory/lab.py"))


def set_data(inventory: Path, group: str, line: str) -> None:
    with (inventory.parent / f"group_data/{group}.py").open("a") as stream:
        stream.write(f"\n{line}\n")


def deploy(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return dsops("deploy", *words)


def assert_refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said
    for text in texts:
        assert text in said, said


@pytest.fixture(scope="module", autouse=True)
def as_it_was(service: Service) -> Iterator[None]:
    """After all of it, the servers are what they were: a deploy finds nothing to do."""
    restore()
    yield
    restore()
    done = deploy("-i", INVENTORY)
    assert "nothing changed" in done.stdout, done.stdout


def test_an_unknown_host_is_named_with_its_neighbour() -> None:
    assert_refused(deploy("-i", INVENTORY, "--limit", "gpu9"), "no such node 'gpu9'", "did you mean gpu")
    assert_refused(dsops("drain", "gpu9", "--reason", "x", "-i", INVENTORY), "no such node 'gpu9'")


def test_a_wrong_host_key_ends_the_run_before_a_word_is_sent(copy: Path, tmp_path: Path) -> None:
    lines = (LAB / "ssh/known_hosts").read_text().splitlines()
    keys = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines}
    wrong = [f"{name} {keys[min(k for k in keys if k != name)]}" for name in keys]
    (tmp_path / "known_hosts").write_text("\n".join(wrong) + "\n")
    set_data(copy, "lab", f'ssh_known_hosts_file = "{tmp_path}/known_hosts"')
    assert_refused(
        deploy("-i", copy, "--limit", "gpu1"), "does not match", "console", "stopped before anything was changed"
    )
    assert_refused(dsops("drain", "gpu1", "--reason", "x", "-i", copy), "known_hosts")


def test_a_misspelt_inventory_key_is_named_with_the_right_one(copy: Path) -> None:
    set_data(copy, "gpu", "gateway_prot = 8081")
    assert_refused(
        deploy("-i", copy), "gpu1: unknown key 'gateway_prot'; did you mean 'gateway_port'?", "nothing was changed"
    )


def test_a_value_of_the_wrong_type_is_named(copy: Path) -> None:
    set_data(copy, "gpu", 'gateway_port = "8080"')
    assert_refused(deploy("-i", copy), "gateway_port", "should be a port, is '8080'")


def test_an_altered_bundle_never_reaches_a_server(copy: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "bundle"
    shutil.copytree((LAB / "bundle/current").resolve(), spoilt, copy_function=os.link)
    victim = next((spoilt / "releases").glob("*/models/llm/1/model.py"))
    text = victim.read_text()
    victim.unlink()  # it is one file with the real one until here
    victim.write_text(text.replace("import", "lmport", 1))
    set_data(copy, "lab", f'bundle_path = "{spoilt}"')
    assert_refused(deploy("-i", copy), "changed: releases/", "do not use it", "stopped before anything was changed")
    (spoilt / "SHA256SUMS.sig").unlink()
    assert_refused(deploy("-i", copy), "there is no signature")


def test_a_bundle_of_the_lab_is_no_bundle_of_a_site(copy: Path) -> None:
    set_data(copy, "lab", 'bundle_namespace = "dsops-bundle@v1"')
    assert_refused(deploy("-i", copy), "the signature does not fit")


def test_two_deploys_at_once_are_one_too_many() -> None:
    argv = [sys.executable, "-m", "dsops", "deploy", "-i", str(INVENTORY)]
    first = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        held = Path("/run/lock/dsops-deploy.lock")
        wait("the first holds the lock", lambda: is_held(held))

        assert_refused(deploy("-i", INVENTORY), "another deploy is running (user root", "wait for it to end")
    finally:
        out, _ = first.communicate(timeout=120)
    assert first.returncode == 0, out


def is_held(lock: Path) -> bool:
    return subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode != 0


def test_a_full_disk_is_refused_first_and_else_fails_that_server_only_and_the_next_run_goes_on(copy: Path) -> None:
    tree = f"{BUNDLE}/wheels/engine-openvino"
    most = "fallocate -l $(($(stat -f -c %f .) * $(stat -f -c %S .) / 100 * 98)) full"
    on("gpu3", f"rm -rf {tree}; cd /var/lib/dsops && {most}; dd if=/dev/zero of=rest bs=1M 2>/dev/null || true")
    try:
        assert_refused(deploy("-i", INVENTORY), "gpu3: ", "free on /var/lib/dsops", "nothing was changed")
        set_data(copy, "gpu", 'preflight = "warn"')
        done = deploy("-i", copy)
        assert_refused(done, "No space left on device", "FAILED on gpu3")
        assert "FAILED on gpu1" not in done.stdout
        wait("a full disk must not take the running model away", lambda: healthy("gpu3"), seconds=10)
    finally:
        on("gpu3", "rm -f /var/lib/dsops/full /var/lib/dsops/rest")
    done = deploy("-i", INVENTORY)
    assert done.returncode == 0, done.stdout


def test_an_unsupported_system_is_refused_before_any_change() -> None:
    other = "sed 's/^ID=.*/ID=centos/; s/^VERSION_ID=.*/VERSION_ID=7/' /usr/lib/os-release > /etc/os-release"
    on("mon1", f"cp -a /etc/os-release /tmp/os-release && rm /etc/os-release && {other}")
    try:
        assert_refused(deploy("-i", INVENTORY), "mon1: centos 7 is not supported", "nothing was changed")
    finally:
        on("mon1", "rm /etc/os-release; mv /tmp/os-release /etc/os-release")


@pytest.fixture
def brought_back() -> Iterator[None]:
    """Whatever became of a test that kills servers, the next one finds them up."""
    yield
    assert dsops("lab", "up").returncode == 0


@pytest.mark.usefixtures("brought_back")
def test_a_server_that_dies_in_the_middle_fails_alone_and_is_made_whole_by_the_next_run() -> None:
    on("mon1", f"rm -rf {BUNDLE}/apt/monitoring {BUNDLE}/wheels")
    on("gpu1", "echo '# by hand' >> /etc/dsops/agent.toml")  # what the run of the others comes to last
    argv = [sys.executable, "-m", "dsops", "deploy", "-i", str(INVENTORY)]
    since = time.monotonic()
    running = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    said = []
    for line in running.stdout:
        said.append(line)
        if "bundle: wheels/node" in line:
            assert dsops("lab", "fault", "mon1", "kill").returncode == 0
            break
    out = "".join(said) + running.communicate(timeout=200)[0]
    assert running.returncode != 0, out
    assert "mon1: connection lost" in out, out
    assert "connection lost to mon1" in out.splitlines()[-1], out
    assert "Traceback" not in out, out
    assert "agent: running: changed on gpu1" in out, out
    assert time.monotonic() - since < 150, "a dead server must not hang the run"
    assert dsops("lab", "up").returncode == 0
    done = deploy("-i", INVENTORY)
    assert done.returncode == 0, done.stdout


def test_a_deploy_that_is_killed_is_made_good_by_the_next() -> None:
    on("gpu2", f"rm -rf {BUNDLE}/wheels; echo '# spoilt' >> /etc/dsops/gateway.toml")
    argv = [sys.executable, "-m", "dsops", "deploy", "-i", str(INVENTORY)]
    running = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(2.5)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(10)
    done = deploy("-i", INVENTORY)
    assert done.returncode == 0, done.stdout
    assert "spoilt" not in on("gpu2", "cat /etc/dsops/gateway.toml")


def post(service: Service, path: str, *, content: str, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or service.key}"}
    return httpx.post(f"{ENDPOINT}{path}", content=content, headers=headers, verify=service.context, timeout=30)


def test_what_a_user_can_get_wrong_is_answered_in_openais_form(fleet: Service) -> None:
    chat = "/v1/chat/completions"
    long = '{"model":"tiny-r1","messages":[{"role":"user","content":"%s"}]}' % ("1+" * 2000)
    cases = [
        (post(fleet, chat, content="{", key="dsops-no"), 401, "invalid_api_key"),
        (post(fleet, chat, content='{"model": "tiny-r1", '), 400, None),
        (
            post(fleet, chat, content='{"model":"gpt-9","messages":[{"role":"user","content":"hi"}]}'),
            404,
            "model_not_found",
        ),
        (post(fleet, chat, content=long), 400, "context_length_exceeded"),
        (post(fleet, "/v1/nothing", content="{}"), 404, None),
        (post(fleet, "/v2/repository/index", content="{}"), 404, None),
        (post(fleet, chat, content='{"model":"tiny-r1","messages":"hi"}'), 400, None),
        (post(fleet, chat, content="x" * (9 << 20)), 413, None),
    ]
    for answer, status, code in cases:
        error = answer.json()["error"]
        print(answer.status_code, error["code"], "|", error["message"])
        assert answer.status_code == status, answer.text
        assert set(error) == {"message", "type", "param", "code"}
        assert code is None or error["code"] == code, error
