"""RDMA: what the role brings, what it writes, and what it refuses before anything is changed."""

import re
from pathlib import Path
from typing import Any

import pytest
from dsops.core.topology.probe import PARTS
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_inventory

from roles.rdma import topology as written
from roles.rdma.defaults import Rdma
from roles.rdma.deploy import SOFT_UNIT, find_problem, name_device, rdma
from roles.rdma.modules import LoadedModules, find_modules, modules
from roles.rdma.reload import OutdatedUnits, known
from roles.rdma.topology import ENV, HEAD, TRITON, get_topology, network_files, read_asked, render_triton
from tests.core.topology.recordings import read_parts
from tests.roles.bundle import SOFT_ROCE, fake_data, write_bundle
from tests.roles.here import CommandFailed, Here, write_program
from tests.roles.test_roles import commands
from tests.roles.test_system import Answering

PROBE = "/sys/class/infiniband/*; do"
SYSTEMS = ("debian 12", "ubuntu 22.04", "ubuntu 24.04")


def record(name: str) -> str:
    """A recording as the probe would have said it."""
    parts = read_parts(name)
    said = "".join(f"== {part}\n{parts[part].rstrip()}\n" for part in PARTS if part in parts)
    return said + "== end\n"


def answers(folder: Path, said: str, **more: str) -> dict[Any, Any]:
    """What a server that is not there answers, and this of its topology."""
    found: dict[Any, Any] = {PROBE: said, **more}
    return found | {key: text for key, text in fake_data(folder, folder)["fake_responses"].items() if key != PROBE}


def run(tmp_path: Path, said: str, **data: Any) -> list[str]:
    """What the role would run on a server with this topology."""
    more: dict[str, Any] = {"rdma": "auto", "rdma_soft_interface": "", "dsops_address": ""}
    return commands("rdma", tmp_path, fake_responses=answers(tmp_path, said), **(more | data))


def run_refused(tmp_path: Path, said: str, **data: Any) -> tuple[list[str], bool]:
    """(what it ran on a server that it leaves out, whether it did leave it out)."""
    bundle = write_bundle(tmp_path / "bundle")
    own: dict[str, Any] = {"rdma": "auto", "rdma_soft_interface": "", "dsops_address": ""}
    own |= {"fake_responses": answers(tmp_path, said)} | data
    names = [("@fake/gpu1", {})]
    every = fake_data(bundle, tmp_path / "secrets") | own
    state = State(Inventory((names, every), gpu=(["@fake/gpu1"], {})), Config())  # type: ignore[no-untyped-call]
    with ctx_inventory.use(state.inventory):
        connect_all(state)
        try:
            add_deploy(state, rdma)  # type: ignore[arg-type]
            run_ops(state)
        except PyinfraError:
            pass  # nobody is left
    host: Any = state.inventory.get_host("@fake/gpu1")
    return list(host.connector.executed_commands), bool(state.failed_hosts)


CHANGES = re.compile(r"apt-get|modprobe|cat >|systemctl (enable|start|restart)|install -d")


# What it brings.


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_guest_gets_packages_modules_and_a_soft_device_on_its_interface(tmp_path: Path, system: str) -> None:
    text = "\n".join(commands("rdma", tmp_path, system=system))
    assert all(f"look {name} " in text for name in ("rdma-core", "perftest", "ibverbs-utils", "infiniband-diags"))
    assert "modprobe rdma_rxe" in text
    assert f"systemctl enable --quiet {SOFT_UNIT}" in text
    assert f"cat > {ENV}.dsops-new" in text
    assert f"cat > {TRITON}.dsops-new" in text


def test_the_soft_device_is_made_before_the_map_is_read(tmp_path: Path) -> None:
    said = commands("rdma", tmp_path)
    made = next(
        i for i, line in enumerate(said) if f"systemctl restart {SOFT_UNIT}" in line or "start dsops-rxe" in line
    )
    assert made < next(i for i, line in enumerate(said) if f"cat > {ENV}.dsops-new" in line)


def test_a_server_with_cards_gets_no_soft_device(tmp_path: Path) -> None:
    text = "\n".join(run(tmp_path, record("dgx-h100"), rdma="infiniband"))
    assert "rxe" not in text.replace("rxe0", "")
    assert "modprobe ib_umad" in text
    assert "modprobe mlx5_ib" in text
    assert f"cat > {ENV}.dsops-new" in text


