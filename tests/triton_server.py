"""A real Triton for tests: `with TritonServer(folder=tmp_path) as server:` serves this checkout's model.

The runtime and the engine's Python are built once, in $DSOPS_TEST_CACHE (default build/test-cache). Where the
wheel cannot be had, a test is skipped with the reason.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from dsops.control.bundle import triton_runtime

from tests.ports import find_free_ports

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "model_repo/engines/openvino"
CHECKPOINT = ROOT / "model_repo/checkpoints/tiny-r1/openvino-int8"
START = ROOT / "roles/triton/templates/dsops-triton"
READY_TIMEOUT_S = 60.0


class TritonServer:
    """One Triton with the openvino engine on free loopback ports. `limits` replace those of config.pbtxt."""

    def __init__(
        self,
        *,
        folder: Path,
        checkpoint: Path = CHECKPOINT,
        limits: dict[str, int] | None = None,
        model_files: dict[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._checkpoint = checkpoint
        self._limits = limits or {}
        self._model_files = model_files or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.http_port = find_free_ports(3)
        self.grpc_port = self.http_port + 1
        self.metrics_port = self.http_port + 2
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self.log = folder / "triton.log"

    def __enter__(self) -> Self:
        runtime, engine = ensure_runtime(), ensure_engine()
        models = write_models(
            self._folder / "models",
            checkpoint=self._checkpoint,
            limits=self._limits,
            model_files=self._model_files,
        )
        env = os.environ | {
            "DSOPS_TRITON": str(runtime),
            "DSOPS_ENGINE_VENV": str(engine),
            "DSOPS_MODELS": str(models),
            "DSOPS_TRITON_PORT": str(self.http_port),
            "DSOPS_TRITON_EXIT_TIMEOUT": "5",
            "CACHE_DIRECTORY": str(self._folder / "cache"),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", START, "a"], env=env, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The whole group, as systemd does: a stub outlives a Triton that was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for left in Path("/dev/shm").glob(f"dsops-a-{self.http_port}-*"):
            left.unlink(missing_ok=True)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def find_children(self) -> dict[str, int]:
        """Name and pid of the server's descendants: the stub, and the stub's guardian."""
        found: dict[str, int] = {}
        waiting = [self.pid]
        while waiting:
            parent = waiting.pop()
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                for pid in map(int, _read(task).split()):
                    words = _read(Path(f"/proc/{pid}/cmdline")).split("\0")
                    found["guardian" if "guardian" in " ".join(words) else Path(words[0]).name] = pid
                    waiting.append(pid)
        return found

    def read_metrics(self) -> dict[str, float]:
        """The dsops_engine_* metrics by name without that prefix."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        values = {}
        for line in lines:
            name, _, rest = line.partition("{")
            if name.startswith("dsops_engine_"):
                values[name.removeprefix("dsops_engine_")] = float(rest.split()[-1])
        return values

    def wait_for_metric(self, name: str, value: float, *, timeout_s: float = 10) -> None:
        """Returns once the metric has the value; fails the test otherwise."""
        deadline = time.monotonic() + timeout_s
        while (seen := self.read_metrics()[name]) != value:
            assert time.monotonic() < deadline, f"{name} is {seen}, not {value}"
            time.sleep(0.05)

    def read_settled_metrics(self) -> dict[str, float]:
        """The metrics once the engine idles and has shown all that it did (four times a second)."""
        self.wait_for_metric("running", 0)
        time.sleep(0.6)
        return self.read_metrics()

    def terminate(self, *, timeout_s: float = 20) -> int:
        """SIGTERM, as systemd sends it; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Triton did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/v2/health/ready", timeout=1):
                return True
        except (OSError, urllib.error.URLError):
            return False


def write_models(target: Path, *, checkpoint: Path, limits: dict[str, int], model_files: dict[str, str]) -> Path:
    """A Triton model repository as a release has it. `model_files` adds or replaces files beside model.py."""
    if not (checkpoint / "openvino_model.xml").exists():
        pytest.skip(f"no checkpoint in {checkpoint}")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ENGINE / "llm", target / "llm", ignore=ignore)
    shutil.copytree(checkpoint, target / "llm/1/model")
    for name, text in model_files.items():
        (target / "llm/1" / name).write_text(text)
    config = target / "llm/config.pbtxt"
    lines = [line for line in config.read_text().splitlines() if not any(f'"{key}"' in line for key in limits)]
    lines += [f'parameters {{ key: "{k}" value: {{ string_value: "{v}" }} }}' for k, v in limits.items()]
    config.write_text("\n".join(lines) + "\n")
    return target


def ensure_runtime() -> Path:
    """The Triton runtime, built once for each lock and builder."""
    source = Path(triton_runtime.__file__).read_bytes()
    lock = ROOT / "locks/triton.lock"
    target = find_cache() / f"triton-{_digest(lock.read_bytes() + source)}"
    with _building(target) as missing:
        if missing:
            wheels = find_cache() / "wheels"
            arguments = ["download", "--no-deps", "--require-hashes", "-r", str(lock), "-d", str(wheels)]
            _pip([sys.executable, "-m", "pip", *arguments])
            half = target.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            triton_runtime.build_triton_runtime(next(wheels.glob("nvidia_pytriton-*.whl")), half)
            half.rename(target)
    return target


def ensure_engine() -> Path:
    """The engine's virtual environment, built once for each lock and Python."""
    lock = ROOT / "locks/engine-openvino.lock"
    library = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    if not library.exists():
        pytest.skip(f"this Python has no shared library: {library}")
    target = find_cache() / f"engine-{_digest(lock.read_bytes() + sys.version.encode())}"
    done = target / "done"
    with _building(done) as missing:
        if missing:
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", target], check=True)
            _pip([str(target / "bin/pip"), "install", "--no-deps", "--require-hashes", "-r", str(lock)])
            done.touch()
    return target


def find_cache() -> Path:
    return Path(os.environ.get("DSOPS_TEST_CACHE", ROOT / "build/test-cache"))


@contextmanager
def _building(target: Path) -> Iterator[bool]:
    """Whether it is missing; holds a lock meanwhile, so that tests in parallel build it once."""
    find_cache().mkdir(parents=True, exist_ok=True)
    with (find_cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not target.exists()


def _pip(words: list[str]) -> None:
    done = subprocess.run([*words, "-q"], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""
