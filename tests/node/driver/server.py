"""A server's root in a folder, with its programs played: dpkg, apt, modinfo, update-grub as far as they are asked."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dsops.core.drivers.gate import Asked
from dsops.core.drivers.lockset import SETS, Lockset
from dsops.node.driver.act import Driver
from dsops.node.driver.place import Place
from dsops.node.run import Done

OK = Done(0, "", "")


def put_set(root: Path, lockset: Lockset) -> None:
    """As the bundle brings it: a module file says its version and kernel, so that what is loaded can be told."""
    folder = root / SETS.lstrip("/") / lockset.name
    (folder / "repo").mkdir(parents=True)
    (folder / "modules").mkdir()
    modules = {}
    for name in lockset.modules:
        text = f"{lockset.driver} {lockset.kernel.release} {name}"
        (folder / f"modules/{name}.ko").write_text(text)
        modules[f"{name}.ko"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "set.json").write_text(json.dumps({"lockset": asdict(lockset), "modules": modules}))


@dataclass
class Server:
    """breaks: a word of a command -> its output, with which that command fails. told: what the program said."""

    root: Path
    kernel: str
    gpus: int = 0
    installed: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    audit: str = ""
    breaks: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)

    def __post_init__(self) -> None:
        self.write(f"/lib/modules/{self.kernel}/modules.order", "")
        self.write("/proc/sys/kernel/osrelease", self.kernel)
        (self.root / "sys/bus/pci/devices").mkdir(parents=True)
        for number in range(self.gpus):
            self.write(f"/sys/bus/pci/devices/0000:0{number}:00.0/vendor", "0x10de")
            self.write(f"/sys/bus/pci/devices/0000:0{number}:00.0/class", "0x030200")
        self.boot("b0")

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def boot(self, name: str) -> None:
        """Another boot: what is on the disk is loaded, and /run is empty."""
        self.write("/proc/sys/kernel/random/boot_id", name)
        (self.root / "run/dsops-driver-turned").unlink(missing_ok=True)

    def link_libraries(self, version: str) -> None:
        """As Debian does: through its alternatives, with absolute links."""
        folder = self.root / "usr/lib/x86_64-linux-gnu"
        for name in ("libcuda.so", "libnvidia-ml.so"):
            self.write(f"/usr/lib/x86_64-linux-gnu/nvidia/current/{name}.{version}", "elf")
            links = {
                folder / f"{name}.1": f"/etc/alternatives/{name}.1",
                self.root / f"etc/alternatives/{name}.1": f"/usr/lib/x86_64-linux-gnu/nvidia/current/{name}.1",
                folder / f"nvidia/current/{name}.1": f"{name}.{version}",
            }
            for path, target in links.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.symlink_to(target)

    def driver(self, *, limit: int = 2) -> Driver:
        return Driver(Place(self.root), run=self.run, ask=lambda: self.asked, say=self.told.append, limit=limit)

    def run(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        words = [word for word in argv if "=" not in word or word.startswith("-")] if argv[0] == "env" else list(argv)
        line = " ".join(argv)
        self.ran.append(line)
        for word, said in self.breaks.items():
            if word in line:
                return Done(100, "", said)
        if "install" in words:
            self._install(argv)
        if words[:2] == ["apt-mark", "hold"]:
            self.held |= set(words[2:])
        answers = {"dpkg-query": self._query, "modinfo": self._modinfo, "dpkg": self._audit, "apt-mark": self._held}
        return Done(0, answers[words[0]](words) if words[0] in answers else "", "")

    def _install(self, argv: Sequence[str]) -> None:
        for word in argv[argv.index("install") + 1 :]:
            name, sign, version = word.partition("=")
            if sign and not word.startswith("-"):
                self.installed[name] = version
            elif word.endswith("-"):
                self.installed.pop(word[:-1], None)
        if "libcuda1" in self.installed:
            self.link_libraries(self.installed["libcuda1"].partition("-")[0])

    def _query(self, words: Sequence[str]) -> str:
        if "Eflag" in words[2]:
            return "\n".join(f"{name} half-installed reinstreq" for name in self.audit.split())
        rows = [f"{name} installed {self.installed[name]}" for name in words if name in self.installed]
        return "\n".join(rows)

    def _audit(self, words: Sequence[str]) -> str:
        return self.audit if "--audit" in words else ""

    def _held(self, words: Sequence[str]) -> str:
        return "\n".join(sorted(self.held))

    def _modinfo(self, words: Sequence[str]) -> str:
        file = self.root / f"lib/modules/{self.kernel}/updates/dsops/{words[-1]}.ko"
        if not file.exists():
            return ""
        version, kernel, _ = file.read_text().split()
        return version if "version" in words else f"{kernel} SMP preempt mod_unload modversions"
