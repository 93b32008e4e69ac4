"""Files, folders and links on a server: each compared in one command, each put in place by rename."""

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from jinja2 import Environment, StrictUndefined, Template
from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.ops.changes import tell, tell_file, touch
from roles.ops.remote import pipe

Commands = Generator[Any, None, None]


@dataclass(frozen=True)
class Owner:
    """mode in octal text without a leading zero, as `stat -c %a` prints it."""

    mode: str = "644"
    user: str = "root"
    group: str = "root"

    @property
    def text(self) -> str:
        """As `stat -c '%a %U %G'` prints it."""
        return f"{self.mode} {self.user} {self.group}"


def render(template: Path, **values: object) -> str:
    """A role's Jinja template with values; a missing value is an error, never an empty string."""
    return _compile(template).render(values)


@cache
def _compile(template: Path) -> Template:
    """Once a run: the servers of a group all get theirs from the same one."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)  # noqa: S701 - configuration files, not HTML
    return environment.from_string(template.read_text())


class FileState(FactBase[str]):
    """`sha256 mode user group` of a file, or an empty text when it is not there."""

    default = str

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        return f"[ ! -f {quoted} ] || {{ sha256sum < {quoted}; stat -c '%a %U %G' {quoted}; }}"

    def process(self, output: list[str]) -> str:
        return " ".join([output[0][:64], *output[1:]])


@operation()
def config_file(
    path: str, content: str | bytes, *, owner: Owner = Owner(), check: str | None = None, secret: bool = False
) -> Commands:
    """Makes `path` hold exactly `content`.

    + path: absolute
    + content: the whole file; never logged, so secrets may be in it
    + owner: mode, user and group; the file never exists with another mode
    + check: a command that must accept the new file ({} is its path) before it takes the old one's place
    + secret: `dsops plan` shows nothing of it; so of every file that not everybody on the server may read
    """
    data = content.encode() if isinstance(content, str) else content
    digest = sha256(data).hexdigest()
    found = host.get_fact(FileState, path=path)
    if found == f"{digest} {owner.text}":
        host.noop(f"{path} is as wanted")
        return
    tell_file(path, data, found=found, owner=owner.text, secret=secret)
    new = shlex.quote(f"{path}.dsops-new")
    steps = [
        # A left-over of a run that was killed would keep its own mode and owner.
        f"rm -f {new} && umask 077 && cat > {new}",
        # When this side is killed, `cat` sees an end like any other: half a file must go no further.
        f'[ "$(sha256sum < {new} | cut -c1-64)" = {digest} ]',
        f"chown {owner.user}:{owner.group} {new}",
        f"chmod {owner.mode} {new}",
        *([check.replace("{}", new)] if check else []),
        f"sync {new} && mv -fT {new} {shlex.quote(path)}",
    ]
    guarded = f"{{ {' && '.join(steps)}; }} || {{ code=$?; rm -f {new}; exit $code; }}"
    yield FunctionCommand(pipe, (guarded, partial(_write, data)), {})


def _write(data: bytes, out: IO[bytes]) -> None:
    out.write(data)


class FolderStates(FactBase[dict[str, str]]):
    """path -> `mode user group` of every folder that is there."""

    default = dict

    def command(self, paths: Sequence[str]) -> str:
        return f"stat -L -c '%n|%F|%a %U %G' {shlex.join(paths)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        rows = (line.split("|") for line in output)
        return {name: owner for name, kind, owner in rows if kind == "directory"}


@operation()
def folders(wanted: Mapping[str, Owner]) -> Commands:
    """Makes folders exist with their owners, in the order given.

    + wanted: absolute path -> owner
    """
    found = host.get_fact(FolderStates, paths=list(wanted))
    for path, owner in wanted.items():
        if found.get(path) != owner.text:
            tell("folder", path, f"{found.get(path, 'new')} -> {owner.text}" if path in found else f"new, {owner.text}")
    for path, owner in wanted.items():
        if found.get(path) != owner.text:
            yield f"install -d -m {owner.mode} -o {owner.user} -g {owner.group} {shlex.quote(path)}"


class LinkTarget(FactBase[str]):
    """Where a symbolic link points to, or an empty text."""

    default = str

    def command(self, path: str) -> str:
        return f"readlink {shlex.quote(path)} || true"

    def process(self, output: list[str]) -> str:
        return "".join(output)


@operation()
def link(path: str, target: str, *, keep: bool = False) -> Commands:
    """Makes `path` a symbolic link to `target`, put in place by one rename.

    + keep: leave an existing link alone, wherever it points to (its owner is someone else, such as the store)
    """
    found = host.get_fact(LinkTarget, path=path)
    if found == target or (keep and found):
        host.noop(f"{path} points to {found}")
        return
    tell("link", path, f"{found or 'new'} -> {target}")
    touch(path)
    new = shlex.quote(f"{path}.dsops-new")
    yield f"ln -sfn {shlex.quote(target)} {new} && mv -fT {new} {shlex.quote(path)}"
