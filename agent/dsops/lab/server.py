"""One server: its disk, its mounts, its identity; how it is started and when it answers."""

import time
import uuid
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import cgroups, gpus, keys, network
from dsops.lab.launch import launch
from dsops.lab.mounts import is_mounted, remove_tree, unmount_below
from dsops.lab.place import Home, Lab, Server
from dsops.lab.processes import end_parts, find_leader, find_parts, is_gone
from dsops.lab.run import read, run, write

MAKE_DISK = ("mkfs.ext4", "-q", "-m", "1", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")


def ensure_prepared(lab: Lab, server: Server, base: Path) -> bool:
    """Make the server's files unless they are whole; whether it made them. A half-made one is begun anew."""
    home = lab.home(server)
    if home.prepared.exists():
        _ensure_mounts(lab, home)
        return bool(server.gpus) and gpus.install(lab, server)
    unmount_below(home.path)
    remove_tree(home.path)
    for folder in (home.upper, home.work, home.root, home.data, home.gpus):
        folder.mkdir(parents=True)
    (home.path / "base").write_text(str(base))
    _make_disk(home.image, server.disk_gb)
    _ensure_mounts(lab, home)
    _configure(lab, server)
    write(home.prepared, base.name + "\n")
    return True


def _make_disk(image: Path, gigabytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(gigabytes << 30)
    run([*MAKE_DISK, "-L", "dsops", image])


def _ensure_mounts(lab: Lab, home: Home) -> None:
    if not is_mounted(home.root):
        layers = f"lowerdir={read(home.path / 'base')},upperdir={home.upper},workdir={home.work}"
        # redirect_dir: folders of the base can be renamed, as on a real disk
        run(
            [
                "mount",
                "-t",
                "overlay",
                f"dsops-lab-{lab.bridge}",
                "-o",
                f"{layers},redirect_dir=on",
                home.root,
            ]
        )
    if not is_mounted(home.data):
        run(["mount", "-t", "ext4", "-o", "loop,noinit_itable", home.image, home.data])


def _configure(lab: Lab, server: Server) -> None:
    write_identity(lab, server, lab.home(server).root)
    if server.gpus:
        gpus.reset(lab.home(server).gpus, server)
        gpus.install(lab, server)


def write_identity(lab: Lab, server: Server, root: Path, *, match: str = "Name=host0") -> None:
    """Who a fresh system below `root` is: name, keys, network. match: systemd-networkd's word for its interface."""
    write(root / "etc/hostname", f"{server.name}\n")
    write(root / "etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
    write(root / "etc/hosts", render_hosts(lab))
    write(root / "etc/resolv.conf", f"nameserver {lab.gateway}\n")
    write(root / "etc/systemd/network/10-lab.network", render_network(lab, server, match=match))
    write(root / "root/.ssh/authorized_keys", f"{keys.public(lab.key)}\n", mode=0o600)
    (root / "root/.ssh").chmod(0o700)
    key = keys.host_key(lab, server)
    write(root / "etc/ssh/ssh_host_ed25519_key", read(key), mode=0o600)
    write(root / "etc/ssh/ssh_host_ed25519_key.pub", f"{keys.public(key)}\n")


def render_hosts(lab: Lab) -> str:
    names = [f"{lab.address(server)}\t{server.name}" for server in lab.everyone]
    return "\n".join(["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", *names]) + "\n"


def render_network(lab: Lab, server: Server, *, match: str = "Name=host0") -> str:
    """systemd-networkd: the address belongs to the server, so that it is there again after a reboot."""
    return f"""[Match]
{match}

[Network]
Address={lab.address(server)}/{lab.subnet.prefixlen}
Address={lab.address6(server)}/{lab.subnet6.prefixlen}
Gateway={lab.gateway}
Gateway={lab.gateway6}
DNS={lab.gateway}
IPv6AcceptRA=no
IPv6DuplicateAddressDetection=0
LLMNR=no
MulticastDNS=no
"""


def nspawn_argv(lab: Lab, server: Server) -> list[str]:
    home = lab.home(server)
    gpu_files = [f"--bind-ro={home.gpus}:{gpus.INSIDE}"] if server.gpus else []
    return [
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no",
        f"--directory={home.root}", f"--machine={lab.machine(server)}", f"--hostname={server.name}",
        f"--network-bridge={lab.bridge}", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        "--rlimit=RLIMIT_NOFILE=1024:524288",  # what a systemd machine gives; ours may have less
        f"--bind={home.data}:/var/lib/dsops", *gpu_files,
    ]  # fmt: skip


def ensure_started(lab: Lab, server: Server) -> bool:
    """Start the server unless it runs; a frozen one is thawed. Whether anything was done."""
    if cgroups.is_frozen(lab, server):
        cgroups.thaw(lab, server)
        return True
    if any(not part.inside for part in find_parts(lab, server.name)) and _has_leader(lab, server):
        return False
    stop(lab, server)
    home = lab.home(server)
    home.console.write_bytes(b"")
    if server.gpus:
        gpus.begin_log(home.gpus)
    groups = [] if cgroups.has_systemd() else cgroups.make_groups(lab, server)
    tmp_on_disk = {"SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
    launch(lab, server.name, nspawn_argv(lab, server), log=home.console, groups=groups, env=tmp_on_disk)
    return True


def _has_leader(lab: Lab, server: Server, *, patience: float = 5) -> bool:
    """Process 1 exists; a supervisor that just begins (or a server between two boots) is given a moment."""
    until = time.monotonic() + patience
    while find_leader(lab, server.name) is None:
        if time.monotonic() > until or is_gone(lab, server.name):
            return False
        time.sleep(0.05)
    return True


def stop(lab: Lab, server: Server) -> int:
    """kill -9 all that runs of a server, and what it leaves; how many processes that were."""
    ended = end_parts(lab, server.name, thaw=lambda: cgroups.thaw(lab, server))
    network.remove_port(lab, server)
    cgroups.remove_groups(lab, server)
    return ended


def parse_listening(table: str, port: int) -> bool:
    """Whether anybody listens on a TCP port. table: /proc/PID/net/tcp or tcp6."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows if len(row) > 3)


def is_listening(pid: int, port: int) -> bool:
    """The same, asked of the kernel, so that the server's log shows no callers who only knock."""
    return any(parse_listening(read(Path(f"/proc/{pid}/net/{family}")), port) for family in ("tcp", "tcp6"))


def wait_ready(lab: Lab, server: Server, *, patience: float = 60) -> str:
    """Wait until ssh with the lab's key works; systemd's own word for the state it is in then."""
    until = time.monotonic() + patience
    while not ((leader := find_leader(lab, server.name)) and is_listening(leader, 22)):
        if time.monotonic() > until or is_gone(lab, server.name):
            raise DsopsError("does not boot", where=server.name, mend=f"read {lab.home(server).console}")
        time.sleep(0.05)
    argv = keys.ssh_argv(lab, server, f"timeout {patience:.0f} systemctl is-system-running --wait || true")
    return run(argv, timeout=patience + 5, where=server.name).strip() or "still starting"
