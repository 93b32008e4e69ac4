"""The lab's keys: one for the operator, one for each server, and the known_hosts that pins them."""

from pathlib import Path

from dsops.lab.place import Lab, Server
from dsops.lab.run import read, run, write


def host_key(lab: Lab, server: Server) -> Path:
    return lab.key.parent / "hosts" / server.name


def ensure_keys(lab: Lab) -> bool:
    """Generate what is missing and write known_hosts; whether anything changed. Keys outlive `lab down`."""
    lab.key.parent.mkdir(parents=True, exist_ok=True)
    lab.key.parent.chmod(0o700)
    paths = {lab.key: "dsops-lab", **{host_key(lab, server): server.name for server in lab.everyone}}
    made = [_ensure_key(path, comment) for path, comment in paths.items()]
    text = render_known_hosts({_names(lab, server): public(host_key(lab, server)) for server in lab.everyone})
    if read(lab.known_hosts) == text:
        return any(made)
    write(lab.known_hosts, text)
    return True


def _ensure_key(path: Path, comment: str) -> bool:
    if public(path) and read(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for stale in (part, part.with_name(f"{part.name}.pub")):
        stale.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", part])
    part.with_name(f"{part.name}.pub").replace(path.with_name(f"{path.name}.pub"))
    part.replace(path)
    return True


def public(path: Path) -> str:
    return read(path.with_name(f"{path.name}.pub")).strip()


def _names(lab: Lab, server: Server) -> str:
    return f"{server.name},{lab.address(server)}"


def render_known_hosts(keys: dict[str, str]) -> str:
    """One line a server, by name and by address. Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""
    return "".join(f"{names} {' '.join(key.split()[:2])}\n" for names, key in keys.items())


def ssh_argv(lab: Lab, server: Server, *command: str, timeout: int = 5) -> list[str]:
    """The ssh command that reaches a server, with nothing of the user's own ssh settings."""
    options = [
        "BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null",
        f"UserKnownHostsFile={lab.known_hosts}", f"ConnectTimeout={timeout}", "LogLevel=ERROR",
    ]  # fmt: skip
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", "none", "-i", str(lab.key), *words, f"root@{lab.address(server)}", *command]
