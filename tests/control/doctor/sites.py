"""A site, servers and their answers, as the checks are handed them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dsops.control.doctor.defaults import read_keys, read_systems
from dsops.control.doctor.facts import Facts, Seen, parse
from dsops.control.doctor.server import Patient
from dsops.control.doctor.site import BundleFacts, Site
from dsops.control.fleet.inventory import Fleet, Server

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
SIZES = {
    "apt/base": 40 * MIB,
    "apt/engine": 2 * MIB,
    "apt/nginx": MIB,
    "apt/monitoring": 30 * MIB,
    "wheels/node": 40 * MIB,
    "wheels/dsops": MIB,
    "wheels/engine-openvino": 80 * MIB,
    "releases/r1": 5 * MIB,
    "triton": 110 * MIB,
}
BUNDLE = BundleFacts("r1", "debian 12", "0.1.0", SIZES)

# What gpu1 of the lab said, and a fresh one after it.
DEPLOYED = """probe=1
now=1000.5
uid=0
arch=x86_64
os.ID=debian
os.VERSION_ID=12
systemd=running
avx2=yes
kib.MemTotal=24684084
kib.SwapTotal=0
kib.SwapFree=0
disk=/var/lib/dsops /var/lib/dsops 8154588 7883276
disk=/var/lib / 264212084 71974428
disk=/opt/dsops / 264212084 71961884
have=/var/lib/dsops/releases/r1
have=/var/lib/dsops/bundle/apt/base
have=/var/lib/dsops/bundle/apt/engine
have=/var/lib/dsops/bundle/wheels/dsops
have=/var/lib/dsops/bundle/wheels/engine-openvino
have=/var/lib/dsops/bundle/wheels/node
have=/opt/dsops/triton
mount=/ rw,relatime,lowerdir=/var/base,upperdir=/var/upper
mount=/run rw,nosuid,nodev,mode=755
mount=/run/lock rw,nosuid,nodev,noexec,relatime,size=5120k
mount=/var/lib/dsops rw,relatime,noinit_itable
listeners=yes
listen=0.0.0.0:9411 9143 dsops-gateway.service python
listen=0.0.0.0:9410 9201 dsops-agent.service python
listen=127.0.0.1:8100 8953 triton@a.service tritonserver
listen=[::ffff:127.0.0.1]:8101 8953 triton@a.service tritonserver
listen=[::]:22 38 ssh.service sshd
listen=127.0.0.53%lo:53 99 systemd-resolved.service systemd-resolve
upgrades=no
gpus.nvml=2
route=host0
end=1
"""


def make_facts(**changes: Any) -> Facts:
    return replace(parse(DEPLOYED, where="gpu1"), **changes)


def make_server(name: str = "gpu1", group: str = "gpu", **data: Any) -> Server:
    return Server(name, (group,), {"ssh_hostname": f"192.0.2.{len(name)}", **data}, f"site.py:1: {name}")


def make_site(*servers: Server, root: Path = ROOT, bundle: BundleFacts | None = BUNDLE) -> Site:
    fleet = Fleet(root / "inventory/site.py", root, servers or (make_server(),), {})
    return Site(fleet, root, read_keys(ROOT), bundle, read_systems(ROOT))


def make_patient(server: Server | None = None, *, bundle: BundleFacts | None = BUNDLE, **changes: Any) -> Patient:
    """A deployed, healthy gpu1, unless changed."""
    server = server or make_server(agent_gpus=2)
    return Patient(make_site(server, bundle=bundle), server, Seen(make_facts(**changes), 1000.0, 1001.0))
