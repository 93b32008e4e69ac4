"""Runs a rollout in the background: a process of its own that ends with nobody's terminal, and writes a log."""

import subprocess
import sys
import time
from pathlib import Path

import click

from dsops.control.cli.rollout.options import Site
from dsops.core.errors import DsopsError

DETACH = click.option(
    "--detach", "in_background", is_flag=True, help="Run it in the background, with a log file beside the state."
)
STARTS = 20.0  # seconds until it holds the lock


def detach(site: Site, number: int, *, reason: str, without_alerts: bool, every: float) -> None:
    """Starts the controller and says where its words go. Raises DsopsError with them when it does not begin."""
    log = find_log(site.store.folder, number)
    argv = [sys.executable, "-m", "dsops", "rollout", "resume", "--reason", reason]
    argv += ["--inventory", str(site.fleet.path), "--state", str(site.store.folder.resolve())]
    argv += ["--every", f"{every:g}"]
    argv += ["--without-alerts"] if without_alerts else []
    with log.open("a") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    _wait_held(site, process, log)
    click.echo(f"rollout {number} runs in the background, process {process.pid}; its words go to {log}")
    click.echo("`dsops rollout status` shows it; `dsops rollout pause`, `resume` and `abort` are heard by it")


def find_log(folder: Path, number: int) -> Path:
    """One for each rollout; no part of a backup."""
    return folder.resolve() / f"rollout-{number}.log"


def _wait_held(site: Site, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + STARTS
    while process.poll() is None and time.monotonic() < end:
        holder = site.holder
        if holder and holder.held and holder.pid == process.pid:
            return
        time.sleep(0.1)
    if process.poll() == 0:
        return  # there was nothing left to do
    words = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise DsopsError(f"the controller did not begin: {words}", where=str(log), mend="`dsops rollout resume` by hand")
