"""A store in a temporary folder, releases signed with real keys, and a systemd that is none."""

import errno
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.core.passport import Passport
from dsops.core.release import FORMAT, release_id
from dsops.node.helper.desk import Desk, build_desk
from dsops.node.run import Done, run
from dsops.node.store.cold import STAMP
from dsops.node.store.config import StoreConfig
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger

NAMESPACE = "dsops-release-lab@v1"
MACHINE = "0123456789abcdef0123456789abcdef"
FOLDERS = ("blobs", "releases", "passports", "staging", "slots", "lanes", "state")
MEMINFO = "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n"


def make_root(path: Path) -> Path:
    """The store's folders, as the role makes them."""
    for name in FOLDERS:
        (path / name).mkdir(parents=True)
    return path


def make_cold(path: Path) -> dict[str, Any]:
    """A cold tier that is no disk of its own, but says that it is meant; the settings that name it.

    No reserve: whoever runs these tests may have a full disk.
    """
    path.mkdir(parents=True)
    (path / STAMP).touch()
    return {"cold": str(path), "hot_reserve": 0.0}


@dataclass(frozen=True)
class Made:
    """A release before it is on a node."""

    manifest: bytes
    files: Mapping[str, bytes]
    signature: bytes = b""

    @property
    def id(self) -> str:
        return release_id(self.manifest)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {hashlib.sha256(data).hexdigest(): data for data in self.files.values()}


def make_release(name: str = "one", *, shared: bytes = b"template") -> Made:
    """A small release; releases of one `shared` have that blob in common."""
    files = {
        "chat_template.jinja": shared,
        "prompts.json": b"[]",
        "models/llm/1/model.py": f"# {name}".encode(),
        "models/llm/1/guardian.sh": b"exit 0",
        "models/llm/1/weights.bin": name.encode() * 1000,
    }
    data = {
        "format": FORMAT,
        "model": "tiny",
        "quantization": "int8",
        "engine": "openvino",
        "template": "chat_template.jinja",
        "eos": "</s>",
        "bos": "",
        "reasoning": None,
        "limits": {"context": 100, "max_tokens": 50, "queue": 4, "sequences": 2},
        "prompts": "prompts.json",
        "probe": {"load_seconds": 60, "answer_seconds": 5, "tokens": 16},
        "files": {
            path: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()
        },
    }
    return Made(json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(), files)


@dataclass(frozen=True)
class Signer:
    """A key, and the list that allows it."""

    key: Path
    allowed: Path
    namespace: str = NAMESPACE

    def sign(self, made: Made) -> Made:
        return Made(made.manifest, made.files, self.sign_bytes(made.manifest))

    def sign_bytes(self, content: bytes) -> bytes:
        words = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(self.key), "-n", self.namespace]
        return subprocess.run(words, input=content, capture_output=True, check=True, timeout=20).stdout

    def certify(self, passport: Passport) -> dict[str, str]:
        """A passport as it is brought."""
        content = passport.render()
        return {"text": content.decode(), "signature": self.sign_bytes(content).decode()}


def make_signer(folder: Path, *, name: str = "signer") -> Signer:
    key, allowed = folder / f"{name}_ed25519", folder / f"{name}.allowed"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=20)
    public = key.with_suffix(".pub").read_text().split()
    allowed.write_text(f'{name} namespaces="{NAMESPACE}" {public[0]} {public[1]}\n')
    return Signer(key, allowed)


