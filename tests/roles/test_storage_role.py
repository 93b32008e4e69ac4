"""The storage role against servers that are not there: what it would run, and what it refuses before anything runs."""

import json
import re
import shlex
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_inventory

from roles.storage.choice import HOT, unit_of
from roles.storage.deploy import storage
from roles.storage.tiers import GUARDED, Mount, Mounts, render_unit
from tests.roles.bundle import fake_data, write_bundle

DISKS = Path(__file__).parent / "disks"
SYSTEMS = ("debian 12", "ubuntu 22.04", "ubuntu 24.04")
UUID = "11111111-aaaa-4aaa-8aaa-111111111111"
DIGEST = sha256(render_unit(HOT).replace("@UUID@", UUID).encode()).hexdigest()
LIVE = f"""hot digest {DIGEST}
hot uuid {UUID}
hot enabled enabled
hot pending
hot mounted {UUID} /dev/nvme0n1 rw,nosuid,nodev,noatime
hot under i"""


def run(
    tmp_path: Path, servers: dict[str, dict[str, Any]], *, system: str = "debian 12"
) -> tuple[dict[str, list[str]], list[str]]:
    """(server -> what ran there, the servers that were left out).

    servers: name -> its inventory keys; beside them `disks` (a recording), `mounts` and `container` (what it answers).
    """
    bundle = write_bundle(tmp_path / "bundle", system=system)
    names = []
    for name, keys in servers.items():
        data = fake_data(bundle, tmp_path / "secrets", system=system)
        answers = {
            re.compile(r"lsblk --json"): (DISKS / f"{keys.pop('disks', 'a100-lvm-root')}.txt").read_text(),
            re.compile(r"findmnt --mountpoint"): keys.pop("mounts", ""),
            "systemd-detect-virt": keys.pop("container", "no"),
        }
        data["fake_responses"] = answers | data["fake_responses"]
        names.append((f"@fake/{name}", data | keys))
    state = State(Inventory((names, {})), Config())  # type: ignore[no-untyped-call]
    with ctx_inventory.use(state.inventory):
        connect_all(state)
        deploy: Any = storage
        add_deploy(state, deploy)
        run_ops(state)
    ran = {host.name.removeprefix("@fake/"): list(_connector(host).executed_commands) for host in state.inventory}
    return ran, [host.name.removeprefix("@fake/") for host in state.failed_hosts]


def _connector(host: Any) -> Any:
    return host.connector


def changes(commands: list[str]) -> list[str]:
    """Without what only looks."""
    return [line for line in commands if "-I - " in line or "systemctl restart" in line or "install -d" in line]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tier_is_made_on_every_system(tmp_path: Path, system: str) -> None:
    ran, failed = run(tmp_path, {"gpu1": {"storage_hot": "nvme"}}, system=system)
    assert not failed
    (make,) = [line for line in ran["gpu1"] if "-I - " in line]
    python = "python3.11" if system == "ubuntu 22.04" else "python3"
    assert f"unshare --mount {python} -I - " in make
    said, _ = json.JSONDecoder().raw_decode(next(word for word in shlex.split(make) if word.startswith('{"')))
    assert said["place"] == "/var/lib/dsops"
    (disk,) = said["disks"]
    assert [name[:9] for name in disk["names"]] == ["S4YNNE0N1", "eui.36344"]
    assert (disk["path"], disk["size"], disk["erase"]) == ("/dev/nvme0n1", 1920383410176, False)
    assert [name for name in ("xfsprogs", "mdadm") if any(f"look {name} " in line for line in ran["gpu1"])] == [
        "xfsprogs"
    ]


def test_mdadm_comes_only_where_an_array_is_wanted(tmp_path: Path) -> None:
    keys = {
        "storage_hot": "nvme",
        "storage_cold": "nvme",
        "storage_raid0": True,
        "storage_cold_serials": ("S64HNX0T5",),
    }
    ran, failed = run(tmp_path, {"gpu1": {"disks": "h100-md-root", **keys}})
    assert not failed
    assert any("look mdadm " in line for line in ran["gpu1"])
    cold, hot = [line for line in ran["gpu1"] if "-I - " in line]
    assert ("dsops-cold" in cold, '"array": false' in cold) == (True, True)
    assert ("dsops-hot" in hot, '"array": true' in hot) == (True, True)


def test_an_inventory_that_asks_for_nothing_touches_nothing(tmp_path: Path) -> None:
    ran, failed = run(tmp_path, {"gpu1": {"disks": "a100-lvm-root"}})
    assert not failed
    assert all("systemd-detect-virt" in line for line in ran["gpu1"])


