"""Python environments from the bundle's wheels: each in its own folder, switched by one rename."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from roles.ops.files import LinkTarget


@operation()
def environment(
    path: str, *, version: str, requirements: Sequence[str], wheels: Sequence[str] = (), python: str = "python3"
) -> Generator[Any, None, None]:
    """Makes the link `path` point to an environment with exactly these wheels.

    + path: absolute; becomes a link to `path`s/<version>
    + version: names the content; another content needs another name
    + requirements: folders with wheels and a requirements.txt with hashes
    + wheels: further .whl files, without a lock of their own (dsops itself; the bundle's sums cover it)
    """
    target = f"{path}s/{version}"
    if host.get_fact(LinkTarget, path=path) == target:
        host.noop(f"{path} is {version}")
        return
    new, quoted = shlex.quote(f"{target}.new"), shlex.quote(target)
    flags = "-qq --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check"
    pip = f"{quoted}/bin/python -m pip install {flags}"
    yield f"rm -rf {new} {quoted} && install -d -m 755 {shlex.quote(path + 's')} && {python} -m venv {quoted}"
    for folder in requirements:
        lock = shlex.quote(f"{folder}/requirements.txt")
        yield f"{pip} --require-hashes --find-links {shlex.quote(folder)} -r {lock}"
    if wheels:
        yield f"{pip} {shlex.join(wheels)}"
    yield f"ln -sfn {quoted} {shlex.quote(path)}.new && mv -fT {shlex.quote(path)}.new {shlex.quote(path)}"
    # One older environment stays, to go back to; the rest goes.
    yield f"ls -1dt {shlex.quote(path + 's')}/*/ | tail -n +3 | xargs -r rm -rf"
