"""`dsops network plan`: from a recording and from a server, as a page, as JSON and as files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.control.cli import network as verb
from dsops.control.cli.network import network
from dsops.control.fleet import topology
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.ssh import SshDone
from dsops.control.fleet.topology import ask_server, read_asked, read_recording
from dsops.core.errors import DsopsError
from dsops.core.topology.probe import PARTS

from tests.core.topology.recordings import FIXTURES, read_parts


def plan(*words: str) -> Result:
    return CliRunner().invoke(network, ["plan", *words])


def write_inventory(folder: Path, **data: Any) -> Path:
    path = folder / "site.py"
    second = {"ssh_hostname": "192.0.2.32"}
    path.write_text(f"gpu = [('gpu1', { ({'ssh_hostname': '192.0.2.31'} | data)!r}), ('gpu2', {second!r})]\n")
    return path


def answer(parts: Mapping[str, str]) -> str:
    return "".join(f"== {name}\n{parts[name].rstrip()}\n" for name in PARTS if name in parts) + "== end\n"


def test_a_recording_is_planned_without_any_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = plan("--from", str(FIXTURES / "dgx-h100"))
    assert done.exit_code == 0, done.output
    rows = [line.split()[:6] for line in done.output.splitlines() if line.startswith("GPU3 ")]
    assert rows == [["GPU3", "0000:61:00.0", "0", "mlx5_5:1", "PXB", "400"]]
    assert "NCCL_SOCKET_IFNAME==eno3\n    the default route goes through it" in done.output
    assert "not for GPUs: mlx5_1:1: no GPU is below its PCIe switch" in done.output


def test_a_refused_map_says_every_reason_and_no_line() -> None:
    done = plan("--from", str(FIXTURES / "wrong-cabling"))
    assert done.exit_code == 1
    assert done.output.count("mend:") == 3
    assert "NCCL_" not in done.output.replace("NCCL's", "")


def test_json_says_the_same() -> None:
    done = plan("--json", "--from", str(FIXTURES / "roce-bond"))
    said = json.loads(done.output)
    assert said["ok"]
    (node,) = said["nodes"]
    assert node["map"][0]["ports"] == ["mlx5_bond_0:1"]
    assert {"key": "NCCL_IB_GID_INDEX", "value": "3"}.items() <= node["lines"][3].items()
    refused = json.loads(plan("--json", "--from", str(FIXTURES / "wrong-cabling")).output)
    assert not refused["ok"]
    assert {"where", "what", "mend"} == set(refused["nodes"][0]["problems"][0])


def test_a_map_by_hand_is_judged_on_the_command_line() -> None:
    words = [word for gpu in range(8) for word in ("--map", f"{gpu}=mlx5_0")]
    done = plan("--from", str(FIXTURES / "dgx-h100"), *words)
    assert done.exit_code == 1
    assert "8x slower on every all-reduce" in done.output


def test_several_recordings_are_compared_and_written_as_files(tmp_path: Path) -> None:
    second = tmp_path / "dgx-2"
    second.mkdir()
    for name, text in read_parts("dgx-h100").items():
        (second / f"{name}.txt").write_text(text.replace("a088:c203:0012", "a088:c203:0099"))
    done = plan("--from", str(FIXTURES / "dgx-h100"), "--from", str(second), "--write", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/hostfile").read_text() == "dgx-h100 slots=8\ndgx-2 slots=8\n"
    assert "NCCL_IB_HCA==mlx5_0:1" in (tmp_path / "out/dgx-2/network.env").read_text()
    assert (tmp_path / "out/dgx-2/nccl-topology.xml").read_text().startswith("<system")
    same = plan("--from", str(FIXTURES / "dgx-h100"), "--from", str(FIXTURES / "two-gpus-no-rdma"))
    assert same.exit_code == 1
    assert "servers differ in GPUs" in same.output


def test_nothing_is_written_of_a_refused_map(tmp_path: Path) -> None:
    assert plan("--from", str(FIXTURES / "wrong-cabling"), "--write", str(tmp_path / "out")).exit_code == 1
    assert not (tmp_path / "out").exists()


def test_the_settings_of_a_node_count_for_its_recording(tmp_path: Path) -> None:
    path = write_inventory(tmp_path, rdma="infiniband", rdma_aside=["mlx5_0"])
    done = plan("gpu1", "--from", str(FIXTURES / "dgx-h100"), "-i", str(path))
    assert done.exit_code == 1
    assert "the inventory says that it is for something else" in done.output
    assert "GPU0: has no card below its own switch" in done.output


def test_a_server_is_asked_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []

    def run(fleet: object, server: Any, argv: list[str], *, timeout: float) -> SshDone:
        told.append((server.name, argv[0]))
        return SshDone(0, answer(read_parts("dgx-h100")), "")

    monkeypatch.setattr(topology.ssh, "run", run)
    path, folder = write_inventory(tmp_path), tmp_path / "kept"
    done = plan("gpu1", "-i", str(path), "--record", str(folder))
    assert done.exit_code == 0, done.output
    assert told == [("gpu1", "sh")]
    assert "NCCL_SOCKET_IFNAME==eno3\n    has 192.0.2.31" in done.output
    again = plan("--from", str(folder))
    assert again.exit_code == 0
    assert {file.stem for file in folder.iterdir()} == set(PARTS)
    twice = plan("gpu1", "-i", str(path), "--record", str(folder))
    assert isinstance(twice.exception, DsopsError)
    assert "a recording is there already" in str(twice.exception)


def test_a_server_that_cannot_be_asked_is_named_and_the_others_are_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_: object, server: Any) -> Mapping[str, str]:
        if server.name == "gpu2":
            raise DsopsError("cannot connect by SSH", where="gpu2", mend="is it up?")
        return read_parts("dgx-h100")

    monkeypatch.setattr(verb, "ask_server", ask)
    done = plan("gpu1", "gpu2", "-i", str(write_inventory(tmp_path)))
    assert done.exit_code == 2
    assert "gpu1: 8 GPUs, 8 ports" in done.output
    assert "gpu2: could not be asked: cannot connect by SSH" in done.output


def test_a_cut_answer_is_an_error_that_names_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology.ssh, "run", lambda *_, **__: SshDone(0, "== sys\n", ""))
    fleet = get_fleet(write_inventory(tmp_path))
    with pytest.raises(DsopsError, match="gpu1: its answer about its topology was cut short"):
        ask_server(fleet, fleet.get_server("gpu1"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nobody is named"),
        (["gpu1", "gpu2", "--from", "a"], "2 nodes and 1 folders"),
        (["--from", "a", "--record", "b"], "is not recorded again"),
        (["gpu1", "gpu1"], "gpu1 is named twice"),
        (["--from", "nowhere"], "is no recording"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str], says: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(network, ["plan", "-i", str(write_inventory(tmp_path)), *words])
    assert isinstance(done.exception, DsopsError)
    assert says in str(done.exception)
    assert done.exception.mend


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="is no recording of a topology") as caught:
        read_recording(tmp_path)
    assert "--record" in caught.value.mend


def test_a_wrong_type_in_the_inventory_is_named(tmp_path: Path) -> None:
    fleet = get_fleet(write_inventory(tmp_path, rdma_compute="mlx5_0"))
    with pytest.raises(DsopsError, match="gpu1/rdma_compute: should be a list of texts"):
        read_asked(fleet.get_server("gpu1"))
    fleet = get_fleet(write_inventory(tmp_path, rdma="fast"))
    with pytest.raises(DsopsError, match="gpu1/rdma: is 'fast'"):
        read_asked(fleet.get_server("gpu1"))
