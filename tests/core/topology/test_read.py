"""Recordings are read as what they are: the kernel's tree, the driver's list and matrix."""

import subprocess

import pytest
from dsops.core.errors import DsopsError
from dsops.core.topology.distance import find_level, measure
from dsops.core.topology.model import Device, Level
from dsops.core.topology.probe import PARTS, SCRIPT, split_answer
from dsops.core.topology.read import read_topology
from dsops.core.topology.smi import read_listed, read_matrix
from dsops.core.topology.sysfs import read_tree

from tests.core.topology.recordings import FIXTURES, SOUND, drop, read_parts


def test_the_probe_runs_here_and_says_every_part_that_needs_no_driver() -> None:
    done = subprocess.run(["sh", "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    parts = split_answer(done.stdout, where="here")
    assert {*PARTS} - {"gpus", "topo"} <= set(parts)
    assert parts["kernel"].splitlines()[0]
    seen = read_topology(parts, node="here")
    assert seen.cpu.arch
    assert seen.interfaces


def test_the_probe_is_sound_shell_and_fits_on_a_command_line() -> None:
    done = subprocess.run(["sh", "-n"], input=SCRIPT, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(SCRIPT) < 1 << 16


def test_a_file_without_a_text_does_not_spoil_the_one_before() -> None:
    tree = read_tree("/sys/a\t1\n/sys/class/net/bond0/bonding/slaves\n/sys/b\ttwo\nlines\n")
    assert dict(tree.texts) == {"/sys/a": "1", "/sys/b": "two\nlines"}


def test_an_answer_that_was_cut_is_no_answer() -> None:
    with pytest.raises(DsopsError, match="gpu1: its answer about its topology was cut short"):
        split_answer("== sys\n/sys/x\ty\n== kernel\n6.1\n", where="gpu1")


def test_a_recording_without_the_kernels_files_is_refused() -> None:
    with pytest.raises(DsopsError, match="gpu1: has no part `sys`"):
        read_topology({"gpus": "0, 00000000:01:00.0, GPU-1, 9.0, X\n"}, node="gpu1")


@pytest.mark.parametrize("name", [*SOUND, "wrong-cabling"])
def test_the_distance_on_pci_is_what_the_driver_prints(name: str) -> None:
    seen = read_topology(read_parts(name), node=name)
    for gpu in seen.gpus:
        for port in seen.ports:
            assert find_level(gpu, port).name == seen.printed[gpu.index, port.hca], (gpu.label, port.name)


def test_a_guest_that_was_recorded_is_read_with_its_colours() -> None:
    seen = read_topology(read_parts("h100-x2-guest"), node="guest")
    assert [(gpu.index, gpu.device.address, gpu.sm) for gpu in seen.gpus] == [
        (0, "0000:00:06.0", "9.0"),
        (1, "0000:00:07.0", "9.0"),
    ]
    assert "\x1b" in read_parts("h100-x2-guest")["topo"]
    assert seen.software.driver.startswith("NVRM version: NVIDIA UNIX Open Kernel Module")


def test_a_matrix_of_an_older_driver_names_its_cards_in_the_head() -> None:
    text = "\tGPU0\tGPU1\tmlx5_0\tCPU Affinity\nGPU0\t X \tNV12\tPIX\t0-15\nGPU1\tNV12\t X \tSYS\t0-15\n"
    text += "mlx5_0\tPIX\tSYS\t X \n"
    assert read_matrix(text) == {(0, "mlx5_0"): "PIX", (1, "mlx5_0"): "SYS"}
    assert read_matrix("") == {}
    assert read_matrix("NVIDIA-SMI has failed") == {}


def test_a_line_about_a_gpu_that_is_none_is_refused() -> None:
    with pytest.raises(DsopsError, match=r"gpu1: no line about a GPU: .NVIDIA-SMI has failed"):
        read_listed("NVIDIA-SMI has failed because it couldn't communicate\n", where="gpu1")


def test_a_gpu_that_fell_off_the_bus_is_no_topology() -> None:
    parts = drop(read_parts("dgx-h100"), "/sys/bus/pci/devices/0000:61:00.0")
    with pytest.raises(DsopsError, match=r"do not have the same GPUs: 0000:61:00\.0 only the driver has"):
        read_topology(parts, node="gpu1")
    parts = read_parts("dgx-h100")
    parts["gpus"] = "".join(parts["gpus"].splitlines(keepends=True)[:7])
    with pytest.raises(DsopsError, match=r"0000:df:00\.0 only PCI has"):
        read_topology(parts, node="gpu1")


def test_without_a_driver_gpus_count_by_their_address() -> None:
    parts = read_parts("dgx-h100") | {"gpus": "", "topo": ""}
    seen = read_topology(parts, node="gpu1")
    assert [gpu.device.address for gpu in seen.gpus][:2] == ["0000:1b:00.0", "0000:43:00.0"]


def device(address: str, root: str, *bridges: str, node: int = 0) -> Device:
    return Device(address, root, bridges, node=node)


@pytest.mark.parametrize(
    ("other", "level"),
    [
        (device("0000:03:00.1", "pci0000:00", "r", "u", "d1"), Level.PIX),  # another function of the same card
        (device("0000:04:00.0", "pci0000:00", "r", "u", "d2"), Level.PIX),
        (device("0000:06:00.0", "pci0000:00", "r", "u", "d2", "u2"), Level.PXB),
        (device("0000:07:00.0", "pci0000:00", "r", "u", "d2", "u2", "d3"), Level.PXB),
        (device("0000:08:00.0", "pci0000:00", "r9"), Level.PHB),
        (device("0000:41:00.0", "pci0000:40", "r", "u", "d1"), Level.NODE),
        (device("0000:41:00.0", "pci0000:40", "r", "u", "d1", node=1), Level.SYS),
    ],
)
def test_what_lies_between_two_devices_is_counted_on_the_tree(other: Device, level: Level) -> None:
    gpu = device("0000:03:00.0", "pci0000:00", "r", "u", "d1")
    assert measure(gpu, other) is level
    assert measure(other, gpu) is level


def test_every_recording_is_named_in_the_readme() -> None:
    text = (FIXTURES / "README.md").read_text()
    assert all(f"| `{folder.name}` |" in text for folder in FIXTURES.iterdir() if folder.is_dir())
