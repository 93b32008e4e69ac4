"""This machine as the server of an operation: its facts and commands really run, in sh, against temporary folders."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, FunctionCommand
from pyinfra.context import ctx_host


class _Channel:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def shutdown_write(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def recv_exit_status(self) -> int:
        return self.process.wait(timeout=20)


class _Stream:
    def __init__(self, process: subprocess.Popen[bytes], file: Any) -> None:
        self.channel, self._file = _Channel(process), file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Client:
    """As paramiko's, as far as `pipe` uses it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def exec_command(self, command: str, timeout: float) -> tuple[_Stream, _Stream, _Stream]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, shell=True, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(self._env))
        return tuple(_Stream(process, file) for file in (process.stdin, process.stdout, process.stderr))  # type: ignore[return-value]


@dataclass
class Here:
    """Stands for pyinfra's Host. path: folders with programs that come before the machine's own."""

    path: str = ""
    name: str = "here"
    ran: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{self.path}:{os.environ['PATH']}"}

    @property
    def connector(self) -> Any:
        client = _Client(self.env)
        return type("Connector", (), {"client": client})

    def get_fact(self, kind: type[FactBase[Any]], **arguments: Any) -> Any:
        fact: Any = kind()
        done = self.sh(fact.command(**arguments))
        assert done.returncode == 0, done.stderr
        return fact.process(done.stdout.splitlines()) if done.stdout else fact.default()

    def noop(self, text: str) -> None:
        self.said.append(text)

    def sh(self, command: str) -> subprocess.CompletedProcess[str]:
        words = ["sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, env=self.env, check=False)

    def perform(self, operation: Any, **arguments: Any) -> bool:
        """Runs an operation as pyinfra would; whether it changed anything. Raises CommandFailed."""
        changed = False
        with self._as_host():
            for command in operation._inner(**arguments):
                changed = True
                self._run(command)
        return changed

    def _run(self, command: Any) -> None:
        if isinstance(command, FunctionCommand):
            self.ran.append(command.function.__name__)
            if not command.function(None, self, *command.args, **command.kwargs):
                raise CommandFailed(command.function.__name__)
            return
        self.ran.append(str(command))
        done = self.sh(str(command))
        if done.returncode:
            raise CommandFailed(done.stderr)

    @contextmanager
    def _as_host(self) -> Iterator[None]:
        with ctx_host.use(self):
            yield


class CommandFailed(Exception):
    """A command of an operation ended with another code than 0."""


def write_program(folder: Path, name: str, text: str) -> None:
    """A shell script that stands in for a program of the server."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
