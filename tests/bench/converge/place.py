"""Where the bench happens: a private lab of bare servers that have Python, a bundle of its own, and the other tools."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from dsops.control.bundle.debs import AptCache, build_repository, ensure_apt_key
from dsops.control.bundle.sign import LAB_NAMESPACE, ensure_signer, sign
from dsops.control.bundle.verify import read_sums
from dsops.core.errors import DsopsError
from dsops.lab import base as lab_base
from dsops.lab import server as lab_server
from dsops.lab.down import down
from dsops.lab.mounts import remove_tree, unmount_below
from dsops.lab.place import Lab, Server
from dsops.lab.processes import find_leader
from dsops.lab.progress import Lines
from dsops.lab.run import run
from dsops.lab.up import up

HERE = Path(__file__).parent
ROOT = Path("/var/lib/dsops-lab-bench")
MOST = 30
SERVERS = tuple(Server(f"n{number}", 10 + number, disk_gb=1) for number in range(1, MOST + 1))
BENCH = Lab(ROOT, "dsopsb0", IPv4Network("10.95.0.0/24"), SERVERS, ROOT / "base")
# Ansible's modules need a Python on the server, and python3-apt for packages: every server has both beforehand.
PYTHON = ("python3", "python3-apt")
PACKAGES = ("chrony", "tree", "rsync")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
QUIET = Lines(lambda line: None)


@dataclass(frozen=True)
class Place:
    """The lab with as many servers as a run takes, and the files on the control host that the tools read."""

    lab: Lab

    @property
    def bundle(self) -> Path:
        return ROOT / "bundle"

    @property
    def signers(self) -> Path:
        return ROOT / "signer/allowed_signers"

    @property
    def tools(self) -> Path:
        """The venv of the other tools."""
        return ROOT / "tools"

    @property
    def work(self) -> Path:
        """Inventories and logs of the tools."""
        return ROOT / "work"

    def first(self, count: int) -> list[Server]:
        return list(self.lab.servers[:count])


def prepare(count: int) -> Place:
    """Everything that a run with `count` servers needs, made unless it is there; the servers are up."""
    lab = replace(BENCH, servers=SERVERS[:count])
    place = Place(lab)
    place.work.mkdir(parents=True, exist_ok=True)
    ensure_system(lab)
    ensure_bundle(place)
    ensure_tools(place)
    try:
        up(lab, QUIET, take_over=True)
    except DsopsError:  # of many at once one may be taken for dead before it has begun
        up(lab, QUIET, take_over=True)
    return place


@contextmanager
def many_servers() -> Iterator[None]:
    """Room for the watches of many systemds: all servers' root is one user to this kernel, which gives 128 to each."""
    before = INOTIFY.read_text()
    INOTIFY.write_text(str(max(int(before), 128 + 16 * MOST)))
    try:
        yield
    finally:
        INOTIFY.write_text(before)


def ensure_system(lab: Lab) -> None:
    """The lab's base system with Python in it, below the bench's own folder."""
    if lab_base.find_base(lab):
        return
    building = lab.base / "building"
    lab_base.discard(building)
    (building / "tmp").mkdir(parents=True)
    lab_base.debootstrap(lab, building, (*lab_base.INCLUDED, *PYTHON))
    lab_base.finish(building / "root")
    (building / "root").rename(lab.base / lab_base.recipe())
    lab_base.discard(building)


def ensure_bundle(place: Place) -> None:
    """A signed folder with one apt repository in it: the packages that the servers lack, and what these need."""
    if (place.bundle / "SHA256SUMS.sig").exists():
        return
    system = lab_base.find_base(place.lab)
    assert system
    cache = AptCache(ROOT / "apt")
    shutil.copy(system / "var/lib/dpkg/status", cache.folder / "status")  # what is there need not be carried
    cache.update()
    shutil.rmtree(place.bundle, ignore_errors=True)
    repository = place.bundle / "apt/base"
    repository.parent.mkdir(parents=True)
    build_repository(cache.fetch(list(PACKAGES)), out=repository, key=ensure_apt_key(ROOT / "gnupg"))
    (place.bundle / "bundle.json").write_text(json.dumps({"bench": "converge"}))
    (place.bundle / "SHA256SUMS").write_text(read_sums(place.bundle).render())
    run(["tar", "-C", repository, "-cf", place.work / "repository.tar", "."])  # what a playbook carries
    sign(place.bundle / "SHA256SUMS", ensure_signer(ROOT / "signer", name="bench", namespace=LAB_NAMESPACE))


def ensure_tools(place: Place) -> None:
    """ansible-core and mitogen, from the package registry that this machine's pip is set up for."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = place.tools / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    remove_tree(place.tools)
    run([sys.executable, "-m", "venv", place.tools], timeout=120)
    install: list[str | Path] = [place.tools / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*install, "-r", HERE / "requirements.txt"], timeout=600)
    stamp.write_text(wanted)


def renew(place: Place, servers: list[Server]) -> None:
    """The servers as they came: their disks thrown away, and started again."""
    system = lab_base.find_base(place.lab)
    assert system

    def once(server: Server) -> None:
        lab_server.stop(place.lab, server)
        home = place.lab.home(server)
        unmount_below(home.path)
        remove_tree(home.path)
        lab_server.ensure_prepared(place.lab, server, system)
        start(place.lab, server)

    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(once, servers))


def start(lab: Lab, server: Server, *, tries: int = 3) -> None:
    """Starts a server; of many at once one may be taken for dead before it has begun."""
    for left in reversed(range(tries)):
        try:
            lab_server.ensure_started(lab, server)
            lab_server.wait_ready(lab, server)
            return
        except DsopsError:
            if not left:
                raise


def take_down() -> None:
    """Ends the lab; the base system, the bundle and the tools stay for the next time."""
    down(BENCH, QUIET, take_over=True)


def enter(place: Place, server: Server, script: str) -> str:
    """What a shell script says inside a server; by its namespaces, so that no SSH login is counted for it."""
    leader = find_leader(place.lab, server.name)
    argv = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "sh", "-s"]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout
