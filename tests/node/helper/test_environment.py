"""What surrounds a release: any change of it is seen, and it is kept with what becomes known-good."""

from pathlib import Path

import pytest
from dsops.node.helper.environment import read_environment

from tests.node.helper.conftest import Talk
from tests.node.store.bed import Bed, Made

PARTS = {
    "proc/sys/kernel/osrelease": "6.1.0-30-amd64",
    "sys/module/nvidia/version": "580.159",
    "opt/dsops/triton/bin/tritonserver": "ELF",
    "opt/dsops/bin/dsops-triton": "#!/bin/sh",
    "etc/systemd/system/triton@.service": "[Service]",
    "etc/systemd/system/triton@a.service.d/limit.conf": "[Service]\nMemoryMax=1G",
    "opt/dsops/engines/openvino/venv/lib/python3.11/site-packages/openvino-2026.4.dist-info/METADATA": "",
}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    for name, text in PARTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_it_is_the_same_as_long_as_nothing_changes(server: Path) -> None:
    first = read_environment(server)
    assert len(first) == 12
    (server / "etc/dsops.toml").write_text("x")
    for name, text in PARTS.items():
        (server / name).write_text(text)  # written again, with the same content
    assert read_environment(server) == first


@pytest.mark.parametrize("name", [name for name in PARTS if "dist-info" not in name])
def test_a_part_that_changes_or_goes_is_seen(server: Path, name: str) -> None:
    first = read_environment(server)
    (server / name).write_text("other")
    second = read_environment(server)
    (server / name).unlink()
    assert len({first, second, read_environment(server)}) == 3


def test_another_version_of_a_package_is_seen(server: Path) -> None:
    first = read_environment(server)
    packages = server / "opt/dsops/engines/openvino/venv/lib/python3.11/site-packages"
    (packages / "openvino-2026.4.dist-info").rename(packages / "openvino-2026.5.dist-info")
    assert read_environment(server) != first


def test_a_server_with_none_of_it_has_one_too(tmp_path: Path) -> None:
    assert len(read_environment(tmp_path)) == 12


def test_what_becomes_known_good_keeps_what_surrounded_it(talk: Talk, bed: Bed, one: Made) -> None:
    bed.push(one)
    talk.bring(one.id)
    said = []
    for seconds in (bed.config.bake_seconds, bed.config.known_good_seconds):
        bed.at += seconds
        said.append(talk("age")["state"]["active"].get("environment", ""))
    assert said == ["", talk("environment")["environment"]]
