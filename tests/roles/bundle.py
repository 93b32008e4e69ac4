"""A small bundle with all the parts that the roles ask for, and what a server of each system answers."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

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
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    sums = make_sums((name, sha256(content.encode()).hexdigest()) for name, content in files.items())
    (folder / "SHA256SUMS").write_text(sums.render())
    return folder


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
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "fake_responses": {
            re.compile(r"ls -pdL \*-release"): f"/etc/os-release\n{OS_RELEASE[system]}\n---",
            "echo filesystem=$(findmnt": "filesystem=ext4\nfree=200000000000\nmemory=1000000\navailable=900000",
            "command -v": "/usr/bin/found",
        },
    }
