"""The simulated libnvidia-ml.so.1, built once, and a process that asks it through pynvml."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.lab import gpus
from dsops.lab.place import Server

SERVER = Server("gpu1", 11, gpus=2)
# A process that answers one Python expression a line: "value" or the error's code.
ASKED = """
import json, sys, time
import pynvml as n
from tests.lab.compare_nvml import show
names = {"n": n, "h": None, "time": time}
for line in sys.stdin:
    try:
        value = eval(line, names)
        names["h"] = value if line.startswith("n.nvmlDeviceGetHandleBy") else names["h"]
        names["s"] = value if "EventSetCreate" in line else names.get("s")
        print(json.dumps({"value": show(value)}), flush=True)
    except n.NVMLError as error:
        print(json.dumps({"code": error.value, "text": str(error)}), flush=True)
"""
ROOT = Path(__file__).parents[2]


def env_of(library: Path, folder: Path) -> dict[str, str]:
    """What makes a process of ours find the library and the files."""
    found = {"LD_LIBRARY_PATH": str(library.parent), "DSOPS_LAB_GPUS": str(folder), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **found}


class Reader:
    """h is the GPU asked for last, s the event set made last."""

    def __init__(self, library: Path, folder: Path) -> None:
        argv, pipe = [sys.executable, "-c", ASKED], subprocess.PIPE
        self.process = subprocess.Popen(argv, env=env_of(library, folder), text=True, stdin=pipe, stdout=pipe)

    def send(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, object]:
        assert self.process.stdout
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, expression: str) -> dict[str, object]:
        self.send(expression)
        return self.receive()

    def value(self, expression: str) -> object:
        return self.ask(expression)["value"]

    def code(self, expression: str) -> object:
        return self.ask(expression)["code"]

    def field(self, number: int, *, link: int = 0) -> object:
        """The value of a field, or ("code", its code)."""
        one = f"n.nvmlDeviceGetFieldValues(h, [({number}, {link})])[0]"
        code = self.value(f"{one}.nvmlReturn")
        return ("code", code) if code else self.value(f"{one}.value.ullVal")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc builds the simulated library")
    return gpus.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gpus.reset(tmp_path / "gpus", SERVER)
    return tmp_path / "gpus"


@pytest.fixture
def reader(library: Path, folder: Path) -> Iterator[Reader]:
    one = Reader(library, folder)
    one.ask("n.nvmlInit()")
    one.ask("n.nvmlDeviceGetHandleByIndex(0)")
    yield one
    one.close()
