"""Reads all that NVML says of the GPUs, again and again, one line of JSON each time; a child, since NVML calls hang.

Ends when its standard input does. A value that a GPU or driver does not offer is told as such, and one that could not
be read as an error: nothing is ever made up.
"""

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dsops.node.sources.gpu_values import get_text

PERIOD_SECONDS = 0.25
# NVML's own numbers: not supported; not found in this driver. INVALID_ARGUMENT: there is no such link.
ABSENT = (3, 13)
INVALID_ARGUMENT = 2
TIMEOUT = 10
XID_CRITICAL = 8
SM = 1
GPU_SENSOR = 0
SLOWDOWN = 1
VOLATILE = 0
CORRECTED, UNCORRECTED = 0, 1
MOST_LINKS = 18


class Lines:
    """One sweep after the other, with the Xids between them."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self.events: Any = None
        self.events_lack = ""

    def sweep(self) -> dict[str, Any]:
        """Everything of every GPU; `error` instead when the driver does not answer as it should."""
        try:
            count = self.nvml.nvmlDeviceGetCount()
            handles = [self.nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            driver = get_text(self.nvml.nvmlSystemGetDriverVersion())
            self.listen(handles)
            xids = self.hear()
        except self.nvml.NVMLError as error:
            return {"error": f"NVML: {error}"}
        gpus = [self.read(index, handle) for index, handle in enumerate(handles)]
        return {"error": "", "driver": driver, "gpus": gpus, "xids": xids, "xids_lack": self.events_lack}

    def listen(self, handles: list[Any]) -> None:
        """Asks once to be told of Xids."""
        if self.events is not None or self.events_lack:
            return
        try:
            events = self.nvml.nvmlEventSetCreate()
            for handle in handles:
                self.nvml.nvmlDeviceRegisterEvents(handle, XID_CRITICAL, events)
            self.events = events
        except self.nvml.NVMLError as error:
            self.events_lack = f"{error}"

    def hear(self) -> list[dict[str, Any]]:
        """The Xids since the last time."""
        heard: list[dict[str, Any]] = []
        while self.events is not None:
            try:
                event = self.nvml.nvmlEventSetWait_v2(self.events, 1)
                heard.append({"uuid": get_text(self.nvml.nvmlDeviceGetUUID(event.device)), "xid": int(event.eventData)})
            except self.nvml.NVMLError as error:
                if error.value != TIMEOUT:
                    raise
                break
        return heard

    def read(self, index: int, handle: Any) -> dict[str, Any]:
        """One GPU: its values, which it does not offer, and which could not be read."""
        values: dict[str, float] = {}
        words: dict[str, str] = {}
        absent: list[str] = []
        errors: dict[str, str] = {}
        for name, ask in self.list_questions(handle):
            try:
                said = ask()
            except self.nvml.NVMLError as error:
                if error.value in ABSENT:
                    absent.append(name)
                else:
                    errors[name] = f"{error}"
                continue
            if isinstance(said, str):
                words[name] = said
            elif isinstance(said, dict):
                values |= said
            else:
                values[name] = said
        return {"index": index, "values": values, "words": words, "absent": absent, "errors": errors}

    def list_questions(self, handle: Any) -> Iterator[tuple[str, Callable[[], str | float | dict[str, float]]]]:
        """(name, how to ask)."""
        nvml = self.nvml
        yield "uuid", lambda: get_text(nvml.nvmlDeviceGetUUID(handle))
        yield "name", lambda: get_text(nvml.nvmlDeviceGetName(handle))
        yield "serial", lambda: get_text(nvml.nvmlDeviceGetSerial(handle))
        yield "id", lambda: f"{nvml.nvmlDeviceGetPciInfo(handle).pciDeviceId >> 16:04x}"
        yield "memory", lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        yield "users", lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        yield "power", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        yield "power_limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        yield "temperature", lambda: int(nvml.nvmlDeviceGetTemperature(handle, GPU_SENSOR))
        yield "temperature_slowdown", lambda: int(nvml.nvmlDeviceGetTemperatureThreshold(handle, SLOWDOWN))
        yield "clock", lambda: int(nvml.nvmlDeviceGetClockInfo(handle, SM))
        yield "reasons", lambda: int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        yield "ecc_on", lambda: int(nvml.nvmlDeviceGetEccMode(handle)[0])
        for name, kind in (("ecc_corrected", CORRECTED), ("ecc_uncorrected", UNCORRECTED)):
            yield name, lambda kind=kind: int(nvml.nvmlDeviceGetTotalEccErrors(handle, kind, VOLATILE))  # type: ignore[misc]
        yield "remap", lambda: self.read_remap(handle)
        yield "pcie_generation", lambda: int(nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle))
        yield "pcie_generation_max", lambda: int(nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle))
        yield "pcie_width", lambda: int(nvml.nvmlDeviceGetCurrPcieLinkWidth(handle))
        yield "pcie_width_max", lambda: int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))
        yield "nvlinks", lambda: self.count_links(handle)

    def read_remap(self, handle: Any) -> dict[str, float]:
        """Rows that wait for a reset, and those that could not be moved; older GPUs retire pages instead."""
        nvml = self.nvml
        try:
            _, _, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
            return {"remap_pending": int(pending), "remap_failed": int(failed)}
        except nvml.NVMLError as error:
            if error.value not in ABSENT:
                raise
            return {"remap_pending": int(nvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))}

    def count_links(self, handle: Any) -> float:
        """NVLinks that are up; raises as "not supported" when there is none at all."""
        up, there = 0, 0
        for link in range(MOST_LINKS):
            try:
                up += int(self.nvml.nvmlDeviceGetNvLinkState(handle, link))
                there += 1
            except self.nvml.NVMLError as error:
                if error.value not in (*ABSENT, INVALID_ARGUMENT):
                    raise
        if not there:
            raise self.nvml.NVMLError(ABSENT[0])
        return up


def say(said: dict[str, Any]) -> None:
    """One line."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Sweeps until nobody listens."""
    try:
        import pynvml  # type: ignore[import-untyped]  # here: only the child may touch NVML
    except ImportError as error:
        say({"error": f"no NVML here ({error})"})
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        say({"error": f"NVML: {error}"})
        return
    lines = Lines(pynvml)
    while True:
        say(lines.sweep())
        ready, _, _ = select.select([sys.stdin], [], [], PERIOD_SECONDS)
        if ready and not os.read(sys.stdin.fileno(), 4096):
            return


if __name__ == "__main__":
    main()
