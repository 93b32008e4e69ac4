"""What the agent costs a GPU server: a loop of bf16 products with and without it, its sweep, its memory, its CPU.

Run by `make bench-agent` on a server with a GPU and PyTorch; 5 minutes. With TRITON (a folder with bin/tritonserver,
as the bundle has it) and VENV (with what the engine imports) the agent also watches a real Triton that serves tiny-r1;
the model computes on the CPU, so that the GPU has only the products. The agent is the product's own, with the real
NVML, its own state and its own port; where another one runs, or a slot a, the bench says so and ends.
Loops with and without it take turns, in both orders, each after the same rest; each pair is one ratio.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from dsops.control.bundle.release import build_release
from dsops.core.lanes import LANES
from dsops.node.sources.gpu_child import GpuChild

ROOT = Path(__file__).resolve().parents[2]
AGENT = "http://127.0.0.1:9419"
TRITON = "http://127.0.0.1:8100"
PAIRS, LOOP_S, SIDE, PER_SYNC = 10, 8.0, 8192, 50
REST_S = 4.0  # before every loop, so that the GPU is as cool with the agent as without


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triton", type=Path, help="folder with bin/tritonserver, lib and backends")
    parser.add_argument("--venv", type=Path, help="virtual environment with what the engine imports")
    given = parser.parse_args()
    if (given.triton is None) != (given.venv is None):
        parser.error("--triton and --venv belong together")
    loop = make_loop()
    asyncio.run(sweep())
    with tempfile.TemporaryDirectory(prefix="dsops-bench-") as name:
        state = Path(name)
        state.chmod(0o755)  # Triton's stub may run as another
        if given.triton is None:
            write_config(state, slot=False)
            measure(state, loop)
        else:
            lay_release(state)
            with triton(state, given.triton, given.venv):
                write_config(state, slot=True)
                measure(state, loop)


def make_loop() -> Callable[[], float]:
    """A loop of products of two 8192 x 8192 bf16 matrices for 8 s, warmed up; it gives products a second."""
    import torch  # type: ignore[import-not-found]  # only GPU servers have it

    if not torch.cuda.is_available():
        sys.exit("error: this server has no GPU that PyTorch can use\n  mend: run it on a GPU server")
    print(torch.cuda.get_device_name(), "driver", read_driver())
    left = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
    right, out = torch.randn_like(left), torch.empty_like(left)

    def loop() -> float:
        torch.cuda.synchronize()
        began, done = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < LOOP_S:
            for _ in range(PER_SYNC):
                torch.mm(left, right, out=out)
            torch.cuda.synchronize()
            done += PER_SYNC
        return done / took

    loop()
    return loop


def read_driver() -> str:
    """The version of the loaded driver, as the kernel module says it."""
    path = Path("/sys/module/nvidia/version")
    return path.read_text().strip() if path.exists() else "unknown"


async def sweep() -> None:
    """Prints how long one reading of all GPUs takes, in the child process that the agent uses."""
    child, took = GpuChild(deadline=20.0), []
    for _ in range(16):
        began = time.perf_counter()
        reading = await child.read()
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.2)
    await child.close()
    rest = took[1:]
    print(
        f"sweep of {len(reading.gpus)} GPUs, {len(reading.values)} values: first {took[0] * 1e3:.0f} ms,"
        f" then {statistics.median(rest) * 1e3:.1f} ms (median), {max(rest) * 1e3:.1f} ms (most)",
        flush=True,
    )


def lay_release(state: Path) -> None:
    """tiny-r1 as a release in slot a, as `dsops deploy` leaves it."""
    made = state / "made"
    build_release(ROOT / "model_repo/checkpoints/tiny-r1/release.toml", root=ROOT, out=made, signer=None)
    release = next(made.glob("r*"))
    for folder in ("releases", "slots", "lanes", "cache"):
        (state / folder).mkdir()
    shutil.move(release, state / "releases")
    (state / "slots/a").symlink_to(f"../releases/{release.name}")
    for lane in LANES:
        (state / "lanes" / lane).symlink_to("../slots/a")


@contextmanager
def triton(state: Path, folder: Path, venv: Path) -> Iterator[None]:
    """A real Triton on slot a, ready; ended afterwards."""
    env = os.environ | {
        "DSOPS_TRITON": str(folder.resolve()),
        "DSOPS_ENGINE_VENV": str(venv.resolve()),
        "DSOPS_MODELS": str(state / "slots/a/models"),
        "CACHE_DIRECTORY": str(state / "cache"),
    }
    command = ["sh", str(ROOT / "roles/triton/templates/dsops-triton"), "a"]
    check_free(TRITON + "/v2/health/ready")
    log = state / "triton.log"
    with log.open("wb") as said:
        server = subprocess.Popen(command, env=env, stdout=said, stderr=said, start_new_session=True)
    try:
        took = wait_for(TRITON + "/v2/health/ready", server, log, seconds=60)
        print(f"Triton ready after {took:.1f} s", flush=True)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def write_config(state: Path, *, slot: bool) -> None:
    """The agent's configuration: every GPU that the server has, and slot a if there is one."""
    count = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    text = f"""node = "bench"
role = "{"gpu" if slot else "none"}"
listen = "{AGENT.removeprefix("http://")}"
state = "{state}"
history = "{state}/history.db"
kernel_log = "/dev/kmsg"
[gpus]
expected = {count}
"""
    if slot:
        text += '[[slots]]\nname = "a"\nhttp = 8100\nmetrics = 8102\n'
    (state / "agent.toml").write_text(text)


