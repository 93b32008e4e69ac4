"""Starts the lab's long-lived processes so that they outlive us: under systemd where it runs the machine."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import dsops
from dsops.lab.cgroups import has_systemd
from dsops.lab.place import MARK, Lab
from dsops.lab.run import run, search_path

SUPERVISE = Path(__file__).with_name("supervise.sh")
# As systemd's own systemd-nspawn@.service: exit status 133 is a server that reboots.
PROPERTIES = (
    "Delegate=yes",
    "KillMode=mixed",
    "RestartForceExitStatus=133",
    "SuccessExitStatus=133",
    "TasksMax=16384",
)


def launch(
    lab: Lab,
    part: str,
    argv: list[str],
    *,
    log: Path,
    groups: list[Path],
    env: Mapping[str, str] | None = None,
) -> None:
    """Start a part of the lab. groups: control groups for it where there is no systemd; [] for none."""
    settings = {
        MARK: lab.mark(part),
        "PATH": search_path(),
        "PYTHONPATH": str(Path(dsops.__file__).parents[1]),
        "LC_ALL": "C.UTF-8",
        **(env or {}),
    }
    if has_systemd():
        run(systemd_argv(lab, part, argv, log=log, settings=settings))
        return
    if groups:
        argv = ["sh", str(SUPERVISE), " ".join(map(str, groups)), *argv]
    with log.open("ab") as output:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=settings,
            start_new_session=True,
            cwd="/",
        )


def systemd_argv(lab: Lab, part: str, argv: list[str], *, log: Path, settings: Mapping[str, str]) -> list[str]:
    output = [f"StandardOutput=append:{log}", f"StandardError=append:{log}"]
    properties = [f"--property={line}" for line in (*PROPERTIES, *output)]
    environment = [f"--setenv={name}={value}" for name, value in settings.items()]
    return [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={lab.unit(part)}",
        *properties,
        *environment,
        "--",
        *argv,
    ]
