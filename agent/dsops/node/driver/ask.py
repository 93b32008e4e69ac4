"""Loads the driver and asks it, in a child with a deadline: modprobe, NVML and CUDA hang on broken drivers."""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from dsops.core.decode import decode
from dsops.core.drivers.gate import COMPLETED, WELL, Asked
from dsops.core.errors import DsopsError

ARGV = (sys.executable, "-I", "-m", "dsops.node.driver.ask")
SECONDS = 120.0
MODULES = ("nvidia", "nvidia-uvm")
# A fabric that is being trained needs a minute or two after the Fabric Manager's start.
FABRIC_SECONDS, PAUSE = 180.0, 5.0
TRAINING = (1, 2)
MISSING = 12  # NVML's own number for: no library


def ask(argv: Sequence[str] = ARGV, *, seconds: float = SECONDS) -> Asked:
    """Never raises: a driver that does not answer is an answer."""
    try:
        child = subprocess.Popen(list(argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            said, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # Not waited for: one that is stuck in the driver cannot be killed, and ends by itself or never.
            child.kill()
            return Asked(hung=True, says=f"no answer in {seconds:g} s")
        return decode(Asked, json.loads(said), where="the driver's answer")
    except (OSError, ValueError, DsopsError) as error:
        return Asked(hung=True, says=f"the asking process ended without an answer ({error})")


def ask_patiently(
    argv: Sequence[str] = ARGV,
    *,
    seconds: float = SECONDS,
    patience: float = FABRIC_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Asked:
    """The same, again while a fabric is being trained."""
    until = time.monotonic() + patience
    while True:
        asked = ask(argv, seconds=seconds)
        if not any(state in TRAINING for state in asked.fabric) or time.monotonic() > until:
            return asked
        sleep(PAUSE)


def read(nvml: Any) -> Asked:
    """What this very process hears; may hang. nvml: the module pynvml."""
    try:
        nvml.nvmlInit()
        driver = nvml.nvmlSystemGetDriverVersion()
        count = nvml.nvmlDeviceGetCount()
        fabric = tuple(state for i in range(count) if (state := read_fabric(nvml, i)) is not None)
    except nvml.NVMLError as error:
        return Asked(nvml=int(error.value), says=str(error))
    cuda = start_cuda()
    text = driver.decode() if isinstance(driver, bytes) else str(driver)
    return Asked(nvml=WELL, driver=text, gpus=int(count), fabric=fabric, cuda=cuda)


def read_fabric(nvml: Any, index: int) -> int | None:
    """A GPU's state of its fabric; None where it has none, or a driver too old to say."""
    try:
        state = int(nvml.nvmlDeviceGetGpuFabricInfo(nvml.nvmlDeviceGetHandleByIndex(index)).state)
    except nvml.NVMLError:
        return None
    return state if state in (*TRAINING, COMPLETED) else None


def start_cuda() -> int | None:
    """The code of cuInit; None without a library."""
    try:
        return int(ctypes.CDLL("libcuda.so.1").cuInit(0))
    except (OSError, AttributeError):
        return None


def main() -> None:
    """Loads the modules, asks, and prints one line of JSON."""
    import pynvml  # type: ignore[import-untyped]  # here: only the child may touch NVML

    for name in MODULES:
        # What it says is in the kernel's log; whether it worked, NVML says.
        subprocess.run(["modprobe", name], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(json.dumps(asdict(read(pynvml))))


if __name__ == "__main__":
    main()
