"""Reads all that NVML says of the GPUs, again and again, one line of JSON each time; a child, since NVML calls hang.

Ends when its standard input does. A value that a GPU or driver does not offer is told as such, and one that could not
be read as an error: nothing is ever made up.
"""

import json
import os
import select
import sys
from typing import Any

from dsops.node.sources import gpu_values
from dsops.node.sources.gpu_values import Value, call, get_text, read_table

PERIOD_SECONDS = 0.25
# NVML's own numbers.
TIMEOUT = 10
XID_CRITICAL = 8
# What an acceptance asks for as checks do, and what it asks for besides; power in mW.
SHARED = frozenset(
    (
        *("memory_total", "processes", "power", "temperature", "clock", "reasons", "nvlinks_active"),
        *("ecc_mode", "ecc_corrected", "ecc_uncorrected", "remap_pending"),
        *("pcie_generation", "pcie_generation_max", "pcie_width", "pcie_width_max"),
    )
)
TABLE = {keys: ask for keys, ask in gpu_values.TABLE.items() if not SHARED.isdisjoint(keys)} | {
    ("uuid",): call("nvmlDeviceGetUUID"),
    ("name",): call("nvmlDeviceGetName"),
    ("serial",): call("nvmlDeviceGetSerial"),
    ("id",): lambda nvml, handle: (f"{nvml.nvmlDeviceGetPciInfo(handle).pciDeviceId >> 16:04x}",),
    ("power_limit",): call("nvmlDeviceGetEnforcedPowerLimit"),
    ("temperature_slowdown",): call("nvmlDeviceGetTemperatureThreshold", 1),
    ("retired_pending",): call("nvmlDeviceGetRetiredPagesPendingStatus"),
}
KEYS = [key for keys in TABLE for key in keys]


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
        try:
            told = read_table(self.nvml, handle, TABLE, gpu=index)
        except self.nvml.NVMLError as error:
            told = [Value(index, key, error=f"{error}") for key in KEYS]
        return {
            "index": index,
            "values": {one.key: one.number for one in told if one.number is not None},
            "words": {one.key: one.text for one in told if one.text},
            "absent": sorted(set(KEYS) - {one.key for one in told}),
            "errors": {one.key: one.error for one in told if one.error},
        }


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
