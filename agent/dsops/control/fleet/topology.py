"""A server's topology: asked over SSH on the login that pyinfra uses, or read from a recording's folder."""

from collections.abc import Mapping
from pathlib import Path

from dsops.control.doctor.probe import with_login
from dsops.control.fleet import ssh
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError
from dsops.core.topology.asked import NONE, TRANSPORTS, Asked, parse_map
from dsops.core.topology.probe import PARTS, SCRIPT, split_answer

# nvidia-smi has 15 s for each of two answers.
SECONDS = 45.0


def ask_server(fleet: Fleet, server: Server) -> Mapping[str, str]:
    """part -> text. Raises DsopsError."""
    done = ssh.run(fleet, with_login(server), ["sh", "-c", SCRIPT], timeout=SECONDS)
    return split_answer(done.stdout, where=server.name)


def read_recording(folder: Path) -> Mapping[str, str]:
    """part -> text, of the files that are there. Raises DsopsError when the folder is none."""
    found = {name: folder / f"{name}.txt" for name in PARTS if (folder / f"{name}.txt").is_file()}
    if "sys" not in found:
        mend = f"a recording is a folder with sys.txt and more: `dsops network plan NODE --record {folder}`"
        raise DsopsError("is no recording of a topology", where=str(folder), mend=mend)
    return {name: path.read_text(errors="replace") for name, path in found.items()}


def write_recording(parts: Mapping[str, str], folder: Path) -> None:
    """A file for each part. Raises DsopsError rather than write over another recording."""
    if (folder / "sys.txt").exists():
        raise DsopsError("a recording is there already", where=str(folder), mend="name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in parts.items():
        (folder / f"{name}.txt").write_text(text)


def read_asked(server: Server) -> Asked:
    """What the inventory says of this server. Raises DsopsError on a wrong type."""
    transport = server.get("rdma", str, NONE)
    if transport not in TRANSPORTS:
        mend = f"one of {', '.join(TRANSPORTS)}"
        raise DsopsError(f"is {transport!r}", where=f"{server.name}/rdma", mend=mend)
    return Asked(
        transport=transport,
        compute=_texts(server, "rdma_compute"),
        aside=_texts(server, "rdma_aside"),
        by_hand=parse_map(_texts(server, "rdma_map"), where=f"{server.name}/rdma_map"),
        rails=server.get("rdma_rails", bool, False),
        far=server.get("rdma_far", bool, False),
        address=server.get("dsops_address", str, ""),
        reached=server.address,
        topology_file=server.get("rdma_topology_file", bool, False),
    )


def _texts(server: Server, key: str) -> tuple[str, ...]:
    found = server.data.get(key, ())
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise DsopsError(f"should be a list of texts, is {found!r}", where=f"{server.name}/{key}", mend="mend it")
    return tuple(found)
