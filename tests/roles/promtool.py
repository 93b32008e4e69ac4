"""Finds promtool and Alertmanager: installed here, or out of the Debian packages that the lab's bundle carries."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUNDLE = Path("/var/lib/dsops-lab/bundle/current")


def find_promtool(folder: Path) -> str:
    """Its path, unpacked below `folder` where it must be; the test is skipped where there is none."""
    return _find("promtool", folder, package="prometheus")


def find_alertmanager(folder: Path) -> list[str]:
    """How Alertmanager itself is started. Debian's finds its templates in /usr/share only: it gets one of its own."""
    name = "prometheus-alertmanager"
    program = _find(name, folder, package=name)
    if not program.startswith(str(folder)):
        return [program]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} is not installed, and who runs this may not give it a /usr/share of its own")
    script = 'mount --bind "$0/usr/share" /usr/share && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(folder), program]


def _find(name: str, folder: Path, *, package: str) -> str:
    if found := shutil.which(name):
        return found
    packages = sorted(BUNDLE.glob(f"apt/monitoring/{package}_*.deb"))
    if not packages:
        pytest.skip(f"{name} is neither installed nor in a lab's bundle; the role runs it on the server")
    subprocess.run(["dpkg-deb", "-x", packages[-1], folder], check=True)
    return str(folder / "usr/bin" / name)
