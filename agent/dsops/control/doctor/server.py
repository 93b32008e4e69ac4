"""What is wrong with a server that answered: its system, CPU, systemd, clock, packages, GPUs, way out."""

from collections.abc import Callable
from dataclasses import dataclass

from dsops.control.doctor.finding import Finding, ok, problem, skipped, unknown
from dsops.control.doctor.ports import find_ports, judge_ports
from dsops.control.doctor.probe import Facts, Seen
from dsops.control.doctor.room import judge_disks, judge_memory, judge_mounts, judge_swap
from dsops.control.doctor.site import Site
from dsops.control.fleet.inventory import Server

# Seconds that the clocks may differ: certificates and time series begin to lie beyond.
SKEW = 5.0


@dataclass(frozen=True)
class Patient:
    """One server with all that its judges need."""

    site: Site
    server: Server
    seen: Seen

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def facts(self) -> Facts:
        return self.seen.facts


def judge_system(one: Patient) -> list[Finding]:
    """An operating system that the roles and the bundle were made for."""
    system = one.facts.system
    supported = one.site.systems.values()
    if system not in supported:
        mend = f"install one of {', '.join(supported)}"
        return [problem("system", one.name, f"{system} is not supported", mend=mend)]
    made_for = one.site.bundle.system if one.site.bundle else ""
    if made_for and made_for != system:
        mend = f"build the bundle on {system}, or install {made_for} there"
        return [problem("system", one.name, f"has {system}, and the bundle's packages are for {made_for}", mend=mend)]
    fits = ", as the bundle wants it" if made_for else "; the bundle does not say whether it fits"
    return [ok("system", one.name, system + fits)]


def judge_cpu(one: Patient) -> list[Finding]:
    """The wheels are x86_64; OpenVINO's kernels want AVX2."""
    if one.facts.arch != "x86_64":
        return [problem("cpu", one.name, f"is {one.facts.arch}; the bundle is x86_64", mend="use an x86_64 server")]
    if one.site.has_role(one.server, "engine") and one.site.value(one.server, "engine_name") == "openvino":
        if not one.facts.has_avx2:
            mend = "another engine, or a CPU with AVX2 (in a guest: pass the host's CPU through)"
            return [problem("cpu", one.name, "has no AVX2, which engine openvino needs", mend=mend)]
        return [ok("cpu", one.name, "x86_64 with AVX2")]
    return [ok("cpu", one.name, "x86_64")]


def judge_login(one: Patient) -> list[Finding]:
    """Deploys need root, and so do the other checks: who listens is told to root only."""
    what = f"is user {one.facts.uid} there, not root"
    rest = unknown("server", one.name, "the other checks of this server were not made: they need root")
    return [problem("login", one.name, what, mend="write ssh_user = 'root' in group_data"), rest]


def judge_systemd(one: Patient) -> list[Finding]:
    """systemd runs the server. A failed unit is said, and is no hindrance."""
    state, failed = one.facts.systemd, ", ".join(one.facts.failed)
    if state in ("running", "degraded"):
        return [ok("systemd", one.name, f"running; failed: {failed}" if failed else "running")]
    mend = "wait until it has started" if state in ("starting", "initializing") else "boot it with systemd as init"
    return [problem("systemd", one.name, f"is {state or 'not there'}, should be running", mend=mend)]


def measure_skew(seen: Seen) -> float:
    """Seconds that the server's clock is surely ahead (or behind, negative); 0 while it fits between our two."""
    if seen.facts.now > seen.ended:
        return seen.facts.now - seen.ended
    return min(0.0, seen.facts.now - seen.started)


def judge_clock(one: Patient) -> list[Finding]:
    """Against this machine's clock, and within the time that asking took."""
    skew = measure_skew(one.seen)
    if abs(skew) > SKEW:
        way = "ahead of" if skew > 0 else "behind"
        mend = (
            "set base_ntp_servers to the site's time servers, or `timedatectl set-time`; is this machine's clock right?"
        )
        return [problem("clock", one.name, f"is {abs(skew):.0f} s {way} this machine", mend=mend)]
    return [ok("clock", one.name, f"within {SKEW:.0f} s of this machine's")]


def judge_packages(one: Patient) -> list[Finding]:
    """Nobody else is installing, now or at night."""
    found = []
    if one.facts.locks:
        who = ", ".join(f"{name or 'a process'} (pid {pid})" for pid, name in one.facts.locks)
        what = f"apt or dpkg is at work: {who} has its lock open"
        found.append(problem("apt", one.name, what, mend="wait until it ends"))
    if one.facts.has_upgrades:
        what = "unattended-upgrades is on: it changes packages under a running service, and holds apt's lock"
        mend = "systemctl disable --now unattended-upgrades apt-daily.timer apt-daily-upgrade.timer"
        found.append(problem("apt", one.name, what, mend=mend))
    return found or [ok("apt", one.name, "nobody holds apt's lock; unattended upgrades are off")]


def judge_gpus(one: Patient) -> list[Finding]:
    """As many as the inventory promises: by the driver where there is one, else on PCI."""
    if not one.site.has_role(one.server, "engine"):
        return []
    wanted, facts = one.site.value(one.server, "agent_gpus"), one.facts
    driver = f"{facts.gpus_nvml} by the driver" if facts.gpus_nvml else "no driver"
    seen = f"{driver}, {facts.gpus_pci} on PCI"
    if facts.gpus_nvml and not facts.gpus_nvml.isdigit():
        mend = "look at `dmesg` there for NVRM; a reboot or another driver mends it"
        return [problem("gpus", one.name, f"the NVIDIA driver is there and does not answer ({seen})", mend=mend)]
    if not isinstance(wanted, int) or wanted < 0:
        return [skipped("gpus", one.name, f"agent_gpus is not given, so any number is right ({seen})")]
    found = int(facts.gpus_nvml) if facts.gpus_nvml else facts.gpus_pci
    if found != wanted:
        mend = f"mend agent_gpus for {one.name}, or find the missing one (`lspci -d 10de:`, BMC)"
        return [problem("gpus", one.name, f"has {found} GPUs, should have {wanted} ({seen})", mend=mend)]
    return [ok("gpus", one.name, f"{wanted} ({seen})")]


def judge_egress(one: Patient) -> list[Finding]:
    """Never tried: on a site without internet an attempt is itself an alarm."""
    if not one.facts.route:
        return [ok("way out", one.name, "no default route: it cannot leave its own networks")]
    what = (
        f"has a default route ({', '.join(dict.fromkeys(one.facts.route.split()))}); "
        "whether it leads outside is not tried, because an attempt is itself an alarm on an air-gapped site"
    )
    return [skipped("way out", one.name, what)]


def judge_listeners(one: Patient) -> list[Finding]:
    """Foreign holders of our ports."""
    wanted = find_ports(one.site, one.server)
    return judge_ports(one.name, wanted, one.facts.listeners, ours=one.facts.ours)


def judge_space(one: Patient) -> list[Finding]:
    """Room on its disks, in its memory, and where programs may run."""
    return [
        *judge_disks(one.site, one.server, one.facts),
        *judge_memory(one.site, one.server, one.facts),
        *judge_swap(one.name, one.facts),
        *judge_mounts(one.name, one.facts),
    ]


JUDGES: tuple[Callable[[Patient], list[Finding]], ...] = (
    judge_system,
    judge_cpu,
    judge_systemd,
    judge_space,
    judge_clock,
    judge_listeners,
    judge_packages,
    judge_gpus,
    judge_egress,
)
