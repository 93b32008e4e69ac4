"""Finds promtool: installed here, or out of the Debian package that the lab's bundle carries."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUNDLE = Path("/var/lib/dsops-lab/bundle/current")


def find_promtool(folder: Path) -> str:
    """Its path, unpacked below `folder` where it must be; the test is skipped where there is none."""
    if found := shutil.which("promtool"):
        return found
    packages = sorted(BUNDLE.glob("apt/monitoring/prometheus_*.deb"))
    if not packages:
        pytest.skip("promtool is neither installed nor in a lab's bundle; the role runs it on the server")
    subprocess.run(["dpkg-deb", "-x", packages[-1], folder], check=True)
    return str(folder / "usr/bin/promtool")
