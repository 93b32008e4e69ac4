"""The bench's state by dsops: its own operations, as the roles use them."""

from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from roles.ops.accounts import account
from roles.ops.bundle import BUNDLE, bundle_path, bundle_tree
from roles.ops.files import Owner, config_file, folders, link, render
from roles.ops.packages import index, packages, read_versions
from roles.ops.site import start_site
from roles.ops.sysctl import sysctl_file
from roles.ops.units import unit

STATE = Path("tests/bench/converge/state").resolve()
PARTS = [
    {"name": "web", "port": 9101},
    {"name": "worker", "port": 9102},
    {"name": "cache", "port": 9103},
    {"name": "queue", "port": 9104},
    {"name": "log", "port": 9105},
]
VALUES: dict[str, Any] = {
    "site_name": "bench",
    "workers": 4,
    "nofile": 65536,
    "journal_mb": 64,
    "rotate": 8,
    "parts": PARTS,
    "ntp_servers": ["10.95.0.1"],
    "sysctl": {"net.ipv4.tcp_syncookies": 1, "net.ipv4.ip_local_port_range": "20000 60999"},
}
FOLDERS = {
    "/etc/dsops": Owner("755"),
    "/etc/dsops/apt.d": Owner("755"),
    "/var/lib/dsops/bundle/apt": Owner("755"),
    "/etc/site": Owner("755"),
    "/etc/site/conf.d": Owner("755"),
    "/opt/site": Owner("755"),
    "/opt/site/bin": Owner("755"),
    "/etc/systemd/journald.conf.d": Owner("755"),
    "/srv/site": Owner("750", "site", "site"),
    "/srv/site/data": Owner("750", "site", "site"),
    "/var/log/site": Owner("750", "site", "adm"),
}
# target -> template or file of the state, and its owner
FILES = {
    "/etc/site/site.conf": ("site.conf.j2", Owner()),
    "/etc/site/secret": ("secret", Owner("600")),
    "/etc/site/tokens": ("tokens", Owner("640", "root", "site")),
    "/etc/security/limits.d/90-site.conf": ("limits.conf.j2", Owner()),
    "/etc/systemd/journald.conf.d/90-site.conf": ("journald.conf.j2", Owner()),
    "/etc/logrotate.d/site": ("logrotate.j2", Owner()),
    "/etc/cron.d/site": ("cron.j2", Owner()),
    "/etc/profile.d/site.sh": ("profile.sh.j2", Owner()),
    "/etc/motd": ("motd.j2", Owner()),
    "/etc/chrony/conf.d/site.conf": ("chrony.conf.j2", Owner()),
    "/opt/site/bin/site-work": ("site-work", Owner("755")),
    "/etc/systemd/system/site-tidy.service": ("site-tidy.service", Owner()),
    "/etc/systemd/system/site-tidy.timer": ("site-tidy.timer", Owner()),
}


@deploy("bench")
def bench() -> None:
    """Everything that the playbook beside it does."""
    account(name="bench: site", user="site", home="/srv/site")
    account(name="bench: site-web", user="site-web", home="/nonexistent")
    account(name="bench: site-backup", user="site-backup", home="/nonexistent", groups=("adm", "systemd-journal"))
    folders(name="bench: folders", wanted=FOLDERS)
    _install()
    for target, (source, owner) in FILES.items():
        config_file(name=f"bench: {target}", path=target, content=_read(source), owner=owner)
    for part in PARTS:
        path = f"/etc/site/conf.d/{part['name']}.conf"
        config_file(name=f"bench: {path}", path=path, content=_read("part.conf.j2", **part))
    link(name="bench: current", path="/etc/site/current.conf", target="conf.d/web.conf")
    sysctl_file(role="bench", path="/etc/sysctl.d/90-site.conf", content=_read("sysctl.conf.j2"))
    for name in ("web", "worker"):
        path = f"/etc/systemd/system/site-{name}.service"
        config_file(name=f"bench: {path}", path=path, content=_read("service.j2", name=name))
    for name in ("web", "worker"):
        inputs = ["/opt/site/bin/site-work", f"/etc/site/conf.d/{name}.conf"]
        unit(name=f"bench: site-{name} running", unit_name=f"site-{name}.service", inputs=inputs)
    unit(name="bench: timer", unit_name="site-tidy.timer")
    journald = ["/etc/systemd/journald.conf.d/90-site.conf"]
    unit(name="bench: journald", unit_name="systemd-journald.service", inputs=journald)


def _install() -> None:
    """The packages, from the bundle and from nowhere else."""
    bundle_tree("apt/base")
    config_file(name="bench: apt.conf", path="/etc/dsops/apt.conf", content=_read("apt.conf"))
    keyring = (bundle_path() / "apt/base/keyring.gpg").read_bytes()
    config_file(name="bench: keyring", path="/etc/dsops/apt-keyring.gpg", content=keyring)
    config_file(name="bench: apt source", path="/etc/dsops/apt.d/base.list", content=_read("base.list"))
    index(name="bench: apt reads the bundle", repository=f"{BUNDLE}/apt/base")
    held = read_versions((bundle_path() / "apt/base/Packages").read_text())
    packages(name="bench: packages", wanted={name: held[name] for name in ("chrony", "tree", "rsync")})


def _read(source: str, **more: object) -> str:
    path = STATE / source
    return render(path, **{**VALUES, **more}) if source.endswith(".j2") else path.read_text()


if start_site():
    bench()
