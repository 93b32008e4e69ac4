"""Waits until something on a server answers: systemd's «started» is not health."""

import shlex
from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell

# Every server has the base role's Python; curl is not everywhere.
FETCH = (
    "import sys,urllib.request as r\n"
    "try: sys.exit(0 if r.urlopen(sys.argv[1], timeout=3).status == 200 else 1)\n"
    "except OSError as e: print(e, file=sys.stderr); sys.exit(1)"
)


def render_probe(url: str) -> str:
    """A shell command that succeeds when `url` answers 200 within 3 s."""
    return f"python3 -c {shlex.quote(FETCH)} {shlex.quote(url)}"


class Answers(FactBase[bool]):
    """Whether an URL answers 200 on the server itself."""

    def command(self, url: str) -> str:
        return f"{render_probe(url)} 2>/dev/null && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def answers(url: str, *, unit: str, seconds: int = 120) -> Generator[Any, None, None]:
    """Waits until `url` answers 200; fails, with the unit's last lines, after `seconds` or once the unit gave up."""
    if host.get_fact(Answers, url=url):
        host.noop(f"{url} answers")
        return
    tell("wait", url, f"until it answers, {seconds} s at most")
    yield render_wait(url, unit=unit, seconds=seconds)


def render_wait(url: str, *, unit: str, seconds: int) -> str:
    """Shell that waits until `url` answers 200; fails, with the unit's last lines, when it gave up or time is over."""
    probe = render_probe(url)
    quoted = shlex.quote(unit)
    # Triton draws tables in its log; what matters stands between them.
    tell = f"{probe}; journalctl -u {quoted} -o cat -n 200 --no-pager | grep -v '^[|+]' | tail -n 25 >&2; exit 1"
    waits = f"[ $(date +%s) -lt $end ] && ! systemctl is-failed --quiet {quoted}"
    return f"end=$(($(date +%s) + {seconds})); until {probe} 2>/dev/null; do {waits} || {{ {tell}; }}; sleep 0.3; done"
