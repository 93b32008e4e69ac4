"""Python environments from the bundle's wheels: each in its own folder, switched by one rename."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

# Left in an environment once everything is in it.
WHOLE = ".dsops-whole"
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
    path: str, *, version: str, requirements: Sequence[str], wheels: Sequence[str] = (), python: str = "python3"
) -> Generator[Any, None, None]:
    """Makes the link `path` point to an environment with exactly these wheels.

    + path: absolute; becomes a link to `path`s/<version>
    + version: names the content; another content needs another name
    + requirements: folders with wheels and a requirements.txt with hashes
    + wheels: further .whl files, without a lock of their own (dsops itself; the bundle's sums cover it)
    + python: the interpreter on the server
    """
    target = f"{path}s/{version}"
    link, is_whole = host.get_fact(EnvironmentState, path=path, target=target)
    if link == target and is_whole:
        host.noop(f"{path} is {version}")
        return
    quoted, folder, new = shlex.quote(target), shlex.quote(f"{path}s"), shlex.quote(f"{path}.new")
    if not is_whole:
        for step in render_build(target, requirements=requirements, wheels=wheels, python=python):
            yield f"{LOCK} sh -c {shlex.quote(step)}"
    yield f"ln -sfn {quoted} {new} && mv -fT {new} {shlex.quote(path)}"
    # One older environment stays, to go back to; the rest goes.
    yield f"touch {quoted} && ls -1dt {folder}/*/ | tail -n +3 | xargs -r rm -rf"


def render_build(target: str, *, requirements: Sequence[str], wheels: Sequence[str], python: str) -> list[str]:
    """The shell steps that make an environment; only the last one makes it count as whole."""
    quoted = shlex.quote(target)
    flags = "-qq --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check"
    pip = f"{quoted}/bin/python -m pip install {flags}"
    steps = [f"rm -rf {quoted} && mkdir -p $(dirname {quoted}) && {python} -m venv {quoted}"]
    for folder in requirements:
        lock = shlex.quote(f"{folder}/requirements.txt")
        steps.append(f"{pip} --require-hashes --find-links {shlex.quote(folder)} -r {lock}")
    if wheels:
        steps.append(f"{pip} {shlex.join(wheels)}")
    return [*steps, f"sync -f {quoted} && touch {quoted}/{WHOLE}"]