def test_a_sites_own_packages_are_left_to_the_site(tmp_path: Path) -> None:
    text = "\n".join(run(tmp_path, record("dgx-h100"), rdma_packages="site"))
    assert "rdma-core" not in text
    assert "modprobe ib_umad" in text


def test_where_nothing_is_asked_for_nothing_is_done_nor_looked_at(tmp_path: Path) -> None:
    said = run(tmp_path, record("dgx-h100"), rdma="none")
    assert not [line for line in said if "infiniband" in line or CHANGES.search(line)]


def test_a_container_is_left_alone(tmp_path: Path) -> None:
    more = {"systemd-detect-virt": "yes"}
    said = commands("rdma", tmp_path, fake_responses=answers(tmp_path, SOFT_ROCE, **more))
    assert not [line for line in said if CHANGES.search(line)]


# Modules.


def topology(name: str) -> Any:
    return get_topology(record(name), where="gpu1")


@pytest.mark.parametrize(
    ("said", "name", "way", "wanted"),
    [
        (Rdma(rdma="auto"), "dgx-h100", "dmabuf", ["ib_uverbs", "rdma_ucm", "mlx5_ib", "ib_umad"]),
        (Rdma(rdma="auto"), "dgx-h100", "peermem", ["ib_uverbs", "rdma_ucm", "mlx5_ib", "ib_umad", "nvidia_peermem"]),
        (Rdma(rdma="roce"), "roce-bond", "none", ["ib_uverbs", "rdma_ucm", "mlx5_ib"]),
        (Rdma(rdma="soft"), "two-gpus-no-rdma", "none", ["ib_uverbs", "rdma_ucm", "rdma_rxe"]),
    ],
)
def test_the_modules_follow_from_the_cards_and_the_way_to_the_gpus(
    said: Rdma, name: str, way: str, wanted: list[str]
) -> None:
    assert find_modules(said, topology(name), way=way) == wanted


def test_only_modules_that_are_missing_are_loaded() -> None:
    server = Answering(LoadedModules=["ib_uverbs"])
    assert server.perform(modules, names=["ib_uverbs", "rdma_ucm"])
    assert server.ran == ["modprobe rdma_ucm"]
    assert not Answering(LoadedModules=["ib_uverbs"]).perform(modules, names=["ib_uverbs"])


def test_a_module_that_the_kernel_has_is_found_and_one_that_it_has_not_is_missing() -> None:
    assert Here().get_fact(LoadedModules, names=["kernel", "no_such_module"]) == ["kernel"]


def test_a_proprietary_driver_gets_peermem_and_an_open_one_none(tmp_path: Path) -> None:
    assert "modprobe nvidia_peermem" in "\n".join(run(tmp_path, record("roce-bond")))
    assert "nvidia_peermem" not in "\n".join(run(tmp_path / "open", record("dgx-h100")))


# Triton's unit.


def test_another_environment_makes_another_drop_in_so_that_the_slot_is_restarted() -> None:
    """Role engine drains and restarts a slot whose unit's files are newer than its start."""
    one, other = render_triton("NCCL_IB_DISABLE=0\n"), render_triton("NCCL_IB_DISABLE=1\n")
    assert one != other
    assert one == render_triton("NCCL_IB_DISABLE=0\n")
    assert "EnvironmentFile=-/etc/dsops/network.env\nDeviceAllow=char-infiniband_verbs rw\n" in one


def test_systemd_reads_the_drop_in_only_when_it_does_not_know_it() -> None:
    words: dict[str, Any] = {"units": ["triton@a.service"], "path": TRITON}
    outdated = Answering(OutdatedUnits=True)
    assert outdated.perform(known, **words)
    assert outdated.ran == ["systemctl daemon-reload"]
    assert not Answering(OutdatedUnits=False).perform(known, **words)


def test_whether_systemd_knows_a_unit_is_what_it_says(tmp_path: Path) -> None:
    write_program(tmp_path, "systemctl", "printf 'no\\nyes\\n'")
    assert Here(path=str(tmp_path)).get_fact(OutdatedUnits, units=["a", "b"])
    write_program(tmp_path, "systemctl", "printf 'no\\nno\\n'")
    assert not Here(path=str(tmp_path)).get_fact(OutdatedUnits, units=["a", "b"])


