"""Python environments from the bundle's wheels: each in its own folder, switched by one rename."""

import shlex
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell, touch

# Left in an environment once everything is in it.
WHOLE = ".dsops-whole"
# Of Debian's and Ubuntu's python3-venv.
PIP = "/usr/share/python-wheels/pip-*-py3-none-any.whl"
# What a killed deploy started goes on by itself: two must not build in one folder.
LOCK = "flock -w 600 /run/lock/dsops-environment.lock"


class EnvironmentState(FactBase[tuple[str, bool]]):
    """(where the link leads, whether the wanted environment is there and whole)."""

    @staticmethod
    def default() -> tuple[str, bool]:
        """What a server says that says nothing."""
        return "", False

    def command(self, path: str, target: str) -> str:
        whole = f"[ -f {shlex.quote(target)}/{WHOLE} ] && [ -x {shlex.quote(target)}/bin/python ]"
        return f"readlink {shlex.quote(path)} || echo; {whole} && echo whole || true"

    def process(self, output: list[str]) -> tuple[str, bool]:
        return output[0], output[1:] == ["whole"]


@operation()
def environment(
    path: str,
    *,
    version: str,
    requirements: Sequence[str],
    wheels: Mapping[str, str] = MappingProxyType({}),
    python: str = "python3",
    turn: bool = True,
) -> Generator[Any, None, None]:
    """Makes the link `path` point to an environment with exactly these wheels.

    + path: absolute; becomes a link to `path`s/<version>
    + version: names the content; another content needs another name
    + requirements: folders with wheels and a requirements.txt with hashes
    + wheels: further .whl files -> their sha256 (dsops itself)
    + python: the interpreter on the server
    + turn: False: a link that leads elsewhere is left to `upgrade`; this only builds
    """
    target = f"{path}s/{version}"
    link, is_whole = host.get_fact(EnvironmentState, path=path, target=target)
    stays = bool(link) and not turn
    if is_whole and (stays or link == target):
        host.noop(f"{path}s has {version}")
        return
    tell("environment", path, f"{'turned to' if is_whole else 'built:'} {version}")
    if not stays:
        touch(path)
    quoted, new = shlex.quote(target), shlex.quote(f"{path}.new")
    if not is_whole:
        for step in render_build(target, requirements=requirements, wheels=wheels, python=python):
            yield f"{LOCK} sh -c {shlex.quote(step)}"
    if not stays:
        yield f"ln -sfn {quoted} {new} && mv -fT {new} {shlex.quote(path)}"
    yield render_prune(f"{path}s", target=target, old=link)


def render_prune(folder: str, *, target: str, old: str) -> str:
    """Shell that removes environments: what is wanted stays, and what was in use, to go back to; else the newest."""
    keep = f"-e {shlex.quote(f'{target}/')}"
    if old and old != target:
        keep += f" -e {shlex.quote(f'{old}/')}"
        return f"ls -1d {shlex.quote(folder)}/*/ | grep -vxF {keep} | xargs -r rm -rf"
    return f"ls -1dt {shlex.quote(folder)}/*/ | grep -vxF {keep} | tail -n +2 | xargs -r rm -rf"


def render_build(
    target: str, *, requirements: Sequence[str], wheels: Mapping[str, str], python: str = "python3"
) -> list[str]:
    """The shell steps that make an environment; only the last one makes it count as whole."""
    quoted, lock = shlex.quote(target), f"{shlex.quote(target)}/requirements.txt"
    # The system's own pip, as its wheel: to install one into each environment would take longer than all the rest.
    pip = f"$(ls {PIP} 2>/dev/null | tail -n 1)"
    flags = "-qq --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check --require-hashes"
    found = " ".join(f"--find-links {shlex.quote(folder)}" for folder in requirements)
    locks = shlex.join(f"{folder}/requirements.txt" for folder in requirements)
    own = "".join(f"{wheel} --hash=sha256:{digest}\n" for wheel, digest in wheels.items())
    return [
        f"rm -rf {quoted} && mkdir -p $(dirname {quoted})",
        f"pip={pip}; {python} -m venv ${{pip:+--without-pip}} {quoted}",
        f"{{ cat {locks}; printf %s {shlex.quote(own)}; }} > {lock}",
        f"PYTHONPATH={pip} {quoted}/bin/python -m pip install {flags} {found} -r {lock}",
        f"sync -f {quoted} && touch {quoted}/{WHOLE}",
    ]
