"""A small bundle with all the parts that the roles ask for, and what a server of each system answers."""

import io
import json
import re
import tarfile
import tempfile
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from dsops.catalog.locksets import get_lockset
from dsops.control.bundle.images import write_archive
from dsops.core.sums import make_sums

RELEASE = "r0123456789ab"
# The roles that have a packages.txt, and so a repository in the bundle.
REPOSITORIES = tuple(sorted(file.parent.name for file in (Path(__file__).parents[2] / "roles").glob("*/packages.txt")))
OS_RELEASE = {
    "debian 12": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian',
    "ubuntu 22.04": 'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian',
    "ubuntu 24.04": 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian',
    "debian 13": 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian',
    "rocky 9.4": 'NAME="Rocky Linux"\nVERSION_ID="9.4"\nID="rocky"\nID_LIKE="rhel centos fedora"',
}
LIBC = {"debian 12": "2.36-9+deb12u14", "ubuntu 22.04": "2.35-0ubuntu3.8", "ubuntu 24.04": "2.39-0ubuntu8.3"}
# A driver set for each system.
LOCKSETS = {
    "debian 12": "debian12-535.309.01",
    "ubuntu 22.04": "ubuntu2204-570.133.20-open",
    "ubuntu 24.04": "ubuntu2404-570.133.20-open",
}
# What a guest with soft-RoCE says of its topology.
SOFT_ROCE = """\
== sys
/sys/class/infiniband/rxe0/node_guid\t5054:00ff:fe00:0107
/sys/class/infiniband/rxe0/parent\teth1
/sys/class/infiniband/rxe0/ports/1/state\t4: ACTIVE
/sys/class/infiniband/rxe0/ports/1/rate\t2.5 Gb/sec (1X SDR)
/sys/class/infiniband/rxe0/ports/1/link_layer\tEthernet
/sys/class/infiniband/rxe0/ports/1/gids/1\t0000:0000:0000:0000:0000:ffff:0a62:0007
/sys/class/infiniband/rxe0/ports/1/gid_attrs/types/1\tRoCE v2
/sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/1\teth1
/sys/class/net/eth0/operstate\tup
/sys/class/net/eth1/operstate\tup
== kernel
6.1.0-40-amd64
== addresses
2: eth0    inet 192.0.2.7/24 scope global eth0
3: eth1    inet 10.98.0.7/24 scope global eth1
== route
eth0
== cpu
x86_64
== end
"""
PYTHON = {"debian 12": "cp311", "ubuntu 22.04": "cp311", "ubuntu 24.04": "cp312"}


def write_bundle(folder: Path, *, system: str = "debian 12", python: str = "") -> Path:
    """The folder of a bundle made for a system. Not signed."""
    tag = python or PYTHON[system]
    packages = f"Package: chrony\nVersion: 4.5\n\nPackage: libc6\nArchitecture: amd64\nVersion: {LIBC[system]}\n\n"
    files = {
        **{f"apt/{role}/Packages": packages for role in REPOSITORIES},
        **{f"apt/{role}/InRelease": "signed" for role in REPOSITORIES},
        "apt/base/keyring.gpg": "key",
        "wheels/node/requirements.txt": "click==8.5.1",
        f"wheels/node/uvloop-0.22.1-{tag}-{tag}-manylinux_2_28_x86_64.whl": "wheel",
        "wheels/dsops/dsops-0.1.0-py3-none-any.whl": "wheel",
        "wheels/engine-openvino/requirements.txt": "numpy==1.26.4",
        "triton/bin/tritonserver": "program",
        f"releases/{RELEASE}/release.json": "{}",
        f"releases/{RELEASE}/release.json.sig": "signed",
        f"releases/{RELEASE}/models/llm/1/model.py": "",
        "bundle.json": json.dumps({"release": RELEASE}),
        **render_drivers(LOCKSETS[system]),
        "images/triton.oci.tar": make_image()[0],
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    sums = make_sums((name, sha256(content.encode()).hexdigest()) for name, content in files.items())
    (folder / "SHA256SUMS").write_text(sums.render())
    return folder


@cache
def make_image() -> tuple[str, str]:
    """An image with one file: its archive, which is plain text, and its digest."""

    def fill(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("bin/sh")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"sh"))

    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image"
        digest = write_archive(archive, [fill], work=Path(folder))
        return archive.read_text(), digest


def render_drivers(name: str) -> dict[str, str]:
    """path -> content of a driver set in a bundle."""
    lockset = get_lockset(name)
    modules = {f"{module}.ko": sha256(module.encode()).hexdigest() for module in lockset.modules}
    return {
        f"drivers/{name}/set.json": json.dumps({"lockset": asdict(lockset), "modules": modules}),
        f"drivers/{name}/repo/InRelease": "signed",
        **{f"drivers/{name}/modules/{module}.ko": module for module in lockset.modules},
    }


def write_secrets(folder: Path) -> dict[str, str]:
    """The files that an inventory names, and its keys for them."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {
        "gateway_api_keys_file": "operators:00:11\n",
        "nginx_tls_cert_file": "certificate",
        "nginx_tls_key_file": "the balancer's private key",
        "monitoring_users_file": "operator:$2b$10$x\nprometheus:$2b$10$y\n",
        "monitoring_password_file": "the password",
        "monitoring_tls_cert_file": "certificate",
        "monitoring_tls_key_file": "the monitoring's private key",
        "dsops_public_key_file": "ssh-ed25519 AAAA operators\n",
    }
    for name, content in named.items():
        (folder / name).write_text(content)
    if not (folder / "allowed_signers").exists():
        (folder / "allowed_signers").write_text('somebody namespaces="test@v1" ssh-ed25519 AAAA\n')
    return {name: str(folder / name) for name in named}


def fake_data(bundle: Path, secrets: Path, *, system: str = "debian 12") -> dict[str, Any]:
    """Inventory data of a server behind the connector @fake that runs this system."""
    return {
        "bundle_path": str(bundle),
        "bundle_allowed_signers": str(secrets / "allowed_signers"),
        "bundle_namespace": "test@v1",
        **write_secrets(secrets),
        # Off by default; here its operations are to be seen too.
        "firewall": True,
        "firewall_control": ["192.0.2.0/24"],
        "dsops_address": "192.0.2.7",
        "driver_lockset": LOCKSETS.get(system, ""),
        "container_image": "triton",
        "container_digest": make_image()[1],
        "mig_layouts": ["7x1g.10gb"],
        "mig_slots": ["a: 0/0", "b: 0/1"],
        "rdma": "soft",
        "rdma_soft_interface": "eth1",
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "fake_responses": {
            re.compile(r"ls -pdL \*-release"): f"/etc/os-release\n{OS_RELEASE[system]}\n---",
            "echo filesystem=$(findmnt": "filesystem=ext4\nfree=200000000000\nmemory=1000000\navailable=900000",
            "/sys/class/infiniband/*; do": SOFT_ROCE,
            "command -v": "/usr/bin/found",
        },
    }