# The map.


def asked(**data: Any) -> Any:
    return read_asked(Rdma(**({"rdma": "auto"} | data)), address="", reached="", where="gpu1")


def test_the_file_is_written_with_every_line_below_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "ENV", str(tmp_path / "network.env"))
    monkeypatch.setattr(written, "TOPOLOGY_FILE", str(tmp_path / "topology.xml"))

    class Server(Here):
        def get_fact(self, kind: Any, **arguments: Any) -> Any:
            return record("dgx-h100") if kind.__name__ == "TopologyFact" else super().get_fact(kind, **arguments)

    server = Server()
    assert server.perform(network_files, asked=asked(), has_triton=False)
    text = (tmp_path / "network.env").read_text()
    assert text.startswith(HEAD)
    assert "\nNCCL_IB_HCA==mlx5_0:1,mlx5_3:1," in text
    assert (tmp_path / "topology.xml").read_text().startswith('<system version="1">')
    assert not server.perform(network_files, asked=asked(), has_triton=False)


def test_a_refused_map_leaves_the_older_file_and_says_every_reason() -> None:
    server = Answering(TopologyFact=record("wrong-cabling"), FileState="")
    with pytest.raises(CommandFailed):
        server.perform(network_files, asked=asked(), has_triton=False)
    assert server.ran == ["refuse"]


def test_an_answer_that_was_cut_is_refused() -> None:
    server = Answering(TopologyFact="== sys\n", FileState="")
    with pytest.raises(CommandFailed):
        server.perform(network_files, asked=asked(), has_triton=False)
    assert server.ran == ["refuse"]


def test_a_server_with_a_wrong_map_is_left_out_before_any_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said, is_out = run_refused(tmp_path, record("wrong-cabling"))
    assert is_out
    assert not [line for line in said if CHANGES.search(line)]
    assert "mlx5_6:1: is DOWN, not ACTIVE" in caplog.text
    assert "nothing was changed on this server" in caplog.text


def test_a_map_by_hand_that_costs_is_refused_before_any_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand = [f"{index}=mlx5_0" for index in range(8)]
    _, is_out = run_refused(tmp_path, record("dgx-h100"), rdma_map=by_hand)
    assert is_out
    assert "8x slower" in caplog.text


def test_a_way_to_the_gpus_that_cannot_be_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said, is_out = run_refused(tmp_path, record("two-gpus-no-rdma"), rdma_gpudirect="peermem")
    assert is_out
    assert not [line for line in said if CHANGES.search(line)]
    assert "rdma_gpudirect asks for peermem" in caplog.text


# Settings.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"rdma": "fast"}, "rdma: should be none, auto, infiniband, roce or soft, is 'fast'"),
        ({"rdma": "soft"}, "rdma_soft_interface: should be the name of an interface, is ''"),
        ({"rdma": "soft", "rdma_soft_interface": "eth1; reboot"}, "should be the name of an interface"),
        ({"rdma": "roce", "rdma_soft_interface": "eth1"}, "is given, and rdma is 'roce', not \"soft\""),
        ({"rdma_packages": "ofed"}, "rdma_packages: should be system or site, is 'ofed'"),
        ({"rdma_gpudirect": "yes"}, "rdma_gpudirect: should be auto, dmabuf, peermem or none"),
        ({"rdma_map": ["GPU0"]}, "'GPU0' is no pair of GPU and card"),
        ({"rdma_compute": "mlx5_0"}, "rdma_compute: should be a list of texts"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_change(tmp_path: Path, data: dict[str, Any], words: str) -> None:
    with pytest.raises(DeployError, match=re.escape(words)):
        run(tmp_path, record("dgx-h100"), **data)


def test_the_defaults_are_sound_and_ask_for_nothing() -> None:
    assert find_problem(Rdma()) == ""
    assert Rdma().rdma == "none"


def test_an_interface_has_the_name_that_systemd_gives_it() -> None:
    assert name_device("eth1") == "sys-subsystem-net-devices-eth1.device"
    assert name_device("rail-a") == r"sys-subsystem-net-devices-rail\x2da.device"
