"""What the bench does to the lab's nodes: a second release, flips, reloads, and a Triton that takes reloads."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.control.bundle.release import build_release

from tests.live.ills.releases import CHECKPOINT, ROOT, Ill, find_lab_signer, write_profile
from tests.live.moves import push
from tests.live.site import GPUS, find_trouble, node_door, on, restore, ssh, wait

ON_NODE = (Path(__file__).parent / "on_node.py").read_text()
WHO = ("--who", "bench", "--reason", "swaps")
# Until the server's next boot at most. Our own start script refuses what a reload needs, on purpose.
ALLOW = """
set -e
mkdir -p /run/dsops-swaps /run/systemd/system/triton@.service.d
sed -e 's/--model-control-mode=none/--model-control-mode=explicit --load-model=llm/' -e 's/model-repository,//' \
    /opt/dsops/bin/dsops-triton > /run/dsops-swaps/dsops-triton
printf '[Service]\\nExecStart=\\nExecStart=/bin/sh /run/dsops-swaps/dsops-triton %%i\\n' \
    > /run/systemd/system/triton@.service.d/swaps.conf
systemctl daemon-reload
"""
FORBID = "rm -rf /run/dsops-swaps /run/systemd/system/triton@.service.d/swaps.conf; systemctl daemon-reload"


@dataclass
class Counts:
    """What the nodes did. switches: seconds that the helper took to lead all traffic back, journal and locks too."""

    starts: int = 0
    warm: int = 0
    switches: list[float] = field(default_factory=list)
    reloads: list[float] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def build_twin(folder: Path) -> Path:
    """The lab's own release once more, under another id: what comes and goes is as good as what stays."""
    checkpoint = folder / "checkpoint"
    ignore = shutil.ignore_patterns("hf", "problems", "*.py")
    shutil.copytree(CHECKPOINT, checkpoint, copy_function=os.link, ignore=ignore)
    write_profile(checkpoint / "release.toml", Ill("twin"))
    out = folder / "releases"
    return out / build_release(checkpoint / "release.toml", root=ROOT, out=out, signer=find_lab_signer()).id


@contextmanager
def prepared(folder: Path) -> Iterator[str]:
    """The lab as it should be, the twin pushed to all nodes, and Tritons that take reloads; the twin's id."""
    restore()
    twin = build_twin(folder)
    done = push(twin, *GPUS)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        _each(_allow)
        yield twin.name
    finally:
        _each(_forbid)
        restore()


def flip(node: str, *, release: str, counts: Counts) -> None:
    """In as a canary, through all shares, and back: a start, six flips between warm slots, a stop."""
    told = _run(node, "flips", release, counts)
    counts.starts += told.get("starts", 0)
    counts.warm += told.get("warm", 0)
    counts.switches += told.get("seconds", [])


def reload(node: str, *, seconds: float, counts: Counts) -> None:
    """There and back by Triton's own means, within so many seconds: two reloads."""
    counts.reloads += _run(node, "reload", str(seconds / 2), counts).get("seconds", [])


def _run(node: str, what: str, word: str, counts: Counts) -> dict[str, Any]:
    done = ssh(node, f"/opt/dsops/venv/bin/python - {what} {word}", stdin=ON_NODE, timeout=300)
    if done.returncode:
        counts.trouble.append(f"{node}: {what}: {done.stderr[-300:]}")
        return {}
    told = json.loads(done.stdout)
    counts.trouble += [f"{node}: {one}" for one in told["trouble"]]
    return dict(told)


def _each(act: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(len(GPUS)) as pool:
        list(pool.map(act, GPUS))
    wait("all well", lambda: not find_trouble(), seconds=120)


def _allow(node: str) -> None:
    on(node, ALLOW)
    _restart(node)


def _forbid(node: str) -> None:
    on(node, FORBID)
    _restart(node)


def _restart(node: str) -> None:
    done = node_door(node, "restart", "slot", *WHO, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
