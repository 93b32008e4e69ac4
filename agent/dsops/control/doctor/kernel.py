"""The kernel: is it the newest that is installed, did it suffer, does anybody ask for a reboot, what booted it?"""

import re
from dataclasses import dataclass

from dsops.control.doctor.answer import Answer, to_int
from dsops.control.doctor.finding import Finding, ok, skipped, warning
from dsops.core.effects import REBOOT_NOTES

CONTAINERS = ("systemd-nspawn", "lxc", "lxc-libvirt", "docker", "podman", "openvz", "container-other")
# Bits of /proc/sys/kernel/tainted that tell of damage (Documentation/admin-guide/tainted-kernels.rst). The others, a
# proprietary or unsigned module or a mere warning, are every day's on a GPU server.
DAMAGE = {
    1: "a module was forced in",
    4: "the processor reported a machine check",
    5: "a bad page was met",
    7: "the kernel died once (oops)",
    14: "a soft lockup happened",
}


@dataclass(frozen=True)
class Kernel:
    """asked: (who, why) of each reboot that is asked for. secure_boot: on, off or unknown."""

    release: str
    installed: tuple[str, ...] = ()
    taint: int = 0
    asked: tuple[tuple[str, str], ...] = ()
    command_line: str = ""
    virtual: str = ""
    firmware: str = ""
    secure_boot: str = "unknown"

    @property
    def is_container(self) -> bool:
        return self.virtual in CONTAINERS


def read_kernel(answer: Answer) -> Kernel:
    """Out of the probe's lines."""
    packages = ", ".join(sorted(set(answer.leaf("/run/reboot-required.pkgs").split())))
    asked = [("the system", packages or "no reason given")] if answer.find("reboot") == "yes" else []
    asked += [(f"role {rest}", text.replace("\n", "; ")) for rest, text in answer.below(REBOOT_NOTES)]
    return Kernel(
        release=answer.leaf("/proc/sys/kernel/osrelease"),
        installed=answer.all("kernel.installed"),
        taint=to_int(answer.leaf("/proc/sys/kernel/tainted")),
        asked=tuple(asked),
        command_line=answer.leaf("/proc/cmdline"),
        virtual=answer.find("virt"),
        firmware=answer.find("firmware"),
        secure_boot=answer.find("secure boot", "unknown"),
    )


def find_newest(kernel: Kernel) -> str:
    """The newest installed one of the running one's flavour, such as `amd64` or `generic`; empty when none is."""
    flavour = kernel.release.rpartition("-")[2]
    return max((name for name in kernel.installed if name.endswith(f"-{flavour}")), key=_order, default="")


def _order(release: str) -> list[tuple[int, str]]:
    # Numbers by their size: 6.1.0-9 is older than 6.1.0-18.
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", release)]


def judge_kernel(where: str, kernel: Kernel) -> list[Finding]:
    """A kernel of yesterday, or one that suffered: no hindrance, but the operator should know."""
    if kernel.is_container:
        return [skipped("kernel", where, f"{kernel.release or 'unknown'}, its host's: it is a container")]
    if not kernel.release:
        return []
    found = []
    newest = find_newest(kernel)
    if newest and _order(newest) > _order(kernel.release):
        what = f"runs {kernel.release}, and {newest} is installed: a reboot is due"
        found.append(warning("kernel", where, what, mend="drain it and reboot it when it suits"))
    damage = [text for bit, text in DAMAGE.items() if kernel.taint >> bit & 1]
    if damage:
        what = f"the kernel is tainted since its boot: {', '.join(damage)} (taint {kernel.taint})"
        found.append(warning("kernel", where, what, mend="look at `journalctl -k -p err` there; a reboot clears it"))
    newest_is = ", the newest that is installed" if newest == kernel.release else ""
    return found or [ok("kernel", where, f"{kernel.release}{newest_is}")]


def judge_reboot(where: str, kernel: Kernel) -> list[Finding]:
    """Nothing reboots by itself in a deploy, so what asks for it is said."""
    who = ", ".join(f"{name} ({why})" for name, why in kernel.asked)
    if not who:
        return [ok("reboot", where, "nobody asks for one")]
    return [warning("reboot", where, f"a reboot is asked for by {who}", mend="drain it and reboot it when it suits")]


def judge_boot(where: str, kernel: Kernel, *, has_gpus: bool, has_driver: bool) -> list[Finding]:
    """Secure Boot refuses modules that nobody signed: NVIDIA's, when they were built on the server."""
    if kernel.is_container or not kernel.firmware:
        return []
    if kernel.firmware != "uefi":
        return [ok("secure boot", where, "started by BIOS, where there is none")]
    if kernel.secure_boot == "unknown":
        return [skipped("secure boot", where, "UEFI does not say whether it is on")]
    if kernel.secure_boot == "on" and has_gpus and not has_driver:
        what = "is on: a driver for the GPUs that is built here will not load before its key is enrolled"
        mend = "a signed driver, `mokutil --import` and its question at the console, or Secure Boot off in the BIOS"
        return [warning("secure boot", where, what, mend=mend)]
    return [ok("secure boot", where, f"UEFI, {kernel.secure_boot}")]
