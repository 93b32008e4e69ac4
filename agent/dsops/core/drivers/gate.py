"""The gate after a boot: whether all parts of the driver are there, are one version, and the GPUs answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dsops.core.drivers.boots import Outcome
from dsops.core.drivers.lockset import Lockset, get_upstream

MANAGER, PERSISTENCED = "nvidia-fabricmanager.service", "nvidia-persistenced.service"
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
# NVML's own numbers: init went well; states of a GPU's fabric.
WELL, COMPLETED = 0, 3
FABRIC = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}
CUDA = {100: "no device", 802: "system not yet initialised: is the Fabric Manager well?", 999: "unknown error"}


@dataclass(frozen=True)
class Asked:
    """What the driver answered. nvml, cuda: codes of their init, None when nobody asked; hung: it did not answer."""

    nvml: int | None = None
    driver: str = ""
    gpus: int = 0
    fabric: tuple[int, ...] = ()
    cuda: int | None = None
    hung: bool = False
    says: str = ""


@dataclass(frozen=True)
class Facts:
    """What a boot shows. gpus: on PCI. loaded: version of the loaded module. file, fits: version and kernel of the
    module that would be loaded. libraries: name -> version. packages: name -> installed version. held: by apt.
    services: unit -> its state. manager: what the Fabric Manager says its version is.
    """

    boot: str
    kernel: str
    gpus: int = 0
    loaded: str = ""
    nouveau: bool = False
    file: str = ""
    fits: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    services: Mapping[str, str] = field(default_factory=dict)
    manager: str = ""
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True)
class Fault:
    """Something that is not as the set wants it. fails: the boot has failed by it."""

    code: str
    says: str
    mend: str = ""
    fails: bool = True


def judge(lockset: Lockset, facts: Facts) -> tuple[Outcome, tuple[Fault, ...]]:
    """The whole gate. Without a GPU on PCI only what lies on the disk is judged, and nothing passes."""
    faults = [*check_kernel(lockset, facts), *check_disk(lockset, facts)]
    if facts.gpus:
        faults += [*check_loaded(lockset, facts), *check_services(lockset, facts), *check_asked(lockset, facts)]
    if any(fault.fails for fault in faults):
        return Outcome.FAILED, tuple(faults)
    return Outcome.PASSED if facts.gpus else Outcome.NO_GPU, tuple(faults)


def render(outcome: Outcome, faults: tuple[Fault, ...]) -> str:
    """In one sentence."""
    if outcome is Outcome.NO_GPU:
        return "no GPU on PCI: what lies on the disk is one set, nobody can say more"
    return "; ".join(fault.says for fault in faults if fault.fails) or outcome.value


def check_kernel(lockset: Lockset, facts: Facts) -> list[Fault]:
    found = []
    if facts.kernel != lockset.kernel.release:
        what = f"kernel {facts.kernel} runs, the set has {lockset.kernel.release}"
        found.append(Fault("kernel", what, "boot the set's kernel; GRUB's first entry should be it"))
    if facts.nouveau:
        what = "nouveau is loaded: NVIDIA's driver cannot be beside it"
        found.append(Fault("nouveau", what, "deploy again, and reboot"))
    return found


def check_disk(lockset: Lockset, facts: Facts) -> list[Fault]:
    """The module's file, the libraries and the packages: all one version, and for this kernel."""
    found, again = [], "deploy again: the set is installed anew"
    if facts.file != lockset.driver:
        what = f"the module's file is {facts.file or 'not there'}, the set has {lockset.driver}"
        found.append(Fault("module file", what, again))
    elif facts.fits != facts.kernel:
        what = f"the module was built for kernel {facts.fits or 'none'}, {facts.kernel} runs"
        found.append(Fault("module kernel", what, again))
    for name in LIBRARIES:
        if (version := facts.libraries.get(name, "")) != lockset.driver:
            what = f"{name} is {version or 'not there'}, the set has {lockset.driver}"
            found.append(Fault("library", what, again))
    for name, version in lockset.pins.items():
        if (there := facts.packages.get(name, "")) != version:
            found.append(Fault("package", f"{name} is {there or 'not installed'}, the set has {version}", again))
        elif name not in facts.held:
            what = f"{name} is not held: the next upgrade may take it away"
            found.append(Fault("hold", what, f"apt-mark hold {name}, or deploy again", fails=False))
    return found


def check_loaded(lockset: Lockset, facts: Facts) -> list[Fault]:
    if facts.loaded == lockset.driver:
        return []
    what = f"the loaded module is {facts.loaded or 'none'}, the set has {lockset.driver}"
    return [Fault("module", what, "`modprobe nvidia` says why it is not loaded; dmesg | grep NVRM")]


def check_services(lockset: Lockset, facts: Facts) -> list[Fault]:
    """Fabric Manager and persistenced, where the set has them."""
    found = []
    for unit, word in ((MANAGER, lockset.fabric_manager), (PERSISTENCED, lockset.persistenced)):
        if word and (state := facts.services.get(unit, "")) != "active":
            found.append(Fault("service", f"{unit} is {state or 'not there'}", f"journalctl -u {unit}"))
    if lockset.fabric_manager and facts.manager != get_upstream(lockset.fabric_manager.partition("=")[2]):
        what = f"the Fabric Manager says it is {facts.manager or 'nothing'}, the set has {lockset.driver}"
        found.append(Fault("fabric version", what, "deploy again: the set is installed anew"))
    return found


def check_asked(lockset: Lockset, facts: Facts) -> list[Fault]:
    """What NVML and CUDA answer."""
    asked = facts.asked
    if asked.hung:
        return [Fault("driver", f"the driver does not answer: {asked.says}", "dmesg | grep NVRM")]
    if asked.nvml != WELL:
        return [Fault("nvml", f"NVML does not start: {asked.says or asked.nvml}", "dmesg | grep NVRM")]
    found = []
    if asked.driver != lockset.driver:
        found.append(Fault("nvml version", f"NVML says driver {asked.driver}, the set has {lockset.driver}"))
    if asked.gpus != facts.gpus:
        what = f"NVML lists {asked.gpus} GPUs, {facts.gpus} are on PCI"
        found.append(Fault("gpus", what, "dmesg | grep NVRM"))
    bad = sorted({FABRIC.get(state, str(state)) for state in asked.fabric if state != COMPLETED})
    if lockset.fabric_manager and bad:
        found.append(
            Fault("fabric", f"the fabric is {', '.join(bad)}, not completed", "journalctl -u nvidia-fabricmanager")
        )
    if asked.cuda != WELL:
        words = CUDA.get(asked.cuda, "") if asked.cuda is not None else "it could not be asked"
        found.append(Fault("cuda", f"CUDA does not start: {asked.cuda} {words}".rstrip(), "dmesg | grep NVRM"))
    return found
