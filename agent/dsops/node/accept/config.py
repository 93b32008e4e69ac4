"""accept.toml: with what a server burns its GPUs in, and whether it does."""

from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.config import read_config

PATH = Path("/etc/dsops/accept.toml")


@dataclass(frozen=True)
class AcceptConfig:
    """python: the one that has PyTorch, "" = an engine's. cubins: kernels built elsewhere, "" = what came along.

    burn_in: False where GPUs cannot be burnt in, such as simulated ones. storage_mib: what is written to the store's
    disk, read, and removed.
    """

    burn_in: bool = True
    python: str = ""
    cubins: str = ""
    storage_mib: int = 1024


def read_accept_config(path: Path = PATH) -> AcceptConfig:
    """The defaults where there is no file. Raises DsopsError naming the key."""
    return read_config(path, AcceptConfig) if path.exists() else AcceptConfig()
