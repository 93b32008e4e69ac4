"""Measurements for tests: a sound node of two H100s, and whatever a test wants to be otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dsops.core.accept.figures import ALL, Scope
from dsops.core.accept.judge import Floors, Rules
from dsops.core.accept.measured import NODE, Fault, Figure, Gap, Gpu, Lack, Measurement, Sound

MACHINE = "0123456789abcdef0123456789abcdef"
H100 = "NVIDIA H100 80GB HBM3"
SOUND = {
    "xids": 0.0,
    "ecc_uncorrected": 0.0,
    "ecc_corrected": 0.0,
    "ecc_on": 1.0,
    "remap_pending": 0.0,
    "remap_failed": 0.0,
    "slowdown": 0.0,
    "memory_write": 3139.0,
    "memory_read": 2954.0,
    "copy_rate": 2946.0,
    "triad_rate": 3008.0,
    "product_rate": 728.0,
    "fp8_rate": 1200.0,
    "host_to_device": 54.4,
    "device_to_host": 54.7,
    "power_share": 98.0,
    "clock": 1410.0,
    "temperature": 61.0,
    "pcie_generation": 5.0,
    "pcie_width": 16.0,
    "nvlinks": 18.0,
}
UNITS = {about.name: about.unit for about in ALL}
FLOORS = Floors(
    "H100 SXM5 80GB",
    "measured",
    "2026-11-22",
    {
        "memory_write": 2900,
        "memory_read": 2750,
        "copy_rate": 2750,
        "triad_rate": 2750,
        "product_rate": 640,
        "fp8_rate": 1000,
        "host_to_device": 50,
        "device_to_host": 50,
        "peer_rate": 340,
        "all_reduce": 300,
        "nvlinks": 18,
    },
)
RULES = Rules(floors={"2330": FLOORS}, gpus=2)
LOOKS = ("memory", "copy", "triad", "host", "product", "repeat", "fp8", "peer")


def make_gpu(index: int, *, node: str = "a") -> Gpu:
    return Gpu(index, f"GPU-{node}-{index}", H100, f"16530{index}", "2330", 85_520_809_984)


def make(count: int = 2, *, node: str = "a", **changes: Any) -> Measurement:
    """A sound one."""
    figures = [Figure(name, value, UNITS[name], index) for index in range(count) for name, value in SOUND.items()]
    figures += [Figure("peer_rate", 394.0, "GB/s", index, 1 - index) for index in range(count) if count > 1]
    figures += [Figure("all_reduce", 329.0, "GB/s")] if count > 1 else []
    figures += [Figure("gpu_count", count), Figure("storage_read", 3100.0, "MB/s"), Figure("nic", 100_000.0, "Mb/s")]
    sounds = [Sound(part, index) for index in range(count) for part in LOOKS]
    sounds += [Sound("all-reduce")]
    made = Measurement(
        machine=MACHINE,
        host="gpu1",
        kernel="6.1.0-26-amd64",
        driver="580.159.04",
        dsops="0.1",
        torch="2.11.0+cu130",
        seconds=41.0,
        gpus=tuple(make_gpu(index, node=node) for index in range(count)),
        figures=tuple(figures),
        sounds=tuple(sounds),
    )
    return replace(made, **changes)


Change = Callable[[Measurement], Measurement]


def turn(name: str, value: float, *, gpu: int = 1) -> Change:
    """One figure is another one; of one GPU, or of the node."""

    def change(one: Measurement) -> Measurement:
        assert any((figure.name, figure.gpu) == (name, gpu) for figure in one.figures), name
        figures = [
            replace(figure, value=value) if (figure.name, figure.gpu) == (name, gpu) else figure
            for figure in one.figures
        ]
        return replace(one, figures=tuple(figures))

    return change


def spoil(part: str, what: str = "3 words of 32 bits are wrong", *, gpu: int = 1) -> Change:
    """A part found something wrong."""

    def change(one: Measurement) -> Measurement:
        sounds = tuple(sound for sound in one.sounds if (sound.part, sound.gpu) != (part, gpu))
        return replace(one, sounds=sounds, faults=(*one.faults, Fault(part, what, gpu)))

    return change


def lose(name: str, lack: Lack | None, *, gpu: int = 1) -> Change:
    """A figure or a look is not there; lack None: and nobody says why."""

    def change(one: Measurement) -> Measurement:
        figures = tuple(figure for figure in one.figures if (figure.name, figure.gpu) != (name, gpu))
        sounds = tuple(sound for sound in one.sounds if (sound.part, sound.gpu) != (name, gpu))
        gaps = (*one.gaps, Gap(name, lack, "for a reason", gpu)) if lack else one.gaps
        return replace(one, figures=figures, sounds=sounds, gaps=gaps)

    return change


def list_all(one: Measurement) -> list[tuple[str, int]]:
    """Everything that is judged on a node: (name, GPU)."""
    per_gpu = [about.name for about in ALL if about.scope in (Scope.GPU, Scope.PAIR)]
    whole = [(about.name, NODE) for about in ALL if about.scope in (Scope.GPUS, Scope.NODE)]
    return [(name, gpu.index) for gpu in one.gpus for name in per_gpu] + whole