def test_a_container_is_left_alone_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        ran, failed = run(tmp_path, {"gpu1": {"storage_hot": "nvme", "container": "yes"}})
    assert not failed
    assert not changes(ran["gpu1"])
    assert "SKIPPED storage: the tiers: a container has no disks of its own" in caplog.text


def test_wrong_disks_leave_that_server_out_before_any_change_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = {"gpu1": {"storage_hot": "ssd"}, "gpu2": {"storage_hot": "nvme"}}
    ran, failed = run(tmp_path, servers)
    assert failed == ["@fake/gpu1".removeprefix("@fake/")]
    assert all("lsblk" in line or "findmnt" in line or "systemd-detect" in line for line in ran["gpu1"])
    assert any("-I - " in line for line in ran["gpu2"])
    for text in (
        "storage_hot asks for ssd: none is free and fits",
        "mend: put it in",
        "/dev/sdb, 960 GB ssd, INTEL SSDSC2KB960G8, serial PHYF002: holds gpt; holds PMBR; holds /dev/sdb1: ext4",
        "/dev/nvme0n1, 1920 GB nvme, SAMSUNG MZQLB1T9HAJR-00007, serial S4YNNE0N1: free",
        "nothing was changed on this server",
    ):
        assert text in caplog.text


def test_when_no_server_is_left_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(tmp_path, {"gpu1": {"storage_hot": "ssd"}})


def test_a_place_where_something_else_is_mounted_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mounts = "hot mounted c1c9 /dev/sdb1 rw,relatime\nhot under -"
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(tmp_path, {"gpu1": {"storage_hot": "nvme", "mounts": mounts}})
    assert "/dev/sdb1 is mounted at /var/lib/dsops, and not by dsops" in caplog.text


def live(tmp_path: Path, text: str = LIVE) -> list[str]:
    """What runs on a server with a tier."""
    recorded = DISKS / "a100-lvm-root.txt"
    signature = {"signatures": [{"type": "xfs", "label": "dsops-hot", "uuid": UUID}]}
    empty = json.dumps({"signatures": []}, indent=3)
    with_tier = f"=signatures /dev/nvme0n1\n{json.dumps(signature)}"
    disks = recorded.read_text().replace(f"=signatures /dev/nvme0n1\n{empty}", with_tier)
    assert disks != recorded.read_text()
    (tmp_path / "live.txt").write_text(disks)
    ran, failed = run(tmp_path, {"gpu1": {"storage_hot": "nvme", "mounts": text, "disks": tmp_path / "live"}})
    assert not failed
    return [line for line in ran["gpu1"] if "-I - " in line]


def test_a_tier_that_is_as_wanted_is_left_alone(tmp_path: Path) -> None:
    assert not live(tmp_path)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("noatime", "relatime"),
        ("enabled enabled", "enabled disabled"),
        (DIGEST, "0" * 64),
        ("under i", "under -"),
        ("under i", "under i /var/lib/dsops/old"),
        ("pending", "pending dsops-helper.socket"),
        (f"hot mounted {UUID} /dev/nvme0n1 rw,nosuid,nodev,noatime\n", ""),
    ],
)
def test_a_tier_that_drifted_is_mended(tmp_path: Path, was: str, now: str) -> None:
    (line,) = live(tmp_path, LIVE.replace(was, now, 1))
    assert '"erase": true' not in line


def test_what_the_server_says_of_its_mounts_is_read() -> None:
    found = Mounts().process(
        [*LIVE.splitlines(), "cold mounted u2 /dev/sdb rw", "cold under lsattr: Operation not supported"]
    )
    assert found["hot"] == Mount(
        DIGEST, UUID, True, UUID, "/dev/nvme0n1", ("rw", "nosuid", "nodev", "noatime"), GUARDED, ""
    )  # fmt: skip
    assert (found["cold"].uuid, found["cold"].mounted, found["cold"].guard) == ("", "u2", GUARDED)


def test_every_operation_says_what_it_does_to_the_service() -> None:
    text = (Path(__file__).parents[2] / "roles/storage/effects.toml").read_text()
    said = {entry["operation"] for entry in tomllib.loads(text)["effects"]}
    deploy = (Path(__file__).parents[2] / "roles/storage/deploy.py").read_text()
    assert set(re.findall(r'name="(storage: [^"]+)"', deploy)) <= said


def test_the_mount_unit_lets_a_server_without_the_disk_boot() -> None:
    text = render_unit(HOT)
    assert "Options=noatime,nosuid,nodev,nofail\n" in text
    assert "WantedBy=local-fs.target\n" in text
    assert unit_of(HOT) == "var-lib-dsops.mount"