@contextmanager
def agent(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent, answering; ended afterwards."""
    command = [sys.executable, "-m", "dsops.node.agent", "--config", str(state / "agent.toml")]
    check_free(AGENT + "/v1/status")
    log = state / "agent.log"
    with log.open("ab") as said:
        started = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        wait_for(AGENT + "/v1/status", started, log, seconds=20)
        yield started
    finally:
        started.terminate()
        started.wait(10)


def measure(state: Path, loop: Callable[[], float]) -> None:
    """The pairs of loops, then memory, CPU and what the agent says."""
    with_agent: list[float] = []
    without: list[float] = []
    for pair in range(PAIRS):
        for on in (False, True) if pair % 2 else (True, False):
            rested = time.monotonic() + REST_S
            with agent(state) if on else nullcontext():
                time.sleep(max(0.0, rested - time.monotonic()))
                (with_agent if on else without).append(loop())
        print(f"pair {pair + 1} of {PAIRS}: {with_agent[-1]:.1f} with, {without[-1]:.1f} without", flush=True)
    ratios = [a / b for a, b in zip(with_agent, without, strict=True)]
    slower = sorted(100 * (1 - ratio) for ratio in ratios)
    print(f"products/s: {statistics.median(with_agent):.1f} with, {statistics.median(without):.1f} without the agent")
    print(
        f"slower by {statistics.median(slower):+.2f} % (median of {PAIRS} pairs, {slower[0]:+.2f} to {slower[-1]:+.2f})"
    )
    with agent(state) as started:
        time.sleep(5)
        ticks, began = read_ticks(started.pid), time.monotonic()
        time.sleep(20)
        ticks, took = read_ticks(started.pid) - ticks, time.monotonic() - began
        print(f"CPU of the agent and its child: {100 * ticks / os.sysconf('SC_CLK_TCK') / took:.1f} % of a core")
        print("memory, MiB:", " + ".join(f"{read_rss(pid):.0f}" for pid in find_tree(started.pid)))
        status = read_json(AGENT + "/v1/status")
        print(f"it says: {status['phase']}, {status['condition']} {status['condition_reason']}")
        for finding in status["findings"]:
            print(f"  {finding['code']}: {finding['reason']}")


def find_tree(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for one in found:
        said = subprocess.run(["pgrep", "-P", str(one)], capture_output=True, text=True, check=False).stdout
        found += [int(word) for word in said.split()]
    return found


def read_ticks(pid: int) -> int:
    """CPU time of a process and its children, clock ticks."""
    stats = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in find_tree(pid))
    return sum(int(fields[11]) + int(fields[12]) for fields in stats)  # utime, stime


def read_rss(pid: int) -> float:
    """Resident memory, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def check_free(url: str) -> None:
    """Ends the bench where somebody else answers there already."""
    if answers(url):
        sys.exit(f"error: something else answers on {url}\n  mend: run it where neither agent nor slot a runs")


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, *, seconds: float) -> float:
    """Seconds until it answered; ends the bench with the process's log where it ended, or never answered."""
    began = time.monotonic()
    while not answers(url):
        said = f"ended with code {process.poll()}" if process.poll() is not None else ""
        if not said and time.monotonic() - began > seconds:
            said = f"does not answer on {url} within {seconds:g} s"
        if said:
            sys.exit(f"error: what the bench started {said}:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return time.monotonic() - began


def answers(url: str) -> bool:
    """Whether the address answers with 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def read_json(url: str) -> Any:
    """What the address answers."""
    with urllib.request.urlopen(url, timeout=3) as reply:
        return json.load(reply)


if __name__ == "__main__":
    main()
