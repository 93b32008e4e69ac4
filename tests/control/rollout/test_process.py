"""Controllers as real processes over real SSH: steered from outside, killed, taken over in the background, stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dsops.control.audit import Chain
from dsops.control.cli.rollout import rollout
from dsops.control.fleet.epoch import take_epoch

from tests.control.rollout.site import Site, run_site
from tests.control.rollout.world import NEW

pytestmark = pytest.mark.slow
START = ("start", NEW, "--reason", "new build", "--yes", "--steps", "1,100", "--every", "0.2")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with run_site(tmp_path, "gpu1", "gpu2") as site:
        yield site


def begin(site: Site, *words: str) -> subprocess.Popen[str]:
    """`dsops rollout WORDS` as a process."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", "dsops", "rollout", *site.argv(*words)]
    # Where pytest runs in the background, ctrl-C is ignored, and children inherit that.
    take = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=take)


def wait(is_so: Callable[[], object], what: object) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.1)


def status(site: Site) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(site.call(rollout, "status", "--json").stdout)
    return data


def find_pid(site: Site) -> int:
    controller = status(site)["controller"]
    return int(controller["pid"]) if controller else 0


def test_one_is_steered_killed_gone_on_with_in_the_background_and_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    first = begin(site, *START)
    try:
        wait(lambda: site.nodes["gpu1"].share == 1, "the canary")
        assert find_pid(site) == first.pid
        assert "is paused" in site.call(rollout, "pause", "--reason", "lunch").stdout
        assert status(site)["rollout"]["status"] == "paused"
        assert "goes on" in site.call(rollout, "resume").stdout
        assert status(site)["rollout"]["status"] == "running"
    finally:
        first.kill()
        first.wait()
    assert find_pid(site) == 0
    said = site.call(rollout, "resume", "--detach", "--every", "0.2", "--reason", "it was killed")
    assert said.exit_code == 0, (said.output, said.exception)
    assert "runs in the background, process " in said.stdout
    pid, log = find_pid(site), site.state / "rollout-1.log"
    try:
        assert pid not in (0, first.pid)
        assert "is being taken back" in site.call(rollout, "abort", "--reason", "no").stdout
        wait(lambda: not status(site)["active"], "the end")
        wait(lambda: f"{NEW} was taken back: aborted by " in log.read_text(), "its last words")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert {node.share for node in site.nodes.values()} == {0}
    epochs = {
        words[words.index("--epoch") + 1] for node in site.nodes.values() for words in node.words if "--epoch" in words
    }
    assert epochs == {"1", "2"}
    told = [entry.act for entry in Chain(site.state).read_entries() if entry.act.who != "dsops"]
    steered = [(act.verb, act.why, act.epoch.number) for act in told if act.verb.startswith("rollout")]
    assert steered == [
        ("rollout start", "new build", 1),
        ("rollout pause", "lunch", 1),
        ("rollout resume", "goes on", 1),
        ("rollout resume", "it was killed", 2),
        ("rollout abort", "no", 2),
    ]


def test_ctrl_c_leaves_the_nodes_as_they_are_and_says_how_to_go_on(site: Site) -> None:
    process = begin(site, *START)
    wait(lambda: site.nodes["gpu1"].share == 1, "the canary")
    wait(lambda: status(site)["rollout"]["parts"][0]["share"] == 1, "seen")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Stopped looking. The nodes stay as they are (gpu1 1 %), and each goes on watching its own canary." in said
    assert "Go on: `dsops rollout resume`." in said
    assert "Traceback" not in said
    assert site.nodes["gpu1"].share == 1


def test_another_command_in_the_middle_ends_it_in_words(site: Site) -> None:
    process = begin(site, *START)
    wait(lambda: site.nodes["gpu1"].share == 1, "the canary")
    take_epoch(site.state, inventory=site.inventory)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "error: another command has taken epoch 2 meanwhile; this rollout has 1: this controller gives no" in said
    assert "mend: `dsops rollout status`; `dsops rollout resume` takes the next epoch and goes on" in said
    assert "Traceback" not in said


def test_one_that_begins_in_the_background_comes_to_its_end_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    words = ("start", NEW, "--reason", "new", "--yes", "--detach", "--steps", "100", "--min-sample", "100")
    log = site.state / "rollout-1.log"
    said = site.call(rollout, *words, "--canary-minutes", "0.01", "--every", "0.2")
    assert said.exit_code == 0, (said.output, said.exception)
    assert "rollout 1 runs in the background, process " in said.stdout
    wait(lambda: not status(site)["active"], lambda: (status(site)["rollout"]["hold"], log.read_text()))
    assert status(site)["outcome"] == "done"
    wait(lambda: f"{NEW} has all the traffic of 2 of 2 nodes." in log.read_text(), "its last words")
