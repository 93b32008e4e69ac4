"""System: kernel parameters, limits, the journal's bounds, and what no timer may upgrade or restart by itself."""

import re
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.ops.files import Owner, config_file, folders, render
from roles.ops.machine import is_container, skip
from roles.ops.packages import read_packages
from roles.ops.reboot import ask_for_reboot
from roles.ops.site import settings
from roles.ops.sysctl import parse_sysctl, sysctl_file
from roles.ops.systems import System, get_host_system
from roles.ops.units import unit
from roles.system.defaults import SystemTuning
from roles.system.kernel import LIVE, WHY, kernel_options
from roles.system.knobs import UNIT, find_knobs, knobs
from roles.system.manager import manager

HERE = Path(__file__).parent
SYSCTL = "/etc/sysctl.d/90-dsops.conf"
MANAGER = "/etc/systemd/system.conf.d/90-dsops.conf"
JOURNAL = "/etc/systemd/journald.conf.d/90-dsops.conf"
TUNING = "/etc/dsops/tuning.conf"
UPGRADES = "/etc/apt/apt.conf.d/90dsops-upgrades"
NEEDRESTART = "/etc/needrestart/conf.d/90-dsops.conf"
FOLDERS = {str(Path(path).parent): Owner(mode="755") for path in (MANAGER, JOURNAL, NEEDRESTART)}
OPTION = re.compile(r"[A-Za-z0-9_.,:=/@+-]+")
# Keys that are said elsewhere, or that undo one of ours.
ELSEWHERE = {
    "vm.swappiness": "say it as swap_swappiness",
    "vm.nr_hugepages": "say it as system_hugepages",
    "vm.dirty_ratio": "the kernel then forgets vm.dirty_bytes; say that one",
    "vm.dirty_background_ratio": "the kernel then forgets vm.dirty_background_bytes; say that one",
}


@deploy("system")
def system() -> None:
    """Tunes the server for engines, and keeps what dsops proved from changing by itself."""
    said = settings(SystemTuning)
    if problem := find_problem(said):
        raise DeployError(f"{host.name}/{problem}\n  mend: see roles/system/README.md; nothing was changed")
    folders(name="system: folders", wanted=FOLDERS)
    sysctl_file(role="system", path=SYSCTL, content=render_sysctl(said))
    config_file(name="system: limits of services", path=MANAGER, content=(HERE / "templates/manager.conf").read_text())
    manager(name="system: limits in use", wanted={"DefaultLimitMEMLOCK": "infinity"})
    bounds = {"gb": said.system_journal_gb, "days": said.system_journal_days}
    config_file(name="system: journal", path=JOURNAL, content=render(HERE / "templates/journald.conf.j2", **bounds))
    unit(name="system: journal in use", unit_name="systemd-journald.service", inputs=[JOURNAL])
    _hold(said)
    if is_container():
        skip("system: knobs in /sys and kernel options", "a container's kernel is its host's")
        return
    _tune(said)
    kernel_options(name="system: kernel options", options=said.system_kernel_options, _timeout=300)
    ask_for_reboot(name="system: reboot", role="system", why=WHY, live=LIVE)


def render_sysctl(said: SystemTuning) -> str:
    """The file for sysctl.d; a later line wins, in it as in the kernel."""
    more = parse_sysctl("\n".join(said.system_sysctl))
    return render(HERE / "templates/sysctl.conf.j2", hugepages=said.system_hugepages, more=more)


def _hold(said: SystemTuning) -> None:
    """Nothing is upgraded or restarted by itself that a deploy, or a drained node, must be asked for."""
    config_file(
        name="system: upgrades left alone",
        path=UPGRADES,
        content=render_upgrades(said, get_host_system()),
        check="APT_CONFIG={} apt-config dump > /dev/null",
    )
    content = (HERE / "templates/needrestart.conf").read_text()
    config_file(name="system: restarts left alone", path=NEEDRESTART, content=content)


def render_upgrades(said: SystemTuning, system: System) -> str:
    """The file for apt.conf.d."""
    ours = [re.escape(name) for name in find_installed(system)]
    return render(HERE / "templates/upgrades.conf.j2", held=said.system_held_packages, ours=ours)


def find_installed(system: System) -> list[str]:
    """Packages that the roles install, as the system calls them; not Python, whose upgrade restarts nothing."""
    roles = sorted(file.parent.name for file in HERE.parent.glob("*/packages.txt"))
    names = system.get_packages([name for role in roles for name in read_packages(role)])
    return sorted({name for name in names if not name.startswith(("python", "libpython"))})


def _tune(said: SystemTuning) -> None:
    config_file(name="system: knobs", path=TUNING, content=render_tuning(said))
    content = (HERE / f"templates/{UNIT}").read_text()
    config_file(name="system: knobs at boot", path=f"/etc/systemd/system/{UNIT}", content=content)
    unit(name="system: knobs' unit", unit_name=UNIT, inputs=[TUNING])
    knobs(name="system: knobs in use", wanted=find_knobs(said))


def render_tuning(said: SystemTuning) -> str:
    """The file that systemd-tmpfiles reads."""
    values = {"thp": said.system_transparent_hugepages, "governor": said.system_governor}
    return render(HERE / "templates/tuning.conf.j2", **values)


def find_problem(said: SystemTuning) -> str:
    """What is wrong with the settings, `key: why`; empty when nothing is."""
    for line in said.system_sysctl:
        key = next(iter(parse_sysctl(line)), "")
        if not re.fullmatch(r"[a-z0-9_.*-]+", key, re.IGNORECASE) or not parse_sysctl(line)[key]:
            return f"system_sysctl: should be lines of `key = value`, has {line!r}"
        if key in ELSEWHERE:
            return f"system_sysctl: {key}: {ELSEWHERE[key]}"
    for option in said.system_kernel_options:
        if not OPTION.fullmatch(option):
            return f"system_kernel_options: should be options without blanks and quotes, has {option!r}"
    for pattern in said.system_held_packages:
        if '"' in pattern or ";" in pattern or "\n" in pattern or not pattern:
            return f"system_held_packages: should be regular expressions without quotes, has {pattern!r}"
    return _find_bad_value(said)


def _find_bad_value(said: SystemTuning) -> str:
    if (thp := said.system_transparent_hugepages) not in {"", "madvise", "always", "never"}:
        return f"system_transparent_hugepages: should be madvise, always or never, is {thp!r}"
    if not re.fullmatch(r"[a-z_]*", said.system_governor):
        return f"system_governor: should be a word such as performance, is {said.system_governor!r}"
    if said.system_hugepages < 0:
        return f"system_hugepages: should be 0 or more, is {said.system_hugepages}"
    low = min(("system_journal_gb", "system_journal_days"), key=lambda key: getattr(said, key))
    return f"{low}: should be 1 or more, is {getattr(said, low)}" if getattr(said, low) < 1 else ""
