"""Who else drives the GPUs: nouveau, drivers from several sources, other agents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dsops.control.doctor.answer import Answer
from dsops.control.doctor.finding import Finding, ok, warning
from dsops.control.doctor.ports import Listener

# Packages whose versions must be one: the module, its libraries, and what talks to both.
OF_DRIVER = re.compile(
    r"^(nvidia-driver|nvidia-kernel-(open-)?(dkms|source|common)|libnvidia-(compute|ml1|cfg1)|libcuda1|nvidia-utils"
    r"|cuda-drivers(-fabricmanager)?|nvidia-fabricmanager|nvidia-dkms|nvidia-headless)(-\d+)?(-server|-open)*(:\w+)?$"
)
VERSION = re.compile(r"^(?:\d+:)?(\d+)\.(\d+)")
# Process or unit -> what it is. Two that reset, restart or set clocks get in each other's way.
AGENTS = {
    "nv-hostengine": "DCGM's host engine",
    "dcgm-exporter": "DCGM's exporter",
    "gpud": "gpud",
    "nvsm": "NVSM",
    "nvidia_gpu_exporter": "a GPU exporter",
}
UNITS = {"nvidia-dcgm": "nv-hostengine", "dcgm": "nv-hostengine", "dcgm-exporter": "dcgm-exporter", "gpud": "gpud"}
# Docker's ways to the GPUs: whoever may start a container there takes them beside us.
RUNTIMES = ("nvidia-docker2", "nvidia-container-runtime")
MANAGER = "nvidia-fabricmanager"


@dataclass(frozen=True)
class Drivers:
    """module: version of NVIDIA's loaded one, empty when none is. packages: (name, version). units: (unit, state)."""

    module: str = ""
    has_nouveau: bool = False
    packages: tuple[tuple[str, str], ...] = ()
    is_runfile: bool = False
    units: tuple[tuple[str, str], ...] = ()

    @property
    def manager(self) -> str:
        """State of the Fabric Manager's unit; empty when it is not installed."""
        state = dict(self.units).get(MANAGER, "")
        installed = any("fabricmanager" in name for name, _ in self.packages)
        return state if state == "active" or installed else ""


def read_drivers(answer: Answer) -> Drivers:
    """Out of the probe's lines."""
    packages = [line.split() for line in answer.all("package")]
    units = [line.split() for line in answer.all("unit")]
    return Drivers(
        module=answer.leaf("/sys/module/nvidia/version"),
        has_nouveau=answer.find("nouveau") == "yes",
        packages=tuple((words[0], words[1]) for words in packages if len(words) == 2),
        is_runfile=answer.find("runfile") == "yes",
        units=tuple((words[0], words[1]) for words in units if len(words) == 2),
    )


def find_versions(packages: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """version `535.183` -> the packages of the driver that have it."""
    found: dict[str, list[str]] = {}
    for name, version in packages:
        match = VERSION.match(version)
        if match and OF_DRIVER.match(name):
            found.setdefault(f"{match[1]}.{match[2]}", []).append(name)
    return found


def judge_drivers(where: str, drivers: Drivers) -> list[Finding]:
    """One driver, from one source, and the module that is loaded is it."""
    found = []
    versions = find_versions(drivers.packages)
    if drivers.has_nouveau:
        mend = "`blacklist nouveau` and `options nouveau modeset=0` in /etc/modprobe.d, update-initramfs -u, reboot"
        what = "nouveau holds the GPUs: NVIDIA's driver cannot be loaded beside it"
        found.append(warning("drivers", where, what, mend=mend))
    if len(versions) > 1:
        said = "; ".join(f"{version}: {', '.join(names)}" for version, names in sorted(versions.items()))
        mend = "remove the packages of all versions but one (`apt-cache policy` shows where each came from)"
        found.append(warning("drivers", where, f"packages of several drivers are installed ({said})", mend=mend))
    if drivers.is_runfile and versions:
        what = "a driver by NVIDIA's installer lies over one by packages: whichever came last won"
        found.append(warning("drivers", where, what, mend="`nvidia-uninstall`, then install the packages again"))
    if drivers.module and len(versions) == 1 and not drivers.module.startswith(f"{next(iter(versions))}."):
        what = f"the loaded module is {drivers.module}, and the packages are {next(iter(versions))}"
        found.append(warning("drivers", where, what, mend="reboot it, or unload and load the module"))
    return found or [ok("drivers", where, f"NVIDIA {drivers.module}" if drivers.module else "none yet")]


def judge_agents(where: str, drivers: Drivers, listeners: Sequence[Listener]) -> list[Finding]:
    """Somebody else who watches, resets, sets or takes the GPUs."""
    runtimes = [name for name, _ in drivers.packages if name in RUNTIMES]
    mend = "remove it, unless containers of others shall have GPUs of this server"
    what = f"Docker has its own way to the GPUs ({', '.join(runtimes)})"
    return _judge_watchers(where, drivers, listeners) + (
        [warning("gpu agents", where, what, mend=mend)] if runtimes else []
    )


def _judge_watchers(where: str, drivers: Drivers, listeners: Sequence[Listener]) -> list[Finding]:
    seen = {UNITS[unit] for unit, state in drivers.units if unit in UNITS and state == "active"}
    seen |= {listener.process for listener in listeners if listener.process in AGENTS}
    if not seen:
        return []
    what = f"another GPU agent runs: {', '.join(sorted(AGENTS[name] for name in seen))}"
    mend = "leave the GPUs to one: stop it, or see that it neither resets GPUs nor sets their clocks"
    return [warning("gpu agents", where, what, mend=mend)]
