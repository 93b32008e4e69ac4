"""The links that nginx follows to each node: switched by rename, so that a kill leaves a whole link."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError

_TEMP = ".new"


@dataclass(frozen=True)
class Links:
    """nodes/<node>.sock -> ../inner/<node>.sock (in) or ../out/<node>.sock, where nothing listens (out)."""

    run_dir: Path

    def read(self, nodes: Iterable[str]) -> dict[str, bool]:
        """Who is in. What is not our link (missing, stale socket, foreign) is out. Tidies after a kill."""
        self._sweep()
        return {node: self._is_in(node) for node in nodes}

    def point(self, node: str, *, is_in: bool) -> None:
        """One rename(2). Raises DsopsError with the mend when the directory does not let us."""
        link = self._link(node)
        temp = link.with_name(f".{link.name}{_TEMP}")
        try:
            temp.unlink(missing_ok=True)
            temp.symlink_to(_target(node, is_in=is_in))
            os.replace(temp, link)  # noqa: PTH105  # the house's word for an atomic switch is rename
        except OSError as error:
            raise DsopsError(
                f"cannot switch {node} ({error.strerror})",
                where=str(link),
                mend=f"`ls -ld {link.parent}`: dsops-balancer must own it; `dsops deploy` makes it",
            ) from error

    def _link(self, node: str) -> Path:
        return self.run_dir / "nodes" / f"{node}.sock"

    def _is_in(self, node: str) -> bool:
        try:
            return str(self._link(node).readlink()) == _target(node, is_in=True)
        except OSError:
            return False

    def _sweep(self) -> None:
        folder = self.run_dir / "nodes"
        try:
            for leftover in folder.glob(f".*{_TEMP}"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise DsopsError(f"cannot be tidied ({error.strerror})", where=str(folder)) from error
        if not folder.is_dir():
            raise DsopsError(
                "is not there",
                where=str(folder),
                mend="start nginx.service first, or run `dsops deploy` again",
            )


def _target(node: str, *, is_in: bool) -> str:
    return f"../{'inner' if is_in else 'out'}/{node}.sock"
