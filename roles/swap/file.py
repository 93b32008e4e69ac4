"""The swap file: made whole beside the old one and tried, then put in its place; never while memory is short."""

import shlex
from collections.abc import Generator
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, operation

from roles.ops.changes import is_touched, tell
from roles.ops.units import render_start
from roles.ops.upgrade import refuse
from roles.swap.defaults import Swap
from roles.swap.state import (
    GIB,
    LABEL,
    MEMORY_RESERVE,
    OWNER,
    UNITS,
    SwapFact,
    SwapState,
    find_refusal,
    find_unwanted,
    gib,
    new_path,
    unit_name,
    want_new,
)

Commands = Generator[Any, None, None]


@operation()
def room(said: Swap) -> Commands:
    """Changes nothing. Fails when the wanted swap cannot be had, before anything is touched; names what is left alone.

    + said: the role's settings
    """
    state = host.get_fact(SwapFact, path=said.swap_file)
    for one in state.find_foreign(said.swap_file):
        logger.info(f"[{host.name}] left alone, not dsops's: swap on {one.path}, {gib(one.size)}, {gib(one.used)} used")
    why = find_refusal(said, state)
    if why:
        tell("refused", said.swap_file, why)
        yield FunctionCommand(refuse, (why,), {})


@operation()
def swap_file(said: Swap) -> Commands:
    """Makes the file be there, whole and of its size. An old one is taken out of use only when the new one is proven.

    + said: the role's settings; `room` has passed
    """
    state = host.get_fact(SwapFact, path=said.swap_file)
    if want_new(said, state):
        old = state.find_ours(said.swap_file)
        tell("swap", said.swap_file, f"{gib(old.size) if old else 'new'} -> {gib(said.swap_gb * GIB)}")
        yield render_make(said.swap_file, size=said.swap_gb * GIB)
        yield render_turn(said.swap_file)
    elif new_path(said.swap_file) in state.files:
        tell("swap", new_path(said.swap_file), "left over, removed")
        yield _render_forget(new_path(said.swap_file))
    else:
        host.noop(f"{said.swap_file} is as wanted")


@operation()
def in_use(said: Swap) -> Commands:
    """Makes the file be readable by root alone, in use now and after every boot.

    + said: the role's settings
    """
    path, unit = said.swap_file, unit_name(said.swap_file)
    state: SwapState = host.get_fact(SwapFact, path=path)
    file = state.files.get(path)
    if path not in state.active:
        tell("unit", unit, "start")
    elif not state.enabled or is_touched([f"{UNITS}/{unit}"]):
        tell("unit", unit, "enable")
    if file and file.owner != OWNER:
        tell("file", path, f"{file.owner} -> {OWNER}")
    if file is None or file.owner != OWNER:
        yield f"chown root:root {shlex.quote(path)} && chmod 600 {shlex.quote(path)}"
    if not state.enabled or state.reload:
        yield f"systemctl daemon-reload && systemctl enable --quiet {shlex.quote(unit)}"
    if path not in state.active:
        yield render_start(unit, verb="start", seconds=60)


@operation()
def unwanted(said: Swap) -> Commands:
    """Takes away swap files that dsops made and that the inventory no longer asks for, and their units.

    + said: the role's settings
    """
    state = host.get_fact(SwapFact, path=said.swap_file)
    for path in find_unwanted(said, state):
        is_ours = state.find_ours(path) is not None or path == new_path(said.swap_file)
        if path in state.files and not is_ours:
            logger.info(f"[{host.name}] left alone, dsops did not make it: {path}")
        tell("swap", path, "out of use, removed" if is_ours else "out of use")
        yield render_remove(path, and_file=is_ours)
    if not said.swap_gb and new_path(said.swap_file) in state.files:
        yield _render_forget(new_path(said.swap_file))


def render_make(path: str, *, size: int) -> str:
    """Shell that makes the new file beside the old one and lets the kernel try it; leaves nothing when it fails.

    Preallocated, not written: no file system of GOOD needs zeros in it, and it takes no time and no wear.
    """
    new = shlex.quote(new_path(path))
    steps = [
        f"{{ swapoff {new} 2>/dev/null; rm -f {new}; }}",
        f"(umask 077 && fallocate -l {size} {new})",
        f"mkswap -L {LABEL} {new} >/dev/null",
        f"sync {new}",
        # The kernel's word, while the old one is still there: it says here if the file has holes.
        f"swapon {new} && swapoff {new}",
    ]
    return f"{{ {' && '.join(steps)}; }} || {{ code=$?; swapoff {new} 2>/dev/null; rm -f {new}; exit $code; }}"


def render_turn(path: str) -> str:
    """Shell that puts the new file in the old one's place: the kernel lets nobody rename swap that is in use."""
    quoted, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    return f"{_render_off(path)} && mv -fT {shlex.quote(new_path(path))} {quoted} && sync {folder}"


def render_remove(path: str, *, and_file: bool) -> str:
    """Shell that takes a swap file out of use, then away. Its unit goes last: while it is there the file is known."""
    unit = shlex.quote(unit_name(path))
    file = f"{{ systemctl disable --quiet {unit} 2>/dev/null || true; }}"
    steps = [_render_off(path), file, *([_render_forget(path)] if and_file else [])]
    return " && ".join([*steps, f"rm -f {UNITS}/{unit} && systemctl daemon-reload"])


def _render_off(path: str) -> str:
    """Shell that pages everything back in, when memory can take it now; what was looked at before may be old."""
    names = shlex.quote(f"s|^\\([0-9]*\\) {path}$|\\1|p")
    used = f"swapon --show=USED,NAME --bytes --noheadings --raw | sed -n {names}"
    share = f'/^MemTotal/ {{t=$2}} /^MemAvailable/ {{a=$2}} END {{printf "%d", (a - t / {MEMORY_RESERVE}) * 1024}}'
    tell = f'echo "{path}: $used bytes are paged out, memory can take $spare; drain the node, stop its engine" >&2'
    return (
        f"{{ used=$({used}); spare=$(awk {shlex.quote(share)} /proc/meminfo);"
        f' if [ -n "$used" ]; then if [ "$used" -gt "$spare" ]; then {tell}; false;'
        f" else swapoff {shlex.quote(path)}; fi; fi; }}"
    )


def _render_forget(path: str) -> str:
    quoted, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    return f"{{ swapoff {quoted} 2>/dev/null; rm -f {quoted} && sync {folder}; }}"
