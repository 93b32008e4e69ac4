"""Settings in /sys: what each is now, and that it is again what it should be."""

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell
from roles.ops.units import render_start
from roles.system.defaults import SystemTuning

TRANSPARENT = "/sys/kernel/mm/transparent_hugepage/enabled"
GOVERNOR = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
UNIT = "dsops-tuning.service"


def find_knobs(said: SystemTuning) -> dict[str, str]:
    """Path, `*` in it for every CPU -> the value that the inventory wants; what it leaves alone is missing."""
    wanted = {TRANSPARENT: said.system_transparent_hugepages, GOVERNOR: said.system_governor}
    return {path: value for path, value in wanted.items() if value}


class KnobValues(FactBase[dict[str, tuple[str, ...]]]):
    """Path as it was asked for -> the different values there; missing when this machine has no such file."""

    default = dict

    def command(self, paths: list[str]) -> str:
        looks = (f'for f in {path}; do [ ! -e "$f" ] || echo {shlex.quote(path)} "$(cat "$f")"; done' for path in paths)
        return f"{{ {'; '.join(looks)}; }} | sort -u"

    def process(self, output: list[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for line in output:
            path, _, text = line.partition(" ")
            found[path] = (*found.get(path, ()), parse_choice(text))
        return found


def parse_choice(text: str) -> str:
    """The chosen word of `always [madvise] never`; the text itself where nothing is to be chosen from."""
    return text.partition("[")[2].partition("]")[0] or text


@operation()
def knobs(wanted: Mapping[str, str]) -> Generator[Any, None, None]:
    """Makes the settings have these values now, by the unit that sets them at boot; mends what was turned by hand.

    + wanted: path, with `*`, -> value
    """
    found = host.get_fact(KnobValues, paths=list(wanted))
    for path in sorted(wanted.keys() - found.keys()):
        logger.info(f"[{host.name}] SKIPPED {path}: this machine has none")
    other = {path: values for path, values in found.items() if set(values) != {wanted[path]}}
    for path, values in other.items():
        tell("setting", path, f"{', '.join(values)} -> {wanted[path]}")
    if other:
        yield render_start(UNIT, verb="restart", seconds=30)
