"""Brings releases to the lab's nodes and back, by the commands that an operator types."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.live.ills.releases import Ill, build_ill, find_lab_signer
from tests.live.site import INVENTORY, dsops, find_status, wait

Done = subprocess.CompletedProcess[str]
Make = Callable[[str], Path]
ILLS = {
    ill.name: ill
    for ill in (
        Ill("calm"),
        Ill("corrupted", corrupt=True),
        Ill("wrong-later", settings={"wrong_after": 50}),
        Ill("dies", settings={"crash_after": 40}),
        Ill("late", settings={"load_sleep": 60}, probe={"load_seconds": 4}),
        Ill("slow", settings={"slow_factor": 10}),
        Ill("fails-often", settings={"fail_every": 20, "fail_after": 60}),  # 5 % of its requests
        Ill("broken", settings={"crash_in_load": 1}),
        Ill("other"),
        Ill("foreign"),
    )
}


class Shelf:
    """Ill releases, each built and signed when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        if name not in self._built:
            self._built[name] = build_ill(ILLS[name], folder=self._folder, signer=find_lab_signer())
        return self._built[name]


def push(release: Path | str, *nodes: str) -> Done:
    """`dsops release push`."""
    return dsops("release", "push", str(release), *nodes, "-i", INVENTORY)


def activate(release: Path | str, *nodes: str) -> Done:
    """`dsops release activate`: returns when each node gave it the traffic, or refused."""
    name = release.name if isinstance(release, Path) else release
    return dsops("release", "activate", name, *nodes, "-i", INVENTORY)


def bring(release: Path, *nodes: str) -> str:
    """Pushed and active on the nodes; its id."""
    for step in (push, activate):
        done = step(release, *nodes)
        assert done.returncode == 0, f"{step.__name__} {release.name}: {done.stdout}{done.stderr}"
    for node in nodes:
        wait(f"{node} serves it", lambda n=node: (find_status(n) or {}).get("release") == release.name, seconds=10)
    return release.name


def roll_back(*words: str) -> Done:
    """`dsops rollback`, answered with yes."""
    return dsops("rollback", *words, "--yes", "-i", INVENTORY)


def read_json(done: Done) -> dict[str, object]:
    """What a command printed with --json."""
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def assert_refused(done: Done, *texts: str) -> None:
    """It failed with these words, and not with a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said, said
    for text in texts:
        assert text in said, said
