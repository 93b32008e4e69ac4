"""The bundle of this run: verified once, before anything is changed; its folders go to servers from here."""

from functools import cache
from pathlib import Path

from dsops.core.sums import Sums, parse_sums
from pyinfra import host
from pyinfra.api.operation import OperationMeta

from roles.ops.tree import tree

BUNDLE = "/var/lib/dsops/bundle"


def bundle_path() -> Path:
    """Where the bundle lies on the control host."""
    return Path(host.data.bundle_path).resolve()


@cache
def read_sums(bundle: Path) -> Sums:
    """The signed sums of a bundle that was verified at the start of this run."""
    return parse_sums((bundle / "SHA256SUMS").read_text(), where=str(bundle / "SHA256SUMS"))


def bundle_sums(part: str) -> Sums:
    """The sums of one folder of the bundle, such as `apt/base`. Raises DsopsError when there is none."""
    return read_sums(bundle_path()).below(part)


def bundle_tree(part: str, path: str | None = None) -> OperationMeta:
    """Brings one folder of the bundle to the server (to `path`, or below /var/lib/dsops/bundle)."""
    return tree(
        name=f"bundle: {part}",
        source=str(bundle_path() / part),
        path=path or f"{BUNDLE}/{part}",
        sums=bundle_sums(part),
    )
