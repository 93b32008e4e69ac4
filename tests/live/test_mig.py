"""GPUs of the lab divided by a deploy: not with traffic on the node, each slot on its own instance, whole again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.site import INVENTORY, ROOT, Service, dsops, healthy, on, ssh, wait

pytestmark = [pytest.mark.live, pytest.mark.thorough, pytest.mark.timeout(900)]
NODE = "gpu1"
FILES = "/etc/dsops/mig.toml /etc/systemd/system/triton@.service.d/mig.conf /etc/systemd/system/dsops-mig.service"
RECORD = "cat /run/dsops-lab-mig/gpu0.mig 2>/dev/null || true"
DEVICE = (
    "tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value triton@{slot})/environ | grep ^CUDA_VISIBLE_DEVICES="
)


def deploy(folder: Path, layout: str, *slots: str) -> tuple[int, str]:
    """One server, whose GPUs are all divided so."""
    shutil.rmtree(folder / "inventory", ignore_errors=True)
    shutil.copytree(ROOT / "inventory", folder / "inventory")
    with (folder / "inventory/group_data/lab.py").open("a") as stream:
        stream.write(f"\nmig_layouts = {[layout]!r}\nmig_slots = {list(slots)!r}\n")
    done = dsops("deploy", "-i", folder / "inventory/lab.py", "--limit", NODE, timeout=800)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def drain() -> None:
    done = dsops("drain", NODE, "--reason", "MIG", "--wait", "60", "-i", INVENTORY)
    assert done.returncode == 0, done.stdout + done.stderr


def undrain() -> None:
    done = dsops("undrain", NODE, "-i", INVENTORY)
    assert done.returncode == 0, done.stdout + done.stderr
    wait("the node serves", lambda: healthy(NODE))


@pytest.fixture
def whole(fleet: Service) -> Iterator[Service]:
    """Afterwards the server knows nothing of MIG."""
    yield fleet
    ssh(NODE, f"systemctl disable --now dsops-mig; rm -rf {FILES} /run/dsops-mig /run/dsops-lab-mig")
    ssh(NODE, "systemctl daemon-reload")
    done = dsops("deploy", "-i", INVENTORY, "--limit", NODE, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gpus_are_divided_while_drained_and_only_then(whole: Service, tmp_path: Path) -> None:
    bound = ("a: 0/0", "b: 0/1")
    code, said = deploy(tmp_path, "7x1g.10gb", *bound)
    assert code != 0
    assert "the node has traffic" in said
    assert on(NODE, RECORD) == ""
    assert ssh(NODE, f"ls {FILES}").returncode != 0
    code, said = deploy(tmp_path, "7x1g.5gb", *bound)
    assert code != 0
    assert "H100 80GB has no profile 1g.5gb" in said

    drain()
    code, said = deploy(tmp_path, "7x1g.10gb", *bound)
    assert code == 0, said
    assert on(NODE, RECORD).count("gi.") == 7
    undrain()
    slot = on(NODE, "basename $(readlink /var/lib/dsops/lanes/l50)")
    device = on(NODE, f"cat /run/dsops-mig/{slot}.env")
    assert device.startswith("CUDA_VISIBLE_DEVICES=MIG-")
    assert on(NODE, DEVICE.format(slot=slot)) == device

    # As it is wanted: nothing to do, traffic or not. Another layout: not with traffic.
    code, said = deploy(tmp_path, "7x1g.10gb", *bound)
    assert code == 0, said
    code, said = deploy(tmp_path, "2x3g.40gb", *bound)
    assert code != 0
    assert "the node has traffic" in said
    assert on(NODE, RECORD).count("gi.") == 7

    drain()
    code, said = deploy(tmp_path, "off")
    assert code == 0, said
    assert on(NODE, RECORD).split() == ["mode=0", "pending=0"]
    undrain()