@dataclass
class Systemd:
    """systemctl, but only in words. since: unit -> when it became active; other programs are real.

    hung: units whose process does not end when it is told to. fails: verbs that are refused.
    """

    now: float = 1000.0
    since: dict[str, float] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)
    deactivating: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        if argv[0] != "systemctl":
            return run(argv, timeout=timeout, input=input)
        verb, unit = argv[1], argv[-1]
        self.asked.append(" ".join(word for word in argv[1:] if word[:2] != "--" or word.startswith("--signal")))
        if verb in self.fails:
            return Done(1, "", f"no {verb} today")
        return Done(0, str(getattr(self, f"do_{verb.replace('-', '_')}")(unit) or ""), "")

    def do_enable(self, unit: str) -> None:
        self.enabled.add(unit)

    def do_disable(self, unit: str) -> None:
        self.enabled.discard(unit)

    def do_restart(self, unit: str) -> None:
        if unit in self.hung and unit in self.since:
            self.since.pop(unit)
            self.deactivating.add(unit)
            self.queued.add(unit)
            return
        assert unit not in self.deactivating
        self.since[unit] = self.now

    def do_stop(self, unit: str) -> None:
        if self.since.pop(unit, None) and unit in self.hung:
            self.deactivating.add(unit)

    def do_kill(self, unit: str) -> None:
        self.deactivating.discard(unit)
        if unit in self.queued:
            self.queued.discard(unit)
            self.since[unit] = self.now

    def do_reset_failed(self, unit: str) -> None:
        pass

    def do_show(self, unit: str) -> str:
        state = "deactivating" if unit in self.deactivating else "active" if unit in self.since else "inactive"
        since = int(self.since.get(unit, 0) * 1e6)
        return f"ActiveState={state}\nActiveEnterTimestampMonotonic={since}\nJob={int(unit in self.queued)}\n"

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Bed:
    """A node's store with a helper's desk on it."""

    root: Path
    signer: Signer
    systemd: Systemd = field(default_factory=Systemd)
    disk: Disk = field(default_factory=Disk)
    said: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    at: float = 1_700_000_000.0
    settings: dict[str, Any] = field(default_factory=dict)
    cold_disk: Disk | None = None
    ledger: Ledger | None = None

    @property
    def cold(self) -> Path:
        """The root of the cold tier, where there is one."""
        return Path(self.settings["cold"])

    @property
    def config(self) -> StoreConfig:
        allowed = str(self.signer.allowed)
        return StoreConfig(NAMESPACE, state=str(self.root), allowed_signers=allowed, **self.settings)

    def desk(self) -> Desk:
        """As a helper that was just started."""
        meminfo = self.root / "meminfo"
        if not meminfo.exists():
            meminfo.write_text(MEMINFO)
        machine_id = self.root / "machine-id"
        if not machine_id.exists():
            machine_id.write_text(f"{MACHINE}\n")
        return build_desk(
            self.config,
            machine_id=machine_id,
            disk=self.disk,
            run=self.systemd,
            seen=self.root / "seen.json",
            meminfo=meminfo,
            now=lambda: self.at,
            clock=lambda: self.systemd.now,
            sleep=self.systemd.sleep,
            audit=self.said.append,
            log=self.logged.append,
            cold_disk=self.cold_disk,
            ledger=self.ledger,
        )

    def push(self, made: Made) -> str:
        """Brings a release in without asking anybody."""
        desk = self.desk()
        for digest, data in made.blobs.items():
            desk.blobs.receive(digest, size=len(data), offset=0, read=Reader(data))
        return desk.releases.build(made.manifest, made.signature)[0]

    def serves(self) -> tuple[str, str]:
        """(slot, release) to which all lanes lead; ("", "") when they lead nowhere or apart."""
        lanes = set(self.desk().hands.pointers.read_lanes().values())
        slot = lanes.pop() if len(lanes) == 1 else ""
        return slot, self.desk().hands.pointers.read_slot(slot) if slot else ""


class Reader:
    """read(n) over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, count: int) -> bytes:
        part, self.data = self.data[:count], self.data[count:]
        return part


CHANGING = [
    "write",
    "truncate",
    "fsync",
    "fdatasync",
    "chmod",
    "chown_own",
    "rename",
    "link",
    "symlink",
    "unlink",
    "mkdir",
    "rmdir",
]  # what a failing disk may refuse


class FailingDisk(Disk):
    """A disk whose n-th change fails, and with `stays` every one after it."""

    def __init__(self, nth: int, *, code: int = errno.EIO, stays: bool = False, only: Sequence[str] = CHANGING) -> None:
        self.left = nth
        self.code = code
        self.stays = stays
        self.failed = ""
        for name in only:
            setattr(self, name, self._wrap(name, getattr(self, name)))

    def _wrap(self, name: str, real: Any) -> Any:
        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0 or (self.stays and self.left < 0):
                self.failed = self.failed or name
                raise OSError(self.code, f"no {name}")
            return real(*args)

        return call
